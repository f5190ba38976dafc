/* SPDX-License-Identifier: GPL-2.0-only */
/* The dress rehearsal: what the live policy has answered, the candidate is asked too, and only when they disagree there is
 * an event. Of a flow once, of packets without one each time. What the candidate limits counts as allowed: it
 * has no tokens yet. Global functions: the hot path is to have nothing of it but one branch. */
#ifndef FW_AUDIT_H
#define FW_AUDIT_H

#include "act.h"
#include "renew.h"

/* What the functions below are told in one word. */
#define AUDIT_HOW(live, candidate, hook, direction, denied)                                                           \
	((__u32)(live) | (__u32)(candidate) << 4 | (__u32)(hook) << 8 | (__u32)(direction) << 12 | (__u32)(denied) << 13)
#define AUDIT_LIVE(how) ((how) & 15)
#define AUDIT_CANDIDATE(how) ((how) >> 4 & 15)
#define AUDIT_HOOK(how) ((how) >> 8 & 15)
#define AUDIT_DIRECTION(how) ((how) >> 12 & 1)
#define AUDIT_DENIED(how) ((how) >> 13 & 1)

#define AUDIT_DONE (FLOW_NOWHERE - 1) /* this audit has looked at the flow already */

/* The flow in which ${p} has passed, or has not because it is cut; or FLOW_NOWHERE, or AUDIT_DONE. */
__noinline __u64 fw_audit_flow(struct packet *p, __u32 how)
{
	const struct fw_arena *live = arena_in(AUDIT_LIVE(how)), *other = arena_in(AUDIT_CANDIDATE(how));
	struct fw_flow_bucket *b;
	__u64 ref, word, mark;
	__u32 way;

	if (!p || !live || !other)
		return AUDIT_DONE;
	if (!(live->flags & other->flags & FW_ARENA_STATEFUL))
		return FLOW_NOWHERE;
	ref = fw_flow_look((const struct fw_tuple *)p, FLOW_NOWHERE);
	b = flow_at(ref, &way);
	if (!b)
		return FLOW_NOWHERE;
	word = flow_word(b, way);
	if (FW_FLOW_STATE(word) <= FW_FLOW_BUSY || AUDIT_DENIED(how) != FW_FLOW_IS_CUT(FW_FLOW_STATE(word)))
		return FLOW_NOWHERE;
	mark = FW_FLOW_AUDIT(other->generation % 7 + 1);
	if ((word & FW_FLOW_AUDIT(7)) == mark)
		return AUDIT_DONE;
	return flow_swap(b, way, word, (word & ~FW_FLOW_AUDIT(7)) | mark) ? ref : AUDIT_DONE;
}

/* What is known of ${p} beside its bytes, as rows and columns of the candidate. */
__noinline int fw_audit_query(struct query *q, const struct packet *p, __u32 how)
{
	const struct fw_arena *a = arena_in(AUDIT_CANDIDATE(how));

	if (!q || !p || !a)
		return 0;
	q->slot = AUDIT_CANDIDATE(how);
	return query_by_ids(q, a, AUDIT_DIRECTION(how), p->known & FW_EV_IFACE ? p->ifindex : 0,
			    p->known & FW_EV_UID ? p->uid : ~0u, p->known & FW_EV_CGROUP ? p->cgroup_id : 0);
}

/* 1: they disagree, and ${j} is the event. ${rule} is what first_rule() says of the candidate. */
__noinline int fw_audit_compare(struct packet *p, __u32 how, __u32 rule, __u64 ref, struct judged *j)
{
	const struct fw_arena *a = arena_in(AUDIT_LIVE(how)), *other = arena_in(AUDIT_CANDIDATE(how));
	__u32 way, direction = AUDIT_DIRECTION(how), zero = 0;
	struct fw_audit_stats *stats;
	const struct fw_rule_rec *r;
	struct fw_flow_bucket *b;
	struct tables t;
	int allow;

	stats = bpf_map_lookup_elem(&audit_stats, &zero);
	if (!p || !j || !a || !other || !stats || rule == UNDECIDED ||
	    p->by == FW_REASON_ID(FW_REASON_FLOWS_FULL, direction)) /* so would the candidate's table be */
		return 0;
	t.base = (const __u8 *)other;
	b = flow_at(ref, &way);
	if (b) {
		/* the opener's view: that is what was judged */
		direction = flow_word(b, way) & FW_FLOW_EGRESS ? FW_EGRESS : FW_INGRESS;
		if (!p->frag) /* ${p} is still needed */
			__builtin_memcpy(p, &flow_in(b, way)->key, sizeof(flow_in(b, way)->key));
		j->flow_id = FLOW_REF_ID(ref);
	}
	/* without a flow, or one that has begun with this */
	if ((!b || FW_FLOW_STATE(flow_word(b, way)) == FW_FLOW_PICKED_UP) && p->known & FW_EV_TCP &&
	    flow_event(p->tcp_flags) != FLOW_SYN && other->flags & FW_ARENA_TCP_STRICT) {
		j->other_rule = FW_REASON_ID(FW_REASON_INVALID, direction);
		allow = 0;
	} else if (rule < UNDECIDED) {
		r = (const void *)(t.base + ((other->dir[direction].rules + rule * sizeof(*r)) & T_MASK(&t)));
		j->other_rule = r->id;
		allow = r->action == ACTION_ALLOW || (r->action == ACTION_RATE_LIMIT && !p->limited);
	} else {
		j->other_rule = FW_REASON_ID(p->favoured ? FW_REASON_NEIGHBOUR : FW_REASON_DEFAULT, direction);
		allow = p->favoured || other->dir[direction].default_action == ACTION_ALLOW;
	}
	__sync_fetch_and_add(&stats->judged, 1);
	if (allow != AUDIT_DENIED(how))
		return 0;
	__sync_fetch_and_add(&stats->disagreed, 1);
	j->type = FW_EVENT_DISAGREEMENT;
	j->hook = AUDIT_HOOK(how);
	j->id = p->by;
	j->generation = a->generation;
	j->direction = direction;
	j->verdict = !AUDIT_DENIED(how) ? FW_VERDICT_ALLOW : p->limited ? FW_VERDICT_RATE_LIMITED : FW_VERDICT_DENY;
	j->reason = p->by < FW_RULE_ID_FIRST ? p->by / 2 : b ? FW_REASON_FLOW : FW_REASON_RULE;
	j->other_verdict = allow ? FW_VERDICT_ALLOW : FW_VERDICT_DENY;
	j->other_generation = other->generation;
	return 1;
}

/* Where the socket is known its cgroup is looked up as the candidate would, up the tree. 0: there is no candidate. */
static __always_inline int query_candidate(const struct setting *s, const struct packet *p, const struct hook *h,
					   struct query *q)
{
	struct setting other = { .sk = s->sk, .slot = s->candidate };

	other.t.base = (const __u8 *)arena_in(s->candidate);
	if (!other.t.base)
		return 0;
	if (p->known & FW_EV_IFACE && ARENA(&other)->flags & FW_ARENA_IFACES)
		other.iface_row = FW_IFACE_ROW(FW_LEAF_VALUE(t_walk(&other.t, ARENA(&other)->iface, p->ifindex)));
	query_context(&other, &ARENA(&other)->dir[h->direction], h, q);
	q->slot = s->candidate;
	return 1;
}

/* A call that the live policy refuses, and of which the candidate would want to see the packet, never leads to one: then by
 * the first rule that may match. */
static __always_inline __u32 classify_refused(const struct packet *p, struct query *q)
{
	__u32 rule = fw_classify_call(p, q);

	if (rule != UNDECIDED)
		return rule;
	q->iface_must = q->iface_may;
	q->user_must = q->user_may;
	q->cgroup_must = q->cgroup_may;
	return fw_classify_call(p, q);
}

/* ${p} has been answered. */
static __always_inline void audit(const struct setting *s, struct packet *p, const struct hook *h, enum answer answer)
{
	__u32 how = AUDIT_HOW(s->slot, s->candidate, h->id, h->direction, answer != PASS);
	__u64 ref = FLOW_NOWHERE;
	struct judged j;
	struct query q;
	__u32 rule;

	/* of a call that goes on the packet will be judged; what is not the first piece went with the first */
	if (!s->owner || (h->is_call && answer == PASS) || p->frag == FW_FRAG_LATER || p->icmp_error)
		return;
	identify(s, p, h);
	__builtin_memset(&q, 0, sizeof(q));
	__builtin_memset(&j, 0, sizeof(j));
	if (!h->is_call)
		ref = fw_audit_flow(p, how);
	if (ref == AUDIT_DONE)
		return;
	if (ref != FLOW_NOWHERE) {
		fw_flow_query(&q, ref, s->candidate);
		rule = judge_flow(ref, s->candidate, &q);
	} else {
		if (!h->has_sk)
			fw_audit_query(&q, p, how);
		else if (!query_candidate(s, p, h, &q))
			return;
		rule = h->is_call ? classify_refused(p, &q) : fw_classify_packet(p, &q, h->direction);
	}
	if (fw_audit_compare(p, how, rule, ref, &j))
		asm volatile("" : : "r"(h->is_call ? emit_call(ARENA(s), p, &j) : emit_packet(ARENA(s), p, &j)));
}

#endif
