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
#include "caps.h"
#include "ir.h"
#include "kern_link.h"
#include "kern_load.h"
#include "load_ids.h"
#include "load_lockout.h"
#include "load_report.h"
#include "load_place.h"
#include "load_seed.h"
#include "load_trial.h"
#include "policy_digest.h"
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
	placing_free(&l->others_placing);
	targets_free(&l->others);
	resolved_free(&l->resolved);
	kern_close(&l->kern);
	inst_close(&l->inst);
}

/* What the policy's words mean here; every complaint of this kind in one run. */
static int load_resolve(struct load *l)
{
	struct attach *a = &l->p->attach;
	enum fw_xdp_mode xdp = l->o->xdp_given ? l->o->attach.xdp : a->xdp;
	struct diag d;

	/* into the policy, so that what is pinned of it says where it was attached */
	if (l->o->attach.given)
		*a = l->o->attach;
	a->xdp = xdp;
	diag_init(&d, "fwload");
	d.werror = l->o->werror;
	d.quiet = l->o->quiet;
	resolve(&d, l->p, &l->resolved);
	attach_plan(&d, a, &l->resolved, &l->targets);
	attach_check(&d, l->p, &l->resolved, &l->targets);
	diag_finish(&d);
	l->default_attach = !a->given;
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
	policy_digests(l->p, l->policy, l->attached);
	sha256_add(&s, l->attached, sizeof(l->attached));
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

/* What is pinned, as far as it can be used again. */
static int load_look(struct load *l)
{
	struct kern *k = &l->kern;
	int err;

	if (!l->o->dry_run)
		kern_repair(k);
	err = kern_open(k);
	if (err == EXIT_JUDGED && l->o->upgrade) {
		kern_forget(k);
		l->foreign = true;
		return 0;
	}
	if (err || !k->control)
		return err;
	if (!l->o->dry_run) {
		kern_trial_record(k);
	}
	err = load_trial_pending(k);
	return err || l->o->dry_run ? err : load_tidy(k);
}

static const struct target *cgroup_of(const struct targets *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (hook_is_cgroup(t->list[i].hook))
			return &t->list[i];
	return NULL;
}

static bool is_below(const char *path, const char *top)
{
	size_t n = strlen(top);

	return !strcmp(top, "/") || (!strncmp(path, top, n) && path[n] == '/');
}

/* For as long as a trial may last both policies' hooks are there: of two cgroups, one in the other, both would see what is
 * in the inner one, and count and limit it twice. */
static int refuse_nested(const struct load *l)
{
	const struct target *now = cgroup_of(&l->others), *next = cgroup_of(&l->targets);

	if (!l->o->confirm_ms || !now || !next || !(is_below(now->name, next->name) || is_below(next->name, now->name)))
		return 0;
	complain("a trial can't go from cgroup %s to %s, one of which is in the other: load without --confirm, or to the same cgroup",
		 now->name, next->name);
	return EXIT_JUDGED;
}

/* Hooks that the new policy won't have: as long as they are there they must have the same programs as the rest. */
static int look_at_others(struct load *l)
{
	size_t n = 0;
	bool all;
	int err;

	if (!l->kern.meta)
		return 0;
	targets_of_meta(l->kern.meta, &l->others);
	for (size_t i = 0; i < l->others.n; i++) {
		struct target *t = &l->others.list[i];

		if (targets_have(&l->targets, t))
			free(t->name);
		else
			l->others.list[n++] = *t;
	}
	l->others.n = n;
	l->all_placed &= !n; /* of filters no pin has told it */
	err = refuse_nested(l);
	return err ? err : links_look(&l->kern, &l->others, &l->others_placing, &all);
}

static int load_open(struct load *l, bool *locked)
{
	int err = inst_open(&l->inst, l->o->instance, true);

	if (!err)
		err = inst_lock(&l->inst, l->o->wait_ms);
	*locked = !err;
	if (!err)
		err = load_look(l);
	if (err)
		return err;
	l->empty = !l->foreign && (l->kern.control ? !l->kern.word && !l->kern.control->last_generation :
				   links_none(&l->inst));
	if (l->o->resident && (!l->kern.active || l->kern.active->generation != l->o->resident))
		return LOAD_AGAIN;
	if (l->o->group && !l->o->dry_run && inst_share(&l->inst, *l->o->group))
		return EXIT_SYSTEM;
	if (l->o->audit && !l->kern.active) {
		complain("nothing is loaded that a candidate could be compared with");
		return EXIT_JUDGED;
	}
	if (l->o->audit) {
		/* the hooks stay those of what decides */
		targets_free(&l->targets);
		targets_of_meta(l->kern.meta, &l->targets);
	}
	kern_build(l->build);
	err = links_look(&l->kern, &l->targets, &l->placing, &l->all_placed);
	return err ? err : look_at_others(l);
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

/* What belongs to the load and not to the policy. */
static void mark_image(struct load *l)
{
	struct fw_arena *a = (struct fw_arena *)l->image.data;
	const struct cidr *c = l->o->confirm_from;
	unsigned int mapped;

	/* without an active policy too: hooks of one that was given up may be there */
	if (!l->all_placed)
		a->flags |= FW_ARENA_PARTIAL;
	if (!c)
		return;
	mapped = c->family == 4 ? 12 : 0; /* bytes of ::ffff:0:0/96 */
	if (mapped)
		memset(a->confirm_net + 10, 0xff, 2);
	memcpy(a->confirm_net + mapped, c->addr, sizeof(a->confirm_net) - mapped);
	a->confirm_bits = mapped * 8 + c->len + 1;
	for (unsigned int i = 0; i < mapped * 8 + c->len; i++)
		((__u8 *)a->confirm_mask)[i / 8] |= 0x80 >> i % 8;
}

static int load_lower(struct load *l)
{
	const char *error;

	l->fresh = xalloc(l->p->n_rules, sizeof(*l->fresh));
	l->ids = ids_assign(l->p, l->kern.metas, FW_SLOTS, l->fresh, &l->n_ids);
	l->resolved.ids = l->ids;
	l->resolved.generation = l->same ? l->kern.active->generation :
			       (l->kern.control ? l->kern.control->last_generation : 0) + 1;
	error = tables_lower(l->p, &l->resolved, &l->image);
	if (!error) {
		mark_image(l);
		return 0;
	}
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
	/* what doesn't decide for good takes no room away */
	if ((l->o->audit || l->o->confirm_ms) && l->sizes.max_flows < l->kern.flow_head.max_flows)
		l->sizes.max_flows = l->kern.flow_head.max_flows;
	if (l->o->audit)
		l->sizes.max_flows = l->kern.flow_head.max_flows;
}

/* Resident programs do unless they are of another build, another size, or one is missing. */
static bool needs_programs(struct load *l)
{
	const struct kern *k = &l->kern;

	memset(l->need, 0, sizeof(l->need));
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

static int load_run(struct load *l, bool *locked)
{
	int err = load_resolve(l);
	const char *lacks;

	*locked = false;
	if (err)
		return err;
	if (l->o->confirm_from && !l->p->stateful) {
		complain("--confirm-from follows a connection, and the policy says stateful: false");
		return EXIT_JUDGED;
	}
	load_digest(l);
	err = load_open(l, locked);
	if (err)
		return err;
	l->same = same_tables(l);
	if (l->same && (l->all_placed || l->o->audit)) {
		if (l->o->verbose || l->o->dry_run)
			complain("generation %u is up to date", l->kern.active->generation);
		return EXIT_DONE;
	}
	lacks = caps_to_load();
	if (lacks) {
		complain("%s is lacking: to load, fwload needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; see fw-security(7)", lacks);
		return EXIT_SYSTEM;
	}
	l->same &= !l->o->confirm_ms; /* hooks are part of what is on trial */
	err = load_lower(l);
	if (!err && !l->o->audit)
		err = lockout_check(l, l->o->confirm_ms);
	if (err)
		return err;
	load_sizes(l);
	l->programs = needs_programs(l);
	if (l->programs) {
		kern_need(&l->others, l->need);
		err = kern_programs(&l->kern, l->need, &l->sizes);
	}
	if (err)
		return err;
	if (l->o->dry_run) {
		seed_flows(l);
		report_plan(l);
		return EXIT_DONE;
	}
	err = load_place(l);
	if (!err)
		report_done(l);
	return err;
}

int load_policy(struct policy *p, const struct load_options *o)
{
	struct load l = { .p = p, .o = o, .inst = INST_NONE };
	bool locked;
	int err;

	kern_init(&l.kern, &l.inst);
	load_guard(&l);
	err = load_run(&l, &locked);
	if (locked && (err || o->dry_run) && l.empty)
		load_sweep(&l.inst);
	load_guard(NULL);
	load_free(&l);
	return err;
}
