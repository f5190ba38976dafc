/* SPDX-License-Identifier: GPL-2.0-only */
/* The part of a load that changes something: stage, attach, switch; or all of it back. */
#include "load_place.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "image_sum.h"
#include "load_seed.h"
#include "meta_build.h"
#include "tables_build.h"

/* An id that is given out anew starts from zero. */
static void zero_counters(const struct load *l)
{
	for (size_t i = 0; i < l->p->n_rules; i++)
		if (l->fresh[i])
			kern_zero_counter(&l->kern, l->ids[i]);
}

static const char *pin_of(const void *ctx, size_t i)
{
	const struct placing *pl = ctx;

	return *pl->list[i].pin ? pl->list[i].pin : NULL;
}

static void *load_meta(struct load *l, size_t *len)
{
	struct fw_meta_link *links = xalloc(l->targets.n, sizeof(*links));
	struct meta_input in = {
		.p = l->p,
		.ids = l->ids,
		.targets = &l->targets,
		.links = links,
		.pin_of = pin_of,
		.ctx = &l->placing,
		.generation = l->resolved.generation,
		.netns = l->resolved.netns,
		.arena_bytes = l->sizes.arena_bytes,
		/* tables that stay are not those that were lowered just now: interfaces that matter to nobody may have come */
		.image_sum = l->kern.staged ? image_sum(l->image.data, l->image.size) : l->kern.meta->head->image_sum,
	};
	void *blob;

	memcpy(in.digest, l->resolved.digest, sizeof(in.digest));
	memcpy(in.build, l->build, sizeof(in.build));
	memcpy(in.policy, l->policy, sizeof(in.policy));
	memcpy(in.attached, l->attached, sizeof(in.attached));
	for (size_t i = 0; i < l->targets.n; i++) {
		int prog = l->kern.progs[kern_program_for(&l->targets.list[i])];

		links[i].mode = l->placing.list[i].mode;
		links[i].flags = l->targets.list[i].has_link ? FW_LINK_HEADER : 0;
		links[i].prog_id = kern_prog_id(prog);
		kern_prog_tag(prog, links[i].prog_tag);
	}
	blob = meta_build(&in, len);
	free(links);
	return blob;
}

/* Tables, hooks and names in place, and nothing decided by them yet. */
static int load_stage(struct load *l, size_t *left)
{
	struct kern *k = &l->kern;
	size_t len;
	void *meta;
	int err = 0;

	k->stage_bytes = l->sizes.arena_bytes;
	/* hooks alone are put right: the tables stay, and the generation with them */
	if (!l->same || l->programs) {
		err = kern_stage(k, &l->image);
		if (!err)
			zero_counters(l);
	}
	if (!err && k->staged && k->active && !l->all_placed && !l->o->audit) {
		k->partial = true;
		err = kern_partial(k, k->slot, true);
	}
	if (!err)
		err = kern_flows_move(k, left);
	/* Hooks that run programs of maps that are lost to us, or of another version, go over one by one: from their policy
	 * to ours, and not to none. */
	l->early = k->fresh_maps[KM_CONTROL] && links_any(&l->placing);
	if (!err && l->early)
		err = seed_flows(l);
	if (!err && l->early)
		kern_switch(k, l->o->confirm_ms, false);
	/* for an audit nothing is attached: what has gone since is gone for the policy that decides, too */
	if (!err)
		err = links_place(k, &l->targets, &l->placing, !l->o->audit);
	if (!err && l->programs)
		err = links_place(k, &l->others, &l->others_placing, false);
	if (!err)
		err = kern_flows_move(k, left);
	if (!err) {
		meta = load_meta(l, &len);
		err = kern_stage_meta(k, meta, len);
		free(meta);
	}
	if (!err)
		err = kern_pin(k);
	return err || !k->skel ? err : kern_metas_follow(k);
}

/* An instance that enforces nothing is not left behind: pins of an unfinished first load, or of a dry run. */
void load_sweep(const struct inst *in)
{
	links_drop_all(in);
	inst_empty(in, "progs");
	inst_empty(in, "maps");
	inst_remove(in);
}

/* The load that is under way between its first change and the switch, for load_undo(). */
static struct load *placing_load;

/* Everything as it was before; also when memory ran out and die() ends the program. */
static void load_undo(void)
{
	struct load *l = placing_load;

	placing_load = NULL;
	if (!l)
		return;
	links_undo(&l->kern, &l->targets, &l->placing);
	links_undo(&l->kern, &l->others, &l->others_placing);
	if (l->early)
		kern_stop(&l->kern);
	kern_undo(&l->kern);
	if (l->empty)
		load_sweep(&l->inst);
}

/* The same rules, on other interfaces or by other programs. */
static bool same_policy(const struct load *l)
{
	const struct meta *m = l->kern.meta;

	return m && !l->o->confirm_ms && !memcmp(m->head->policy, l->policy, sizeof(l->policy));
}

static void load_switch(struct load *l)
{
	struct kern *k = &l->kern;

	placing_load = NULL; /* no way back: from here on */
	if (l->o->audit) {
		kern_zero_audit(k);
		kern_audit(k, k->new_slot);
		kern_settle(k);
		return;
	}
	if (!k->staged)
		return;
	if (!l->early)
		kern_switch(k, l->o->confirm_ms, same_policy(l));
	seed_flows(l);
	kern_settle(k);
}

static struct load *guarded;

static void at_exit(void)
{
	load_undo();
	if (guarded)
		inst_drop_empty(&guarded->inst);
}

void load_guard(struct load *l)
{
	static bool registered;

	if (!registered)
		registered = !atexit(at_exit);
	guarded = l;
}

static int place(struct load *l)
{
	size_t left = 0;
	int err;

	placing_load = l;
	err = load_stage(l, &left);
	if (!err && !l->o->audit)
		err = seed_flows(l);
	if (err) {
		load_undo();
		return err;
	}
	load_switch(l);
	report_flows(l, left);
	if (l->o->confirm_ms || l->o->audit)
		return 0;
	err = links_drop_others(&l->kern, &l->placing);
	return err || !l->kern.staged ? err : kern_partial(&l->kern, l->kern.new_slot, false);
}

int load_place(struct load *l)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, pipe;
	sigset_t wait, before;
	int err;

	/* A terminal that closes, or a reader of our messages that leaves, is no reason to stop half way. */
	sigemptyset(&wait);
	sigaddset(&wait, SIGINT);
	sigaddset(&wait, SIGTERM);
	sigaddset(&wait, SIGHUP);
	sigprocmask(SIG_BLOCK, &wait, &before);
	sigaction(SIGPIPE, &ignore, &pipe);
	err = place(l);
	sigaction(SIGPIPE, &pipe, NULL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return err;
}
