/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "boot_clock.h"
#include "diag.h"
#include "event_names.h"
#include "kern_ring.h"
#include "kern_view_names.h"
#include "mon.h"
#include "mon_trial.h"

#define ROUND 512	  /* records between two looks at clocks, losses and signals: well below a ms */
#define WAIT_MS 10	  /* programs wake the reader only now and then: look at least this often */
#define FLUSH_NS 50000000 /* printed lines don't wait longer, though the ring never be empty */
#define META_AGAIN_NS 100000000
#define META_TRIES 10 /* with 5 ms between them, when a generation is first met */
#define GONE_NS 1000000000

struct live {
	struct mon *mon;
	struct view view;
	struct claim claim;
	struct event_names *names;
	int epoll;
	uint64_t lost;	     /* losses reported, of those claim_lost() knows */
	struct trial_watch trial; /* with the control word, as last seen */
	bool begun;	     /* a meta record has been printed */
	uint32_t missing;    /* a generation that no meta map had */
	uint64_t meta_after; /* CLOCK_REALTIMEs */
	uint64_t flushed, looked, counted;
	struct event_meta meta;
	uint64_t odd; /* records of another size */
};

static void on_lost(void *ctx, uint32_t id, uint64_t count)
{
	struct live *l = ctx;
	struct event ev = event_names_count(l->names, EVENT_LOST, id, count);

	mon_emit(l->mon, &ev);
}

static void on_suppressed(void *ctx, uint32_t id, uint64_t count)
{
	struct live *l = ctx;
	struct event ev = event_names_count(l->names, EVENT_SUPPRESSED, id, count);

	mon_emit(l->mon, &ev);
}

/* say_losses(l): what did not fit into the ring since the last time, by rule. A program counts it under the rule first,
 * so what is found there can exceed the ring's number for a moment, but fall short of it only by what the rule's 32 bits
 * could not hold. */
static void say_losses(struct live *l)
{
	uint64_t lost = claim_lost(&l->claim);
	struct event ev = {.type = EVENT_LOST, .time = event_names_now(l->names)};

	if (lost == l->lost)
		return;
	tally_follow(&l->claim.tally, &l->view);
	l->lost += tally_lost(&l->claim.tally, on_lost, l);
	ev.count = (int64_t)(lost - l->lost) > 0 ? (lost - l->lost) & ~(uint64_t)UINT32_MAX : 0;
	if (ev.count)
		mon_emit(l->mon, &ev);
	l->lost += ev.count;
}

/* close_account(l): what no record has told yet. Also before a new generation, which may give the id of a rule that is
 * gone to another one. */
static void close_account(struct live *l)
{
	say_losses(l);
	tally_follow(&l->claim.tally, &l->view);
	tally_suppressed(&l->claim.tally, on_suppressed, l);
}

/* say_meta(l, m): ${m} decides from now on; NULL: nothing does. Says so, if it is news. */
static int say_meta(struct live *l, struct meta *m)
{
	struct event ev = {.type = EVENT_META, .time = event_names_now(l->names), .meta = &l->meta};

	if (l->begun && l->meta.generation == (m ? m->head->generation : 0)) {
		meta_free(m);
		return 0;
	}
	if (l->begun)
		close_account(l);
	l->begun = true;
	l->meta.generation = m ? m->head->generation : 0;
	l->meta.rules = m ? m->head->n_rules : 0;
	l->meta.loaded_at = m ? m->head->loaded_at : 0;
	if (m)
		memcpy(l->meta.digest, m->head->digest, sizeof(l->meta.digest));
	if (m && event_names_meta(l->names, m)) {
		complain("out of memory");
		return EXIT_SYSTEM;
	}
	mon_emit(l->mon, &ev);
	return 0;
}

/* generation_in(l, slot): and its names become known. 0: none. */
static uint32_t generation_in(struct live *l, uint32_t slot)
{
	const char *why;
	struct meta *m = slot ? view_meta_slot(&l->view, slot, &why) : NULL;
	uint32_t generation = m ? m->head->generation : 0;

	if (m && !event_names_knows(l->names, generation))
		event_names_add(l->names, m);
	else
		meta_free(m);
	return generation;
}

static void see(struct live *l, struct trial_seen *seen)
{
	const volatile struct fw_control *c = view_control(&l->view);

	*seen = l->trial.last;
	seen->word = c->word;
	if (seen->word == l->trial.last.word && l->begun)
		return;
	/* what was before is written down before the word changes */
	seen->reverted_at = c->reverted_at;
	seen->reverted = c->reverted;
	seen->generation = generation_in(l, FW_WORD_ACTIVE(seen->word));
	seen->fallback = generation_in(l, FW_WORD_FALLBACK(seen->word));
	generation_in(l, FW_WORD_CANDIDATE(seen->word));
}

/* look_word(l): who decides, and how long. Not left to the events of a new generation, of which there may be none for a long
 * time: the account of the one before is to be closed while its names are known. And the end of a trial by its deadline is in
 * no event at all. */
static int look_word(struct live *l)
{
	struct event ev = {.type = EVENT_TRIAL, .time = event_names_now(l->names)};
	struct event_trial news[TRIAL_NEWS_MAX];
	const char *why = view_unfiltered;
	struct trial_seen seen;
	bool changed;
	int n, err;

	see(l, &seen);
	changed = !l->begun || seen.word != l->trial.last.word;
	if (!changed && !(seen.word & FW_WORD_TRIAL))
		return 0;
	n = trial_look(&l->trial, &seen, boot_ms(), news);
	for (int i = 0; i < n; i++) {
		ev.trial = news[i];
		if (ev.trial.state != TRIAL_STARTED)
			mon_emit(l->mon, &ev);
	}
	if (changed || n) {
		struct meta *m = view_meta(&l->view, &why);

		if (!m && why != view_unfiltered && l->begun)
			return 0; /* its events will ask again */
		if (!m && why != view_unfiltered) {
			complain("cannot read the names of instance %s: %s", l->view.instance, why);
			return EXIT_SYSTEM;
		}
		err = say_meta(l, m);
		if (err)
			return err;
	}
	if (n && ev.trial.state == TRIAL_STARTED)
		mon_emit(l->mon, &ev);
	return 0;
}

/* find_generation(l, generation): an event names a generation we don't know: the control word was written, or is about to be.
 * Waits for it a little the first time; later only looks, and not often, since each event would ask. */
static void find_generation(struct live *l, uint32_t generation)
{
	int tries = l->missing == generation ? 1 : META_TRIES;

	if (l->missing == generation && event_names_now(l->names) < l->meta_after)
		return;
	while (tries--) {
		look_word(l);
		if (!event_names_knows(l->names, generation))
			view_names(&l->view, l->names);
		if (event_names_knows(l->names, generation))
			return;
		if (tries)
			nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
	l->missing = generation;
	l->meta_after = event_names_now(l->names) + META_AGAIN_NS;
}

/* on_record(ctx, record, len): after the last one that was asked for, the others are no more than counted. */
static bool on_record(void *ctx, const void *record, size_t len)
{
	struct live *l = ctx;
	const struct fw_event *e = record;
	struct event ev;

	if (len < sizeof(*e)) {
		l->odd++;
		return false;
	}
	if (!event_names_knows(l->names, e->generation))
		find_generation(l, e->generation);
	if (e->type == FW_EVENT_DISAGREEMENT && !event_names_knows(l->names, e->other_generation))
		find_generation(l, e->other_generation);
	event_names_fill(l->names, e, &ev);
	if (!mon_full(l->mon))
		return mon_emit(l->mon, &ev);
	if (filter_pass(&l->mon->filter, &ev))
		tally_give(&l->claim.tally, e->rule, 1ull + e->suppressed);
	return false;
}

/* wait_more(l): until the ring has something or WAIT_MS passed; notices that the reader of our output left.
 */
static void wait_more(struct live *l)
{
	struct epoll_event ready[2];
	int n = epoll_wait(l->epoll, ready, 2, WAIT_MS);

	for (int i = 0; i < n; i++)
		if (ready[i].data.fd == l->mon->out.fd && (ready[i].events & (EPOLLERR | EPOLLHUP)))
			l->mon->out.gone = 1;
}

static int drain(struct live *l)
{
	int n;

	event_names_tick(l->names);
	look_word(l);
	n = ring_drain(&l->claim.ring, ROUND, on_record, l);
	if (n < 0) {
		complain(FW_RING_DIR " of instance %s is damaged: reload the instance", l->claim.number,
			 l->view.instance);
		return -1;
	}
	if (event_names_now(l->names) - l->counted >= FLUSH_NS) {
		say_losses(l);
		l->counted = event_names_now(l->names);
	}
	if (n < ROUND || event_names_now(l->names) - l->flushed >= FLUSH_NS) {
		line_out_flush(&l->mon->out);
		l->flushed = event_names_now(l->names);
	}
	return n;
}

static int follow(struct live *l)
{
	while (!mon_over(l->mon)) {
		uint64_t now;
		int n = drain(l);

		if (n < 0)
			return EXIT_SYSTEM;
		if (n == ROUND || mon_over(l->mon))
			continue;
		now = event_names_now(l->names);
		if (now - l->looked >= GONE_NS) { /* also when the clock went back */
			l->looked = now;
			tally_follow(&l->claim.tally, &l->view);
			if (view_gone(&l->view)) {
				if (!l->mon->quiet)
					complain("instance %s was unloaded", l->view.instance);
				return 0;
			}
		}
		wait_more(l);
	}
	return 0;
}

/* finish(l): what programs wrote until now still belongs to this reader, unless it has had enough. */
static int finish(struct live *l)
{
	uint64_t limit = l->claim.ring.size / RING_HEADER / ROUND;
	int n = ROUND;

	claim_mute(&l->claim);
	while (n == ROUND && limit-- && !l->mon->out.gone && !l->mon->out.error)
		n = drain(l);
	close_account(l);
	if (l->odd || l->claim.ring.bad)
		complain("%llu records of another layout were skipped: loaded by another version?",
			 (unsigned long long)(l->odd + l->claim.ring.bad));
	return n < 0 ? EXIT_SYSTEM : 0;
}

static int begin(struct live *l)
{
	struct epoll_event in = {.events = EPOLLIN, .data.fd = l->claim.map};
	struct epoll_event out = {.data.fd = l->mon->out.fd};

	l->names = event_names_new();
	if (!l->names || label_make(&l->meta.version, FW_VERSION, strlen(FW_VERSION)) ||
	    label_make(&l->meta.instance, l->view.instance, strlen(l->view.instance))) {
		complain("out of memory");
		return EXIT_SYSTEM;
	}
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->claim.map, &in)) {
		complain("cannot wait for " FW_RING_DIR " of instance %s: %m", l->claim.number,
			 l->view.instance);
		return EXIT_SYSTEM;
	}
	/* only for its errors; fails for plain files, which have none to wait for */
	epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->mon->out.fd, &out);
	return look_word(l);
}

int mon_live(struct mon *m, const char *instance)
{
	struct live l = {.mon = m, .view = VIEW_NONE, .claim = CLAIM_NONE, .epoll = -1};
	int status = view_open(&l.view, instance, VIEW_READER);

	if (!status)
		status = claim_ring(&l.claim, &l.view);
	l.lost = l.claim.lost;
	if (!status)
		status = begin(&l);
	if (!status) {
		status = follow(&l);
		status = status ? status : finish(&l);
	}
	claim_drop(&l.claim);
	view_close(&l.view);
	event_names_free(l.names);
	label_free(&l.meta.version);
	label_free(&l.meta.instance);
	if (l.epoll >= 0)
		close(l.epoll);
	return status;
}
