/* SPDX-License-Identifier: GPL-2.0-only */
/* What follows from a decision: flow, counters, events, the answer. */
#ifndef FW_ACT_H
#define FW_ACT_H

#include <bpf/bpf_helpers.h>

#include "context.h"
#include "count.h"
#include "emit.h"
#include "flow.h"
#include "limit.h"

enum answer { PASS, DROP, REJECT };

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
	p->by = id;
	p->limited = 1;
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
	p->by = FW_REASON_ID(FW_REASON_FLOWS_FULL, h->direction);
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

	p->by = r->id;
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

#endif
