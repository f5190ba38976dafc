/* SPDX-License-Identifier: GPL-2.0-only */
/* Control words, how trials go, and the checksum of tables, without a kernel. TAP on standard output. */
#include <stddef.h>

#include "bpf/tables_abi.h"
#include "lib/image_sum.h"
#include "lib/mon_trial.h"
#include "lib/stat_gauge.h"
#include "tests/tap.h"

static void test_word(void)
{
	uint64_t word = FW_WORD(1, 2, 3), trial = FW_WORD_ON_TRIAL(word, 5000);
	struct word_view w = word_view(word, 1000);

	ok(w.active == 1 && w.fallback == 2 && w.candidate == 3 && !w.tried && !w.trial_ms && !w.over, "no trial");
	w = word_view(trial, 1000);
	ok(w.active == 1 && w.fallback == 2 && w.tried == 1 && w.trial_ms == 4000 && !w.over, "on trial");
	w = word_view(trial, 4999);
	ok(w.active == 1 && w.trial_ms == 1 && !w.over, "its last millisecond");
	w = word_view(trial, 5000);
	ok(w.active == 2 && !w.fallback && w.tried == 1 && !w.trial_ms && w.over, "the deadline itself is too late");
	w = word_view(FW_WORD_COMMITTED(trial), 9000);
	ok(w.active == 1 && w.fallback == 2 && !w.over, "committed");
	w = word_view(FW_WORD_ON_TRIAL(FW_WORD(3, 0, 0), 5000), 6000);
	ok(!w.active && w.tried == 3 && w.over, "a first load that ran out: no policy");
	w = word_view(FW_WORD(15, 5, 4), 0);
	ok(!w.active && !w.fallback && w.candidate == 4, "slots that don't exist");
	ok(!word_view(0, 1000).active, "no policy");
}

static void test_control(void)
{
	struct gauges g = {.time = 50000000000, .n_slots = 2, .slots = {{.slot = 1, .generation = 8}, {.slot = 2, .generation = 7}}};
	struct fw_control c = {.word = FW_WORD_ON_TRIAL(FW_WORD(1, 2, 0), 5000)};

	gauges_control(&g, &c, 4000);
	gauges_generations(&g);
	ok(g.generation == 8 && g.previous == 7 && !g.reverted && !g.reverted_generation, "generations of a trial");
	gauges_control(&g, &c, 6500);
	gauges_generations(&g);
	ok(g.generation == 7 && !g.previous && g.reverted && g.reverted_generation == 8 && g.reverted_at == 48500000000,
	   "a trial that is over and not recorded");
	c = (struct fw_control){.word = FW_WORD(2, 0, 0), .reverted_at = 5000, .reverted = 8};
	gauges_control(&g, &c, 6500);
	gauges_generations(&g);
	ok(g.generation == 7 && g.reverted && g.reverted_generation == 8 && g.reverted_at == 48500000000, "the same, recorded");
	for (int i = 0; i < TAMPER_MAX + 3; i++)
		gauges_tamper(&g, "%d", i);
	ok(g.n_tamper == TAMPER_MAX && !strcmp(g.tamper[TAMPER_MAX - 1].text, "10"), "findings have an end");
}

static struct trial_watch watch;

/* sees(word, reverted, at, now): the states of what a look at these says, one letter each. */
static const char *sees(uint64_t word, uint32_t reverted, uint64_t at, uint64_t now)
{
	static char text[TRIAL_NEWS_MAX + 1];
	struct event_trial news[TRIAL_NEWS_MAX];
	/* as if generation N were in slot N */
	struct trial_seen seen = {.word = word,
				  .reverted = reverted,
				  .reverted_at = at,
				  .generation = FW_WORD_ACTIVE(word),
				  .fallback = FW_WORD_FALLBACK(word)};
	int n = trial_look(&watch, &seen, now, news);

	for (int i = 0; i < n; i++)
		text[i] = "SCRB"[news[i].state];
	text[n] = 0;
	return text;
}

static void test_trial(void)
{
	uint64_t before = FW_WORD(1, 4, 0), trial = FW_WORD_ON_TRIAL(FW_WORD(2, 1, 0), 5000);
	uint64_t audited = trial | FW_WORD(0, 0, 3), back = FW_WORD_REVERTED(trial), first = FW_WORD_ON_TRIAL(FW_WORD(1, 0, 0), 5000);
	struct event_trial news[TRIAL_NEWS_MAX];
	struct trial_seen seen = {.word = trial, .generation = 9, .fallback = 8};

	watch = (struct trial_watch){};
	ok(trial_look(&watch, &seen, 1001, news) == 1 && news[0].state == TRIAL_STARTED && news[0].generation == 9 &&
		   news[0].fallback == 8 && news[0].seconds_left == 4,
	   "a trial that is on already, with the seconds rounded up");
#define BEGIN(word) (watch = (struct trial_watch){}, sees(word, 0, 0, 1000))
	BEGIN(before);
	ok(!*sees(before, 0, 0, 2000) && !strcmp(sees(trial, 0, 0, 2000), "S") && !*sees(trial, 0, 0, 4999), "started");
	ok(!strcmp(sees(trial, 0, 0, 5000), "R") && !*sees(trial, 0, 0, 6000), "its deadline is told once, though nobody writes");
	ok(!*sees(back, 2, 5000, 7000) && !*sees(back, 2, 5000, 8000), "that somebody records it is no news");
	BEGIN(trial);
	ok(!strcmp(sees(FW_WORD_COMMITTED(trial), 0, 0, 4000), "C") && !*sees(FW_WORD_COMMITTED(trial), 0, 0, 6000), "committed");
	BEGIN(trial);
	ok(!strcmp(sees(FW_WORD(1, 0, 0), 2, 4000, 4010), "B"), "rolled back");
	BEGIN(trial);
	ok(!strcmp(sees(FW_WORD(1, 0, 0), 2, 5000, 5005), "R"), "over and recorded between two looks");
	BEGIN(trial);
	ok(!strcmp(sees(FW_WORD(1, 0, 0), 2, 4999, 5005), "B"), "rolled back just before, and seen after");
	BEGIN(trial);
	ok(!*sees(audited, 0, 0, 2000) && !strcmp(sees(audited, 0, 0, 5000), "R") && !*sees(trial, 0, 0, 5001),
	   "an audit during it changes nothing");
	BEGIN(trial);
	ok(!strcmp(sees(FW_WORD_ON_TRIAL(FW_WORD(3, 2, 0), 9000), 0, 0, 4000), "CS"), "committed, and the next began");
	BEGIN(trial);
	ok(!strcmp(sees(FW_WORD_ON_TRIAL(FW_WORD(3, 1, 0), 9000), 0, 0, 4000), "BS"), "rolled back, and the next began");
	BEGIN(first);
	ok(!*sees(0, 0, 0, 4000), "unloaded during a first trial: nothing is told");
	BEGIN(first);
	ok(!strcmp(sees(0, 1, 4000, 4000), "B"), "a first load rolled back");
	BEGIN(FW_WORD(2, 1, 0));
	ok(!strcmp(sees(FW_WORD(1, 0, 0), 2, 4000, 4000), "B") && !*sees(FW_WORD(3, 1, 0), 0, 0, 5000),
	   "a rollback without a trial");
	watch = (struct trial_watch){};
	ok(!strcmp(sees(trial, 0, 0, 6000), "R") && !*sees(trial, 0, 0, 6001), "over before the first look");
}

static void test_image_sum(void)
{
	static uint64_t image[200000 / 8];
	uint8_t *bytes = (uint8_t *)image;
	struct fw_arena *a = (struct fw_arena *)image;
	uint64_t sum, bad = 0;

	for (size_t i = 0; i < sizeof(image) / 8; i++)
		image[i] = i * 0x9e3779b97f4a7c15ull;
	a->flags = 0;
	sum = image_sum(image, sizeof(image));
	a->flags = FW_ARENA_PARTIAL;
	ok(image_sum(image, sizeof(image)) == sum, "a flag that changes is left out");
	a->flags = FW_ARENA_STATEFUL;
	ok(image_sum(image, sizeof(image)) != sum, "other flags aren't");
	a->flags = 0;
	for (size_t i = 0; i < sizeof(image); i += 991) {
		if (i >= offsetof(struct fw_arena, flags) && i < offsetof(struct fw_arena, flags) + 4)
			continue;
		bytes[i] ^= 1;
		bad += image_sum(image, sizeof(image)) == sum;
		bytes[i] ^= 1;
	}
	ok(!bad && image_sum(image, sizeof(image)) == sum, "every byte counts");
	ok(image_sum(image, sizeof(image) - 8) != sum && image_sum(image, 8), "so does the length");
}

int main(void)
{
	test_word();
	test_control();
	test_trial();
	test_image_sum();
	return done();
}
