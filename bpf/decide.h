/* SPDX-License-Identifier: GPL-2.0-only */
/* The one decision, for every hook: known flow, else classify, then act, count and report. */
#ifndef FW_DECIDE_H
#define FW_DECIDE_H

#include <bpf/bpf_helpers.h>

#include "classify.h"
#include "count.h"
#include "emit.h"
#include "flow.h"
#include "fragment.h"
#include "judge.h"
#include "kernel.h"
#include "limit.h"
#include "maps.h"
#include "related.h"
#include "renew.h"

enum answer { PASS, DROP, REJECT };

/* What the hook found out before deciding. */
struct setting {
	struct tables t;
	const void *sk;
	__u16 iface_row; /* row of the context table */
	__u8 slot;
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

/* The same for connect() and sendmsg(), as a global function: checked once by itself, it spares the verifier (and so
 * the first load) half of the work on these hooks, and they can afford a call. It looks the arena up again because
 * global functions can't be given a pointer into a map. */
__noinline __u32 fw_classify_call(const struct packet *p, const struct query *q)
{
	const struct fw_arena *a;
	struct tables t;

	if (!p || !q)
		return FW_NO_RULE;
	a = arena_in(q->slot);
	if (!a)
		return FW_NO_RULE;
	t.base = (const __u8 *)a;
	return first_rule(&t, &a->dir[FW_EGRESS], p, q, 1, 1);
}

/* And for cgroup ingress, whose ways to get here are too many for the verifier's budget. */
__noinline __u32 fw_classify_received(const struct packet *p, const struct query *q)
{
	const struct fw_arena *a;
	struct tables t;

	if (!p || !q)
		return FW_NO_RULE;
	a = arena_in(q->slot);
	if (!a)
		return FW_NO_RULE;
	t.base = (const __u8 *)a;
	return first_rule(&t, &a->dir[FW_INGRESS], p, q, 0, 0);
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
		return fw_classify_received(p, &q);
	return first_rule(&s->t, d, p, &q, 0, h->id == FW_HOOK_TC_EGRESS && s->judged);
}

/* ---- act ---- */

static __noinline int identify_sk(struct packet *p, const void *sk)
{
	p->uid = sk_uid(sk);
	p->cgroup_id = cgroup_id(sk_cgroup(sk));
	p->known |= FW_EV_UID | FW_EV_CGROUP;
	return p->uid;
}

static __noinline int identify_iface(struct packet *p, const void *sk, __u32 netns)
{
	if (sk_netns(sk) == netns)
		p->known |= FW_EV_IFACE;
	else
		p->ifindex = 0;
	return p->ifindex;
}

/* Owner and cgroup of the socket, and whether its interface is one of ours: for a new flow or an event, too dear for
 * every packet. */
static __always_inline void identify(const struct setting *s, struct packet *p, const struct hook *h)
{
	if (h->has_sk)
		asm volatile("" : : "r"(identify_sk(p, s->sk))); /* as in emit() */
	if (h->any_netns)
		asm volatile("" : : "r"(identify_iface(p, s->sk, ARENA(s)->netns)));
}

/* What no rule decided has a counter id and log settings of its own. */
static __always_inline enum answer act_without_rule(const struct setting *s, struct packet *p, const struct hook *h,
						    __u8 reason, int allow, __u64 flow_id)
{
	struct judged j = {
		.id = FW_REASON_ID(reason, h->direction),
		.generation = ARENA(s)->generation,
		.verdict = allow ? FW_VERDICT_ALLOW : FW_VERDICT_DENY,
		.reason = reason,
		.flow_id = flow_id,
	};

	p->by = j.id;
	if (!s->owner || (h->is_call && allow))
		return allow ? PASS : DROP;
	count(j.id, h->is_call ? COUNT_CALL : allow ? COUNT_ALLOWED : COUNT_DENIED, p->length);
	if (ARENA(s)->flags & (allow ? FW_ARENA_LOG_ALLOW : FW_ARENA_LOG_DENY)) {
		identify(s, p, h);
		emit(ARENA(s), h, p, &j);
	}
	return allow ? PASS : DROP;
}

static __always_inline void report(const struct setting *s, struct packet *p, const struct hook *h,
				   __u8 flags, struct judged *j)
{
	if (!(flags & FW_RULE_LOG))
		return;
	identify(s, p, h);
	emit(ARENA(s), h, p, j);
}

/* A packet of a rate_limit rule: 1 if it is within the limit, else it has been counted and reported. */
static __always_inline int charge(const struct setting *s, struct packet *p, const struct hook *h, __u32 id)
{
	const struct fw_arena *a = ARENA(s);
	__u32 off = id < a->n_ids ? t_u32(&s->t, a->by_id + id * 4) : 0;
	const struct fw_rate *r = (const void *)(s->t.base + (off & T_MASK(&s->t) & ~31u));
	enum limited l;
	struct judged j = {
		.id = id,
		.generation = ARENA(s)->generation,
		.verdict = FW_VERDICT_RATE_LIMITED,
		.reason = FW_REASON_RULE,
	};

	if (!off) /* the rule of an older flow has no limit any more */
		return 1;
	l = limit_packet(p, r, id);
	if (l == LIMIT_WITHIN)
		return 1;
	if (l == LIMIT_NO_MEMORY)
		j.reason = FW_REASON_NO_MEMORY;
	count(l == LIMIT_NO_MEMORY ? FW_REASON_ID(FW_REASON_NO_MEMORY, h->direction) : id, COUNT_LIMITED, p->length);
	report(s, p, h, r->flags, &j);
	return 0;
}

/* A flow for what has been allowed. 0: there is no room for it, and the packet has been denied. */
static __always_inline int open_flow(const struct setting *s, struct packet *p, const struct hook *h, __u8 log,
				     __u32 flags, struct judged *j, __u64 same)
{
	__u64 ref;

	p->by = j->id;
	if (flow_ends(p) == FLOW_NONE || flow_ends(p) == FLOW_REPLY || flow_first_state(p) == FW_FLOW_FREE)
		return 1;
	ref = fw_flow_create(p, flags | (h->direction == FW_EGRESS ? FW_FLOW_EGRESS : 0) |
			     (p->ip_version == 6 ? FW_FLOW_V6 : 0), s->slot, same);
	if (ref != FLOW_NOWHERE) {
		ref = fw_flow_settle(ref, fw_flow_look((const struct fw_tuple *)p, ref));
		j->flow_id = FLOW_REF_ID(ref);
		return 1;
	}
	j->reason = FW_REASON_FLOWS_FULL;
	if (ARENA(s)->flags & FW_ARENA_FULL_ALLOW)
		return 1;
	j->verdict = FW_VERDICT_DENY;
	count(FW_REASON_ID(FW_REASON_FLOWS_FULL, h->direction), COUNT_DENIED, p->length);
	report(s, p, h, log, j);
	return 0;
}

/* Allowed by a rule: a new flow where the policy has state. */
static __always_inline enum answer act_allow(const struct setting *s, struct packet *p, const struct hook *h,
					     const struct fw_rule_rec *r, __u64 same)
{
	struct judged j = {
		.id = r->id,
		.generation = ARENA(s)->generation,
		.verdict = FW_VERDICT_ALLOW,
		.reason = FW_REASON_RULE,
	};

	if (ARENA(s)->flags & FW_ARENA_STATEFUL || r->flags & FW_RULE_LOG)
		identify(s, p, h);
	if (!(ARENA(s)->flags & FW_ARENA_STATEFUL))
		j.unlimited = flow_event(p->tcp_flags) == FLOW_SYN;
	else if (!open_flow(s, p, h, r->flags, r->action == ACTION_RATE_LIMIT ? FW_FLOW_LIMITED : 0, &j,
			    same))
		return DROP;
	count(r->id, COUNT_ALLOWED, p->length);
	if (r->flags & FW_RULE_LOG)
		emit(ARENA(s), h, p, &j);
	return PASS;
}

static __always_inline enum answer act_rule(const struct setting *s, struct packet *p, const struct hook *h,
					    const struct fw_rule_rec *r, __u64 same)
{
	struct judged j = {
		.id = r->id,
		.generation = ARENA(s)->generation,
		.verdict = FW_VERDICT_DENY,
		.reason = FW_REASON_RULE,
	};

	if (r->action == ACTION_ALLOW || r->action == ACTION_RATE_LIMIT) {
		/* of a call, the packet that follows is judged, counted and charged */
		if (h->is_call || !s->owner)
			return PASS;
		if (r->action == ACTION_RATE_LIMIT && !charge(s, p, h, r->id))
			return DROP;
		return act_allow(s, p, h, r, same);
	}
	if (s->owner) {
		count(r->id, h->is_call ? COUNT_CALL : COUNT_DENIED, p->length);
		report(s, p, h, r->flags, &j);
	}
	return r->action == ACTION_REJECT ? REJECT : DROP;
}

static __always_inline const struct fw_rule_rec *rule_at(const struct setting *s, __u32 off)
{
	return (const void *)(s->t.base + (off & T_MASK(&s->t)));
}

static __always_inline enum answer act_default(const struct setting *s, struct packet *p, const struct hook *h,
					       const struct fw_dir *d, __u64 same)
{
	struct judged j = { .id = FW_REASON_ID(FW_REASON_DEFAULT, h->direction), .generation = ARENA(s)->generation };
	int allow = d->default_action == ACTION_ALLOW;

	if (d->default_flows && s->owner && !h->is_call) {
		identify(s, p, h);
		if (!open_flow(s, p, h, ARENA(s)->flags & FW_ARENA_LOG_DENY ? FW_RULE_LOG : 0, 0, &j, same))
			return DROP;
	}
	return act_without_rule(s, p, h, FW_REASON_DEFAULT, allow, j.flow_id);
}

/* ---- flows ---- */

/* ${f} is of an earlier generation: as the present one has it. */
static __always_inline void renew_flow(const struct setting *s, struct flow_found *f)
{
	const struct fw_dir *d = &ARENA(s)->dir[f->word & FW_FLOW_EGRESS ? FW_EGRESS : FW_INGRESS];
	struct query q;
	__u32 rule;
	__u64 said;

	__builtin_memset(&q, 0, sizeof(q));
	if (d->ctx)
		fw_flow_query(&q, f->ref, s->slot);
	rule = fw_flow_judge(f->ref, s->slot, &q);
	if (q.cgroup_may != q.cgroup_must) {
		q.cgroup_may = q.cgroup_must;
		if (fw_flow_judge(f->ref, s->slot, &q) != rule)
			rule = UNDECIDED;
	}
	said = fw_flow_renew(f->ref, s->slot, rule);
	f->stamp = (__u32)said;
	f->limited = said >> 34 & 1;
	f->cut = said >> 32 & 1;
	f->quiet = said >> 35 & 1;
	f->live = f->live & ~(said >> 33);
	f->stale = ARENA(s)->zero;
	f->renewed = ARENA(s)->zero ^ 1;
}

/* A packet of a flow that has been cut. */
static __always_inline enum answer act_cut(const struct setting *s, struct packet *p, const struct hook *h,
					   struct flow_found *f)
{
	struct judged j = {
		.id = FW_FLOW_RULE(f->stamp),
		.generation = ARENA(s)->generation,
		.verdict = FW_VERDICT_DENY,
		.reason = FW_REASON_FLOW_CUT,
		.flow_id = FLOW_REF_ID(f->ref),
	};

	if (!s->owner)
		return DROP;
	if (!p->icmp_error && FLOW_REF_REPLY(f->ref))
		flow_touch(ARENA(s), p, f);
	count(j.id, COUNT_DENIED, p->length);
	report(s, p, h, f->quiet ? 0 : FW_RULE_LOG, &j);
	return DROP;
}

/* A packet of a flow. Replies are free; the opener of a flow under a rate_limit rule pays for each packet. */
static __always_inline enum answer act_flow(const struct setting *s, struct packet *p, const struct hook *h,
					    struct flow_found *f)
{
	if (h->is_call || f->stale)
		return PASS;
	p->by = FW_FLOW_RULE(f->stamp);
	if (s->owner && !p->icmp_error && f->limited && !FLOW_REF_REPLY(f->ref) && !charge(s, p, h, p->by))
		return DROP;
	if (!p->icmp_error)
		flow_touch(ARENA(s), p, f);
	if (s->owner)
		count(p->by, COUNT_FLOW, p->length);
	return PASS;
}

/* The flow that an ICMP error is about. */
static __always_inline void find_related(void *ctx, const struct setting *s, const struct packet *p,
					 const struct hook *h, struct flow_found *f)
{
	struct fw_flow_bucket *b;
	struct fw_tuple k;
	__u32 way, ends;

	ends = h->id == FW_HOOK_XDP ? fw_related_xdp(ctx, p, &k) : fw_related_skb(ctx, p, &k);
	if (ends == FLOW_NONE)
		return;
	f->ref = fw_related_flow(fw_flow_look(&k, FLOW_NOWHERE), s->slot, ends);
	b = flow_at(f->ref, &way);
	if (!b)
		return;
	flow_read(ARENA(s), b, way, f);
	f->live = ARENA(s)->zero ^ 1;
	state_stat(STAT(related));
}

/* A later fragment goes the way of its datagram's first one. */
static __always_inline enum answer act_later(const struct setting *s, struct packet *p, const struct hook *h)
{
	__u16 sport = p->sport, dport = p->dport;
	__u8 proto = p->proto;
	__u64 first;

	if (!s->owner)
		return PASS; /* the datagram was judged when it was whole, or its pieces were */
	frag_key(p, h->id, h->any_netns ? 0 : p->ifindex);
	first = fw_frag_later(p, fw_flow_look((const struct fw_tuple *)p, FLOW_NOWHERE), s->slot);
	p->proto = proto;
	p->sport = sport;
	p->dport = dport;
	if (!first)
		return act_without_rule(s, p, h, FW_REASON_FRAGMENT, 0, 0);
	count((__u32)first, COUNT_FLOW, p->length);
	return PASS;
}

/* ---- the decision ---- */

static __always_inline enum answer judge(void *ctx, const struct setting *s, struct packet *p, const struct hook *h)
{
	const struct fw_dir *d = &ARENA(s)->dir[h->direction];
	struct flow_found f;
	__u64 same = FLOW_NOWHERE;
	__u32 rule;

	/* Before it has both ends a call can't be of a flow; if it might be a reply to one, its packet is judged. */
	if (ARENA(s)->flags & FW_ARENA_STATEFUL && h->is_call && p->known & FW_EV_SPORT && !(p->known & FW_EV_SADDR))
		return PASS;
	if (ARENA(s)->flags & FW_ARENA_STATEFUL && (!h->is_call || p->known & FW_EV_SADDR)) {
		if (p->frag == FW_FRAG_LATER || frag_first_odd(p))
			return act_later(s, p, h);
		flow_find(ARENA(s), p, &f);
		if (!h->is_call && p->icmp_error)
			find_related(ctx, s, p, h, &f);
		if (f.live && f.stale && s->owner && !h->is_call)
			renew_flow(s, &f);
		/* What the opener sends on is for the rules, but the other end must not open the flow from behind. */
		if (f.live && f.cut && !h->is_call && !f.stale && (f.renewed || FLOW_REF_REPLY(f.ref)))
			return act_cut(s, p, h, &f);
		if (f.live && !f.cut)
			return act_flow(s, p, h, &f);
		same = f.ref;
		if (ARENA(s)->flags & FW_ARENA_TCP_STRICT && p->known & FW_EV_TCP &&
		    flow_event(p->tcp_flags) != FLOW_SYN)
			return act_without_rule(s, p, h, FW_REASON_INVALID, 0, 0);
	}
	/* From here on the verifier is to know the same whichever way it came. */
	same ^= *(const volatile __u64 *)&ARENA(s)->zero;
	asm volatile("" : "+r"(same));
	rule = classify(s, p, h);
	if (rule == UNDECIDED)
		return PASS;
	if (rule != FW_NO_RULE)
		return act_rule(s, p, h, rule_at(s, d->rules + rule * sizeof(struct fw_rule_rec)), same);
	if (p->favoured)
		return act_without_rule(s, p, h, FW_REASON_NEIGHBOUR, 1, 0);
	return act_default(s, p, h, d, same);
}

static __always_inline enum answer decide(void *ctx, const struct setting *s, struct packet *p, const struct hook *h,
					  enum parsed parsed)
{
	enum answer answer;

	if (parsed == PARSED_NOT_IP)
		return PASS;
	if (parsed == PARSED_MALFORMED)
		return act_without_rule(s, p, h, FW_REASON_MALFORMED,
					ARENA(s)->flags & FW_ARENA_MALFORMED_DEFAULT &&
						ARENA(s)->dir[h->direction].default_action == ACTION_ALLOW,
					0);
	answer = judge(ctx, s, p, h);
	if (!h->is_call && p->frag == FW_FRAG_FIRST && answer == PASS && s->owner && ARENA(s)->flags & FW_ARENA_STATEFUL) {
		frag_key(p, h->id, h->any_netns ? 0 : p->ifindex);
		fw_flow_create(p, FLOW_FRAGMENT, s->slot, fw_flow_look((const struct fw_tuple *)p, FLOW_NOWHERE));
	}
	return answer;
}

#endif
