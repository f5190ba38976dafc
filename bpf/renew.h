/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows follow the policy: the first packet after a reload has the opener's tuple judged again. Global functions, verified
 * once by themselves: this is rare. */
#ifndef FW_RENEW_H
#define FW_RENEW_H

#include "flow.h"
#include "judge.h"

/* Rows and columns for who is known by numbers only: 0 for an unknown interface or cgroup, ~0 for an unknown user. */
static __always_inline int query_by_ids(struct query *q, const struct fw_arena *a, __u32 direction, __u32 ifindex,
					__u32 uid, __u64 cgroup)
{
	const struct fw_dir *d = &a->dir[direction];
	struct tables t = { .base = (const __u8 *)a };
	__u32 column;

	q->user_may = q->user_must = d->user_must;
	q->cgroup_may = q->cgroup_must = d->cgroup_must;
	if (ifindex && a->flags & FW_ARENA_IFACES)
		q->iface_may = q->iface_must = FW_IFACE_ROW(FW_LEAF_VALUE(t_walk(&t, a->iface, ifindex)));
	if (uid != ~0u && d->n_user > 1)
		q->user_may = q->user_must = FW_LEAF_VALUE(t_walk(&t, d->user, uid));
	if (!cgroup || d->n_cgroup <= 1)
		return 0;
	/* fwload has put every cgroup that was there into the trie: an id alone can't be followed up the tree. What isn't
	 * there has been removed since, and may have been below any. */
	column = FW_LEAF_VALUE(t_walk(&t, d->cgroup, T_KEY(cgroup)));
	if (column)
		q->cgroup_may = q->cgroup_must = column - 1;
	else
		q->cgroup_may = d->cgroup_may;
	return 0;
}

/* What is known of the opener of flow ${ref}, as rows and columns of the policy in ${slot}. */
__noinline int fw_flow_query(struct query *q, __u64 ref, __u32 slot)
{
	const struct fw_arena *a = arena_in(slot);
	const struct fw_flow *f;
	struct fw_flow_bucket *b;
	__u32 way;

	b = flow_at(ref, &way);
	if (!q || !a || !b)
		return 0;
	f = flow_in(b, way);
	return query_by_ids(q, a, flow_word(b, way) & FW_FLOW_EGRESS ? FW_EGRESS : FW_INGRESS, f->ifindex, f->uid,
			    f->cgroup_id);
}

/* The first rule of the policy in ${slot} that may match the opener's packet of flow ${ref}. */
__noinline __u32 fw_flow_judge(__u64 ref, __u32 slot, const struct query *q)
{
	const struct fw_arena *a = arena_in(slot);
	struct fw_flow_bucket *b;
	const struct fw_dir *d;
	struct packet p;
	struct tables t;
	__u32 way, zero, known = FW_EV_ADDRS | FW_EV_SADDR;
	__u64 word, direction, v6;
	__u8 proto;

	b = flow_at(ref, &way);
	if (!a || !b || !q)
		return FW_NO_RULE;
	word = flow_word(b, way);
	zero = a->zero;
	direction = word / FW_FLOW_EGRESS & 1;
	v6 = word / FW_FLOW_V6 & 1;
	proto = *(volatile __u8 *)&flow_in(b, way)->key.proto;
	if (fw_has_ports(proto))
		known |= FW_EV_SPORT | FW_EV_DPORT;
	else if (proto == 1 + v6 * (58 - 1))
		known |= FW_EV_ICMP;
	known ^= zero;
	/* What follows is walked once by the verifier, and not for each direction, version and protocol, if these are no
	 * branches to the compiler and what they leave is mixed with unknown zeros. */
	asm volatile("" : "+r"(direction), "+r"(v6), "+r"(known));
	d = &a->dir[direction & 1];
	__builtin_memcpy(&p, &flow_in(b, way)->key, sizeof(flow_in(b, way)->key));
	p.known = known;
	p.ip_version = 4 + v6 * 2;
	p.icmp_type = ICMP_ECHO + v6 * (ICMP6_ECHO - ICMP_ECHO);
	p.favoured = zero;
	t.base = (const __u8 *)a;
	return first_rule(&t, d, &p, q, 0, 0);
}

/* Where its cgroup is gone, and might have been one that a rule names: UNDECIDED. */
static __always_inline __u32 judge_flow(__u64 ref, __u32 slot, struct query *q)
{
	__u32 rule = fw_flow_judge(ref, slot, q);

	if (q->cgroup_may == q->cgroup_must)
		return rule;
	q->cgroup_may = q->cgroup_must;
	return fw_flow_judge(ref, slot, q) == rule ? rule : UNDECIDED;
}

/* ${word} of the flow in ${way}, its state and flags as the present policy has them. 1: this cut it. */
static __always_inline int renew_word(struct fw_flow_bucket *b, __u32 way, __u64 word, int allowed, __u64 flags)
{
	__u64 now = bpf_jiffies64(), next;
	__u32 state;

	FW_NO_UNROLL
	for (int i = 0; i < 4; i++) {
		state = FW_FLOW_STATE(word);
		if (state <= FW_FLOW_BUSY)
			return 0;
		if (allowed)
			next = (word & ~(FW_FLOW_LIMITED | FW_FLOW_SHAKEN)) | flags;
		else
			next = (word & 0xfff700) | flags | now << 24 |
			       (flow_in(b, way)->key.proto == 6 ? FW_FLOW_CUT_TCP : FW_FLOW_CUT);
		if (next == word || flow_swap(b, way, word, next))
			return !allowed && !FW_FLOW_IS_CUT(state);
		word = flow_word(b, way);
	}
	return 0;
}

/* What fw_flow_renew() says: the counter id of what decided in the low half, and */
#define RENEWED_DENIED (1ULL << 32) /* the flow is cut */
#define RENEWED_ENDED (1ULL << 33)  /* it had been cut and would be allowed: it is gone, the packet may open another */
#define RENEWED_LIMITED (1ULL << 34)
#define RENEWED_QUIET (1ULL << 35)

/* Flow ${ref}, which an earlier generation allowed or cut, as the present one has it by ${rule}. While that is on
 * trial nothing is taken away from the one before: a flow is refused then, not cut, and a cut one stays. */
__noinline __u64 fw_flow_renew(__u64 ref, __u32 slot, __u32 rule, __u32 trial)
{
	const struct fw_arena *a = arena_in(slot);
	struct fw_flow_bucket *b;
	const struct fw_rule_rec *r;
	const struct fw_dir *d;
	__u64 word, said, stamp;
	__u32 way, dir;
	struct tables t;
	int allowed;

	b = flow_at(ref, &way);
	if (!a || !b)
		return RENEWED_ENDED;
	word = flow_word(b, way);
	stamp = *(volatile __u64 *)&flow_in(b, way)->stamp;
	dir = word & FW_FLOW_EGRESS ? FW_EGRESS : FW_INGRESS;
	d = &a->dir[dir];
	t.base = (const __u8 *)a;
	if (rule < UNDECIDED) {
		r = (const void *)(t.base + ((d->rules + rule * sizeof(*r)) & T_MASK(&t)));
		allowed = r->action == ACTION_ALLOW || r->action == ACTION_RATE_LIMIT;
		said = r->id | (r->action == ACTION_RATE_LIMIT ? RENEWED_LIMITED : 0) |
		       (r->flags & FW_RULE_LOG ? 0 : RENEWED_QUIET);
	} else {
		allowed = rule == FW_NO_RULE && d->default_action == ACTION_ALLOW;
		said = FW_REASON_ID(allowed ? FW_REASON_DEFAULT : FW_REASON_FLOW_CUT, dir) |
		       (a->flags & FW_ARENA_LOG_DENY ? 0 : RENEWED_QUIET);
	}
	if (allowed && FW_FLOW_IS_CUT(FW_FLOW_STATE(word))) {
		if (!trial)
			flow_release(b, way, word);
		return RENEWED_ENDED;
	}
	if (!allowed && trial)
		return said | RENEWED_DENIED;
	/* first the word: a handshake of an earlier trial must not count for this one */
	if (allowed)
		renew_word(b, way, word, 1, said & RENEWED_LIMITED ? FW_FLOW_LIMITED : 0);
	__sync_val_compare_and_swap(&flow_in(b, way)->stamp, stamp, FW_FLOW_STAMP(a->generation, (__u32)said));
	if (allowed)
		return said;
	if (renew_word(b, way, word, 0, said & RENEWED_QUIET ? FW_FLOW_QUIET : 0))
		state_stat(STAT(flows_cut));
	return said | RENEWED_DENIED;
}

#endif
