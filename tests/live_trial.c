/* SPDX-License-Identifier: GPL-2.0-only */
/* fwmon and the control word: trials, which may end without anybody's doing, audits, and which generations have names. TAP;
 * needs root. usage: live_trial FWMON RING.BPF.O */
#include "tests/live_instance.h"

/* next_trial(c, state, ms): the next record is one of a trial, and it came within ${ms} from now. */
static bool next_trial(struct child *c, const char *state, uint64_t ms)
{
	uint64_t began = boot_now();
	bool good = next_has(c, "\"event_type\":\"trial\"", state);

	if (boot_now() - began > ms)
		printf("# %s: after %llu ms\n", state, (unsigned long long)(boot_now() - began));
	return good && boot_now() - began <= ms;
}

/* Trials as the control word tells them, and the clock where nobody writes it. */
static void test_trial(void)
{
	struct child c = start(NULL, -1);
	uint64_t began;

	claimed(1);
	next_is(&c, "\"generation\":5");
	put_names(6);
	put_word(6, 5, 0, 60000);
	ok(next_is(&c, "\"event_type\":\"meta\"") && next_trial(&c, "\"started\",\"generation\":6,\"fallback\":5,\"seconds_left\":60}", 200),
	   "a trial begins: its meta record, and the seconds");
	put_word(6, 5, 0, 0);
	ok(next_trial(&c, "\"committed\",\"generation\":6,\"fallback\":5}", 200), "committed");
	put_names(7);
	put_word(7, 6, 0, 400);
	began = boot_now();
	next_is(&c, "\"generation\":7");
	next_trial(&c, "\"started\"", 200);
	ok(next_trial(&c, "\"reverted\",\"generation\":7,\"fallback\":6}", 1000) && boot_now() - began >= 400 && boot_now() - began < 500,
	   "its deadline is told within 100 ms, though nobody writes the word");
	ok(next_is(&c, "\"generation\":6"), "and who decides again");
	control->reverted = 7;
	control->reverted_at = FW_WORD_DEADLINE(control->word);
	put_word(6, 0, 0, 0);
	put_names(8);
	put_word(8, 6, 0, 60000);
	next_is(&c, "\"generation\":8");
	ok(next_trial(&c, "\"started\",\"generation\":8", 200), "that a loader records it is no record");
	control->reverted = 8;
	control->reverted_at = boot_now();
	put_word(6, 0, 0, 0);
	ok(next_trial(&c, "\"rolled_back\",\"generation\":8,\"fallback\":6}", 200) && next_is(&c, "\"generation\":6"), "rolled back");
	put_word(0, 0, 0, 0);
	ok(next_is(&c, "\"generation\":0,\"rules\":0}"), "nothing is filtered any more");
	ok(end(&c, SIGTERM) == 0, "SIGTERM: exit 0");
	c = start(NULL, -1);
	claimed(1);
	ok(next_is(&c, "\"generation\":0,\"rules\":0}"), "or not yet: a reader waits for it");
	control->reverted_at = 0;
	put_word(6, 0, 0, 300);
	ok(next_is(&c, "\"generation\":6") && next_trial(&c, "\"started\",\"generation\":6,\"fallback\":0,\"seconds_left\":1}", 200) &&
		   next_trial(&c, "\"reverted\",\"generation\":6,\"fallback\":0}", 500) && next_is(&c, "\"generation\":0"),
	   "a first load on trial: to no filtering");
	end(&c, SIGTERM);
	put_meta(5);
}

/* What the candidate of an audit says, by its own names; and what the generation before called its rules. */
static void test_audit(void)
{
	struct child c = start(NULL, -1);

	claimed(1);
	next_is(&c, "\"meta\"");
	put_names(6);
	put_word(5, 0, 6, 0);
	produce(1, 1, 5, 0);
	candidate = 6;
	produce(1, 2, 5, 0);
	ok(next_has(&c, "\"event_type\":\"verdict\"", "\"rule_g5\"") &&
		   next_has(&c, "\"event_type\":\"disagreement\",\"verdict\":\"deny\",\"reason\":\"rule\",\"rule\":\"rule_g5\"",
			    "\"flow_id\":\"2\",\"candidate_verdict\":\"allow\",\"candidate_rule\":\"rule_g6\",\"candidate_generation\":6}"),
	   "a disagreement: the live verdict, and the rule of the candidate");
	end(&c, SIGTERM);
	c = start((const char *const[]){"--rule", "rule_g6", "-c", "1", NULL}, -1);
	claimed(1);
	candidate = 0;
	produce(1, 3, 5, 0);
	candidate = 6;
	produce(1, 4, 5, 0);
	next_is(&c, "\"meta\"");
	ok(next_is(&c, "\"flow_id\":\"4\"") && end(&c, 0) == 0, "it is found by that rule");
	c = start((const char *const[]){"-c", "1", NULL}, -1);
	claimed(1);
	produce(3, 5, 5, 0);
	candidate = 0;
	next_is(&c, "\"meta\"");
	ok(next_is(&c, "\"flow_id\":\"5\"") &&
		   next_has(&c, "\"event_type\":\"suppressed\"", "\"count\":2,\"rule\":\"rule_g5\"") && end(&c, 0) == 0,
	   "and counts for the live one");
	put_word(5, 6, 0, 0);
	c = start(NULL, -1);
	claimed(1);
	next_is(&c, "\"meta\"");
	produce(1, 3, 6, 0);
	ok(next_is(&c, "\"rule\":\"rule_g6\""), "a reader that comes later knows the generation before");
	ok(end(&c, SIGTERM) == 0, "SIGTERM: exit 0");
	put_meta(5);
}

int main(int argc, char **argv)
{
	if (argc < 3 || geteuid()) {
		puts("1..0 # SKIP usage: live_trial FWMON RING.BPF.O, as root");
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(60);
	fwmon = argv[1];
	make_instance(argv[2]);
	test_trial();
	test_audit();
	umount2(root, MNT_DETACH);
	rmdir(root);
	return done();
}
