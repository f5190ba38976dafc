/* SPDX-License-Identifier: GPL-2.0-only */
/* What a hook knows beside the packet - interface, user, cgroup - and with it the rule that decides. */
#ifndef FW_CONTEXT_H
#define FW_CONTEXT_H

#include <bpf/bpf_helpers.h>

#include "emit.h"
#include "judge.h"
#include "kernel.h"
#include "maps.h"

/* What the hook found out before deciding. */
struct setting {
	struct tables t;
	const void *sk;
	__u16 iface_row; /* row of the context table */
	__u8 slot;
	__u8 trial; /* the generation in it is on trial */
	__u8 candidate; /* slot of an audit's, 0: none */
	__u8 owner;  /* this hook owns the packet's tokens, counters and events */
	__u8 judged; /* the cgroup hook has judged the packet: what is unknown here was known there */
};

#define ARENA(s) ((const struct fw_arena *)(s)->t.base)

/* ---- the context dimension ---- */

/* A walk up the hierarchy, to the deepest cgroup that the policy names. Through bpf_loop, so that the verifier
 * sees one step and not FW_CGROUP_LEVELS of them. */
struct climb {
	struct tables t;
	__u64 root; /* trie */
	struct cgroup *cg;
	__u32 levels, column;
};

static long climb_step(__u32 i, struct climb *c)
{
	__u32 level = FW_CGROUP_LEVELS - 1 - (i & (FW_CGROUP_LEVELS - 1)), v;

	if (!(c->levels >> level & 1))
		return 0;
	v = FW_LEAF_VALUE(t_walk(&c->t, c->root, T_KEY(cgroup_ancestor_id(c->cg, level))));
	if (!v)
		return 0;
	c->column = v - 1;
	return 1;
}

static __noinline __u32 cgroup_column(const struct tables *t, const struct fw_dir *d, const void *sk)
{
	struct climb c = { .t = *t, .root = d->cgroup, .levels = d->cgroup_levels, .column = d->cgroup_must };

	c.cg = sk_cgroup(sk);
	bpf_loop(FW_CGROUP_LEVELS, climb_step, &c, 0);
	return c.column;
}

static __noinline __u32 user_column(const struct tables *t, const struct fw_dir *d, const void *sk)
{
	return FW_LEAF_VALUE(t_walk(t, d->user, sk_uid(sk)));
}

/* Rows and columns of what this hook knows, of what it doesn't the two extremes. */
static __always_inline void query_context(const struct setting *s, const struct fw_dir *d, const struct hook *h,
					  struct query *q)
{
	q->iface_may = h->is_call ? d->iface_may : s->iface_row;
	q->iface_must = h->is_call ? d->iface_must : s->iface_row;
	q->user_may = q->user_must = d->user_must;
	q->cgroup_may = q->cgroup_must = d->cgroup_must;
	if (h->has_sk) {
		if (d->n_user > 1)
			q->user_may = q->user_must = user_column(&s->t, d, s->sk);
		if (d->n_cgroup > 1)
			q->cgroup_may = q->cgroup_must = cgroup_column(&s->t, d, s->sk);
	} else if (s->judged) {
		q->user_may = d->user_may;
		q->cgroup_may = d->cgroup_may;
	}
}

/* ---- classify ---- */

/* first_rule(), with the tables looked up again: global functions can't be given a pointer into a map. */
static __always_inline __u32 classify_in_slot(const struct packet *p, const struct query *q, int direction, int is_call)
{
	const struct fw_arena *a;
	struct tables t;

	if (!p || !q)
		return FW_NO_RULE;
	a = arena_in(q->slot);
	if (!a)
		return FW_NO_RULE;
	t.base = (const __u8 *)a;
	return first_rule(&t, &a->dir[direction], p, q, is_call, is_call);
}

/* For connect() and sendmsg() it is a global function: checked once by itself, it spares the verifier (and so the first
 * load) half of the work on these hooks, and they can afford a call. */
__noinline __u32 fw_classify_call(const struct packet *p, const struct query *q)
{
	return classify_in_slot(p, q, FW_EGRESS, 1);
}

/* And for cgroup ingress, whose ways to get here are too many for the verifier's budget, and for audits. */
__noinline __u32 fw_classify_packet(const struct packet *p, const struct query *q, __u32 direction)
{
	return classify_in_slot(p, q, direction & 1, 0);
}

static __always_inline __u32 classify(const struct setting *s, const struct packet *p, const struct hook *h)
{
	const struct fw_dir *d = &ARENA(s)->dir[h->direction];
	struct query q = {};

	if (h->is_call || d->ctx)
		query_context(s, d, h, &q);
	q.slot = s->slot;
	if (h->is_call)
		return fw_classify_call(p, &q);
	if (h->id == FW_HOOK_CGROUP_INGRESS)
		return fw_classify_packet(p, &q, FW_INGRESS);
	return first_rule(&s->t, d, p, &q, 0, h->id == FW_HOOK_TC_EGRESS && s->judged);
}

#endif
