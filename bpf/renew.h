/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows follow the policy: the first packet after a reload has the opener's tuple judged again. Global functions, verified
 * once by themselves: this is rare. */
#ifndef FW_RENEW_H
#define FW_RENEW_H

#include "flow.h"
#include "judge.h"

/* What is known of the opener of flow ${f}, as rows and columns of the present policy. */
__noinline int fw_flow_query(struct query *q, __u64 ref, __u32 slot)
{
	const struct fw_arena *a = arena_in(slot);
	const struct fw_flow *f;
	struct fw_flow_bucket *b;
	const struct fw_dir *d;
	struct tables t;
	__u32 way, column;

	b = flow_at(ref, &way);
	if (!q || !a || !b)
		return 0;
	f = flow_in(b, way);
	t.base = (const __u8 *)a;
	d = &a->dir[flow_word(b, way) & FW_FLOW_EGRESS ? FW_EGRESS : FW_INGRESS];
	q->user_may = q->user_must = d->user_must;
	q->cgroup_may = q->cgroup_must = d->cgroup_must;
	if (f->ifindex && a->flags & FW_ARENA_IFACES)
		q->iface_may = q->iface_must = FW_IFACE_ROW(FW_LEAF_VALUE(t_walk(&t, a->iface, f->ifindex)));
	if (f->uid != ~0u && d->n_user > 1)
		q->user_may = q->user_must = FW_LEAF_VALUE(t_walk(&t, d->user, f->uid));
	if (!f->cgroup_id || d->n_cgroup <= 1)
		return 0;
	/* fwload has put every cgroup that was there into the trie: an id alone can't be followed up the tree. What isn't
	 * there has been removed since, and may have been below any. */
	column = FW_LEAF_VALUE(t_walk(&t, d->cgroup, T_KEY(f->cgroup_id)));
	if (column)
		q->cgroup_may = q->cgroup_must = column - 1;
	else
		q->cgroup_may = d->cgroup_may;
	return 0;
}

/* The first rule of the present policy that may match the opener's packet of flow ${ref}. */
__noinline __u32 fw_flow_judge(__u64 ref, __u32 slot, const struct query *q)
{
	const struct fw_arena *a = arena_in(slot);
	struct fw_flow_bucket *b;
	const struct fw_dir *d;
	struct packet p;
	struct tables t;
	__u32 way, zero;
	__u64 word;

	b = flow_at(ref, &way);
	if (!a || !b || !q)
		return FW_NO_RULE;
	word = flow_word(b, way);
	zero = a->zero;
	d = &a->dir[word & FW_FLOW_EGRESS ? FW_EGRESS : FW_INGRESS];
	__builtin_memcpy(&p, &flow_in(b, way)->key, sizeof(flow_in(b, way)->key));
	p.ip_version = (word & FW_FLOW_V6 ? 6 : 4) + zero;
	p.icmp_type = (p.proto == 1 ? ICMP_ECHO : ICMP6_ECHO) + zero;
	p.favoured = zero;
	p.known = (FW_EV_ADDRS | FW_EV_SADDR) + zero;
	if (fw_has_ports(p.proto))
		p.known |= FW_EV_SPORT | FW_EV_DPORT;
	else if (p.proto == (p.ip_version == 4 ? 1 : 58))
		p.known |= FW_EV_ICMP;
	t.base = (const __u8 *)a;
	return first_rule(&t, d, &p, q, 0, 0);
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
			next = (word & ~FW_FLOW_LIMITED) | flags;
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

/* Flow ${ref}, which an earlier generation allowed or cut, as the present one has it by ${rule}. */
__noinline __u64 fw_flow_renew(__u64 ref, __u32 slot, __u32 rule)
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
		flow_release(b, way, word);
		return RENEWED_ENDED;
	}
	__sync_val_compare_and_swap(&flow_in(b, way)->stamp, stamp, FW_FLOW_STAMP(a->generation, (__u32)said));
	if (allowed) {
		renew_word(b, way, word, 1, said & RENEWED_LIMITED ? FW_FLOW_LIMITED : 0);
		return said;
	}
	if (renew_word(b, way, word, 0, said & RENEWED_QUIET ? FW_FLOW_QUIET : 0))
		state_stat(STAT(flows_cut));
	return said | RENEWED_DENIED;
}

#endif
