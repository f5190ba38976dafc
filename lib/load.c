/* SPDX-License-Identifier: GPL-2.0-only */
/* The order of a load (every step before the switch can fail without touching the running policy):
 * resolve names, plan hooks, lock, look at what runs, lower, load programs, stage tables, attach, seed flows, switch,
 * settle. */
#include "load.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach.h"
#include "ir.h"
#include "kern_link.h"
#include "kern_load.h"
#include "load_ids.h"
#include "load_report.h"
#include "load_seed.h"
#include "meta_build.h"
#include "resolve.h"
#include "tables_build.h"

#define COUNTERS_MIN 4096

static void load_free(struct load *l)
{
	seed_end(l);
	free(l->ids);
	free(l->fresh);
	image_free(&l->image);
	placing_free(&l->placing);
	targets_free(&l->targets);
	resolved_free(&l->resolved);
	meta_free(l->before);
	kern_close(&l->kern);
	inst_close(&l->inst);
}

/* What the policy's words mean here; every complaint of this kind in one run. */
static int load_resolve(struct load *l)
{
	struct attach a = l->o->attach.given ? l->o->attach : l->p->attach;
	struct diag d;

	if (l->o->xdp_given)
		a.xdp = l->o->attach.xdp;

	diag_init(&d, "fwload");
	d.werror = l->o->werror;
	d.quiet = l->o->quiet;
	resolve(&d, l->p, &l->resolved);
	attach_plan(&d, &a, &l->resolved, &l->targets);
	attach_check(&d, l->p, &l->resolved, &l->targets);
	diag_finish(&d);
	l->default_attach = !a.given;
	return diag_failed(&d) ? EXIT_JUDGED : 0;
}

static bool iface_matters(const struct policy *p, const struct res_iface *i)
{
	if (i->ingress_owned)
		return true;
	for (size_t r = 0; r < p->n_rules; r++)
		for (size_t k = 0; k < p->rules[r].n_interfaces; k++)
			if (!fnmatch(p->rules[r].interfaces[k], i->name, 0))
				return true;
	return false;
}

static void add_number(struct sha256 *s, uint64_t v)
{
	sha256_add(s, &v, sizeof(v));
}

/* Names the tables: the judged part of the policy and all that its names resolved to. */
static void load_digest(struct load *l)
{
	const struct resolved *r = &l->resolved;
	struct sha256 s;

	sha256_init(&s);
	ir_digest(l->p, &s);
	add_number(&s, r->netns);
	add_number(&s, r->cgroup_id);
	for (size_t i = 0; i < r->n_users; i++)
		add_number(&s, r->users[i].uid);
	for (size_t i = 0; i < r->n_cgroups; i++)
		add_number(&s, r->cgroups[i].id);
	for (size_t i = 0; i < r->n_ifaces; i++) {
		/* an interface that no rule names and no hook is on changes nothing */
		if (!iface_matters(l->p, &r->ifaces[i]))
			continue;
		add_number(&s, r->ifaces[i].ifindex);
		add_number(&s, r->ifaces[i].ingress_owned);
		sha256_add(&s, r->ifaces[i].name, strlen(r->ifaces[i].name) + 1);
	}
	for (size_t i = 0; i < l->targets.n; i++) {
		add_number(&s, l->targets.list[i].hook);
		add_number(&s, l->targets.list[i].ifindex);
		add_number(&s, l->targets.list[i].id);
	}
	sha256_end(&s, l->resolved.digest);
}

static int load_open(struct load *l, bool *locked)
{
	int err = inst_open(&l->inst, l->o->instance, true);

	if (!err)
		err = inst_lock(&l->inst, l->o->wait_ms);
	*locked = !err;
	if (!err)
		err = kern_open(&l->kern);
	if (err)
		return err;
	l->before = kern_meta_previous(&l->kern);
	l->all_placed = links_look(&l->kern, &l->targets, &l->placing);
	kern_build(l->build);
	return 0;
}

/* What decides now is what this load would make. */
static bool same_tables(const struct load *l)
{
	const struct kern *k = &l->kern;

	return k->active && k->meta &&
	       !memcmp(k->active->digest, l->resolved.digest, sizeof(l->resolved.digest)) &&
	       k->meta->head->generation == k->active->generation &&
	       !memcmp(k->meta->head->build, l->build, sizeof(l->build));
}

static int load_lower(struct load *l)
{
	const char *error;

	l->fresh = xalloc(l->p->n_rules, sizeof(*l->fresh));
	l->ids = ids_assign(l->p, l->kern.meta, l->before, l->fresh, &l->n_ids);
	l->resolved.ids = l->ids;
	l->resolved.generation = (l->kern.active ? l->kern.active->generation : 0) + !l->same;
	error = tables_lower(l->p, &l->resolved, &l->image);
	if (!error)
		return 0;
	complain("the policy is too large: %s", error);
	return EXIT_JUDGED;
}

static void load_sizes(struct load *l)
{
	l->sizes.arena_bytes = image_class(l->image.size);
	/* never shrinks: that would load the programs again for nothing */
	if (l->sizes.arena_bytes < l->kern.arena_bytes)
		l->sizes.arena_bytes = l->kern.arena_bytes;
	l->sizes.counters = COUNTERS_MIN;
	while (l->sizes.counters < l->n_ids)
		l->sizes.counters *= 2;
	l->sizes.max_flows = l->p->max_flows;
}

/* Resident programs do unless they are of another build, another size, or one is missing. */
static bool needs_programs(struct load *l)
{
	const struct kern *k = &l->kern;

	kern_need(&l->targets, l->need);
	if (!k->active || !k->meta || l->sizes.arena_bytes != k->arena_bytes || l->sizes.counters > kern_counters(k) ||
	    l->sizes.max_flows != k->flow_head.max_flows ||
	    memcmp(k->meta->head->build, l->build, sizeof(l->build)))
		return true;
	for (int i = 0; i < KP_COUNT; i++)
		if (l->need[i] && k->progs[i] < 0)
			return true;
	/* a link that runs another program than the pinned one: a load was cut off in between */
	for (size_t i = 0; i < l->placing.n; i++)
		if (l->placing.list[i].stale)
			return true;
	return false;
}

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
	};
	void *blob;

	memcpy(in.digest, l->resolved.digest, sizeof(in.digest));
	memcpy(in.build, l->build, sizeof(in.build));
	for (size_t i = 0; i < l->targets.n; i++) {
		links[i].mode = l->placing.list[i].mode;
		links[i].prog_id = kern_prog_id(l->kern.progs[kern_program_for(&l->targets.list[i])]);
	}
	blob = meta_build(&in, len);
	free(links);
	return blob;
}

static int load_commit(struct load *l)
{
	struct kern *k = &l->kern;
	size_t len, left = 0;
	void *meta;
	int err = 0;

	k->stage_bytes = l->sizes.arena_bytes;
	/* hooks alone are put right: the tables stay, and the generation with them */
	if (!l->same || l->programs) {
		err = kern_stage(k, &l->image);
		zero_counters(l);
	}
	if (!err)
		err = kern_flows_move(k, &left);
	if (!err)
		err = links_place(k, &l->targets, &l->placing);
	if (!err)
		err = kern_flows_move(k, &left);
	if (!err) {
		meta = load_meta(l, &len);
		err = kern_stage_meta(k, meta, len);
		free(meta);
	}
	if (!err)
		err = kern_pin(k);
	if (!err)
		err = seed_flows(l);
	if (err) {
		links_undo(k, &l->targets, &l->placing);
		kern_undo(k);
		return err;
	}
	if (k->staged) {
		kern_switch(k);
		seed_flows(l);
		kern_settle(k);
	}
	report_flows(l, left);
	return links_drop_others(k, &l->placing);
}

static int load_run(struct load *l, bool *locked)
{
	int err = load_resolve(l);

	*locked = false;
	if (err)
		return err;
	load_digest(l);
	err = load_open(l, locked);
	if (err)
		return err;
	l->same = same_tables(l);
	if (l->same && l->all_placed) {
		if (l->o->verbose || l->o->dry_run)
			complain("generation %u is up to date", l->kern.active->generation);
		return EXIT_DONE;
	}
	err = load_lower(l);
	if (err)
		return err;
	load_sizes(l);
	l->programs = needs_programs(l);
	if (l->programs)
		err = kern_programs(&l->kern, l->need, &l->sizes);
	if (err)
		return err;
	if (l->o->dry_run) {
		seed_flows(l);
		report_plan(l);
		return EXIT_DONE;
	}
	err = load_commit(l);
	if (!err)
		report_done(l);
	return err;
}

/* An instance that enforces nothing is not left behind: pins of an unfinished first load, or of a dry run. */
static void sweep(const struct inst *in)
{
	links_drop_all(in, NULL);
	inst_empty(in, "progs");
	inst_empty(in, "maps");
	inst_remove(in);
}

int load_policy(struct policy *p, const struct load_options *o)
{
	struct load l = { .p = p, .o = o, .inst = INST_NONE };
	bool locked;
	int err;

	kern_init(&l.kern, &l.inst);
	err = load_run(&l, &locked);
	if (locked && (err || o->dry_run) && !l.kern.active)
		sweep(&l.inst);
	load_free(&l);
	return err;
}

int load_unload(const struct load_options *o)
{
	struct inst in = INST_NONE;
	struct kern k;
	int err = inst_open(&in, o->instance, false);

	if (err == EXIT_JUDGED) {
		if (o->verbose)
			complain("instance %s is not loaded", o->instance);
		return EXIT_DONE;
	}
	kern_init(&k, &in);
	if (!err)
		err = inst_lock(&in, o->wait_ms);
	if (err) {
		inst_close(&in);
		return err;
	}
	/* pins of another version can't be understood, but they can be removed */
	kern_open(&k);
	err = inst_empty(&in, "maps") | inst_empty(&in, "progs");
	if (k.word)
		kern_stop(&k);
	err |= links_drop_all(&in, k.meta);
	if (!err)
		err = inst_remove(&in);
	kern_close(&k);
	inst_close(&in);
	return err ? EXIT_SYSTEM : EXIT_DONE;
}
