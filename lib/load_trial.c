/* SPDX-License-Identifier: GPL-2.0-only */
#include "load_trial.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "boot_clock.h"
#include "kern_link.h"

const char *print_when(uint64_t ms, char buf[32])
{
	struct timespec now;
	struct tm tm;
	time_t t;

	clock_gettime(CLOCK_REALTIME, &now);
	t = now.tv_sec - (time_t)((boot_ms() - ms) / 1000);
	gmtime_r(&t, &tm);
	strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return buf;
}

int load_trial_pending(const struct kern *k)
{
	if (!k->trial_ms)
		return 0;
	complain("trial pending, %u s left: fwload --commit keeps generation %u, --rollback gives it up",
		 (k->trial_ms + 999) / 1000, k->active->generation);
	return EXIT_BUSY;
}

/* The hooks of the active generation as they should be, and no others. */
static int place_active(struct kern *k, bool attach)
{
	struct targets t = { 0 };
	struct placing pl = { 0 };
	bool all;
	int err;

	targets_of_meta(k->meta, &t);
	if (attach)
		targets_drop_gone(&t);
	err = links_look(k, &t, &pl, &all);
	if (!err && attach) {
		err = links_place(k, &t, &pl, true);
		if (err)
			links_undo(k, &t, &pl);
	} else if (!err) {
		err = links_drop_others(k, &pl);
	}
	placing_free(&pl);
	targets_free(&t);
	return err;
}

int load_tidy(struct kern *k)
{
	int err;

	if (!k->active || !k->meta || !(k->active->flags & FW_ARENA_PARTIAL))
		return 0;
	err = place_active(k, false);
	return err ? err : kern_partial(k, k->slot, false);
}

/* An instance to be changed, with what time has done to it recorded. EXIT_JUDGED, silently, when there is none. */
static int begin(const struct load_options *o, struct inst *in, struct kern *k)
{
	int err = inst_open(in, o->instance, false);

	kern_init(k, in);
	if (!err)
		err = inst_lock(in, o->wait_ms);
	if (!err) {
		kern_repair(k);
		err = kern_open(k);
	}
	if (err || !k->control)
		return err ? err : EXIT_JUDGED;
	if (!k->trial_over)
		return 0;
	/* while the names of what was given up are known: its filters have no pins */
	kern_trial_record(k);
	err = kern_read_active(k);
	if (!err)
		err = load_tidy(k);
	kern_settle(k);
	return err;
}

static void end(struct inst *in, struct kern *k)
{
	kern_close(k);
	inst_close(in);
}

static int reverted(const struct kern *k)
{
	char when[32];

	complain("reverted at %s: generation %u has been given up", print_when(k->control->reverted_at, when),
		 k->control->reverted);
	return EXIT_JUDGED;
}

static int not_loaded(const struct load_options *o, const struct inst *in, int err)
{
	if (err == EXIT_JUDGED && in->dir < 0) /* else what is wrong with it has been said */
		complain("instance %s is not loaded", o->instance);
	return err;
}

static int settle(struct kern *k, int err)
{
	if (!err)
		err = load_tidy(k);
	kern_settle(k);
	return err;
}

static int keep(const struct load_options *o, struct kern *k)
{
	bool late;
	int err;

	if (!k->trial_ms) {
		if (k->control->reverted_at)
			return reverted(k);
		if (!o->quiet)
			complain("no trial is pending: generation %u stays", k->active ? k->active->generation : 0);
		return settle(k, 0);
	}
	err = kern_trial_commit(k, &late);
	if (err)
		return err;
	if (late) { /* just now */
		kern_trial_record(k);
		return reverted(k);
	}
	if (o->verbose)
		complain("generation %u stays", k->active->generation);
	return settle(k, 0);
}

int load_keep(const struct load_options *o)
{
	struct inst in = INST_NONE;
	struct kern k;
	int err = begin(o, &in, &k);

	err = err ? not_loaded(o, &in, err) : keep(o, &k);
	end(&in, &k);
	return err;
}

/* The programs of hooks that only the generation in ${slot} has may be gone. */
static int need_programs(struct kern *k, __u32 slot)
{
	struct kern_sizes sizes = { k->arena_bytes, kern_counters(k), k->flow_head.max_flows };
	bool need[KP_COUNT] = { false }, missing = false;
	const struct meta *metas[] = { k->metas[slot], k->meta };

	for (int m = 0; m < 2; m++) {
		struct targets t = { 0 };

		targets_of_meta(metas[m], &t);
		kern_need(&t, need);
		targets_free(&t);
	}
	for (int i = 0; i < KP_COUNT; i++)
		missing |= need[i] && k->progs[i] < 0;
	return missing ? kern_programs(k, need, &sizes) : 0;
}

/* Back to a generation that has been committed: its hooks first. */
static int place_fallback(struct kern *k, __u32 slot)
{
	const struct meta *now = k->meta;
	int err;

	if (!k->metas[slot]) {
		complain("the names of the generation before are gone: load a policy instead");
		return EXIT_SYSTEM;
	}
	err = need_programs(k, slot);
	if (!err)
		err = kern_partial(k, k->slot, true);
	if (!err)
		err = kern_partial(k, slot, true);
	k->meta = k->metas[slot];
	if (!err)
		err = place_active(k, true);
	k->meta = now;
	/* marked as they are the active tables judge where they should; the next run tidies up */
	if (!err && k->skel)
		err = kern_pin(k);
	if (!err && k->skel)
		err = kern_metas_follow(k);
	return err;
}

static int roll_back(const struct load_options *o, struct kern *k)
{
	__u32 back = FW_WORD_FALLBACK(k->word), from = k->active ? k->active->generation : 0;
	bool trial = k->trial_ms;
	int err = 0;

	if (k->control->reverted_at && !trial) {
		char when[32];

		complain("generation %u was given up at %s already; the one before that isn't kept", k->control->reverted,
			 print_when(k->control->reverted_at, when));
		return EXIT_JUDGED;
	}
	if (!back && !trial) {
		complain("there is no generation before %u to return to; --unload stops filtering", from);
		return EXIT_JUDGED;
	}
	if (!trial)
		err = place_fallback(k, back);
	if (err)
		return err;
	if (!kern_roll_back(k))
		kern_trial_record(k);
	err = kern_read_active(k);
	if (!o->quiet && !err && back)
		complain("generation %u decides again, %u is given up", k->active ? k->active->generation : 0, from);
	if (!o->quiet && !back)
		complain("generation %u is given up; nothing is filtered", from);
	return err ? err : settle(k, 0);
}

int load_roll_back(const struct load_options *o)
{
	struct inst in = INST_NONE;
	struct kern k;
	int err = begin(o, &in, &k);

	err = err ? not_loaded(o, &in, err) : roll_back(o, &k);
	end(&in, &k);
	return err;
}

int load_audit_end(const struct load_options *o)
{
	struct inst in = INST_NONE;
	struct kern k;
	int err = begin(o, &in, &k);

	if (err) {
		err = not_loaded(o, &in, err);
	} else if (!FW_WORD_CANDIDATE(k.word)) {
		if (!o->quiet)
			complain("no audit is on");
	} else {
		kern_audit(&k, 0);
		kern_settle(&k);
	}
	end(&in, &k);
	return err;
}
