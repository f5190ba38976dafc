/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows as the programs meet them: find the packet's, follow its state, make a new one. */
#ifndef FW_FLOW_H
#define FW_FLOW_H

#include <bpf/bpf_helpers.h>

#include "count.h"
#include "flow_table.h"
#include "maps.h"
#include "packet.h"

/* enum fw_action of lib/policy.h */
#define ACTION_DENY 0
#define ACTION_ALLOW 1
#define ACTION_REJECT 2
#define ACTION_RATE_LIMIT 3

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129

static __always_inline struct fw_flow_bucket *flow_bucket(const struct flow_table *t, __u32 i)
{
	return bpf_map_lookup_elem(&flows, &i);
}

static __always_inline __u64 flow_seed_at(const struct flow_table *t, int i)
{
	return flow_seed[i];
}

static __always_inline __u32 flow_n_buckets(const struct flow_table *t)
{
	return flow_buckets;
}

enum flow_ends {
	FLOW_NONE,    /* this packet can't belong to a flow */
	FLOW_ANY,     /* either end may send it */
	FLOW_REQUEST, /* ICMP: only the opener */
	FLOW_REPLY,   /* ICMP: only the other end; makes no flow */
};

/* The flow of a packet, once found. */
struct flow_found {
	__u64 ref; /* FLOW_REF, or FLOW_NOWHERE */
	__u64 stamp;
	__u64 word;
	__u8 live; /* there is one; otherwise the rest says nothing */
	__u8 stale; /* an earlier generation allowed it (or cut it) */
	__u8 cut, limited, quiet;
	__u8 renewed; /* this packet had it judged again */
};

static __always_inline __u8 flow_ends(const struct packet *p)
{
	int icmp = (p->ip_version == 4 && p->proto == 1) || (p->ip_version == 6 && p->proto == 58);

	if (!icmp)
		return FLOW_ANY;
	if (p->icmp_type == (p->proto == 1 ? ICMP_ECHO : ICMP6_ECHO))
		return FLOW_REQUEST;
	if (p->icmp_type == (p->proto == 1 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY))
		return FLOW_REPLY;
	return FLOW_NONE;
}

/* The search for what the short way of flow_find() doesn't meet, and nearly always for what isn't there. Global, so
 * that the verifier checks it once by itself. */
__noinline __u64 fw_flow_search(const struct fw_tuple *k, __u32 bucket, __u32 bucket2, __u64 tag)
{
	struct flow_hash h = { { bucket, bucket2 }, tag };

	return k ? flow_other(0, &h, k, FLOW_NOWHERE) : FLOW_NOWHERE;
}

/* Most flows stand in their first bucket and share their tag with no other there. */
static __always_inline __u64 flow_lookup(const struct packet *p)
{
	const struct fw_tuple *k = (const struct fw_tuple *)p;
	const struct fw_flow_bucket *b;
	struct flow_hash h;
	__u64 lanes, word;
	__u32 way, same;

	flow_hash(0, k, &h);
	b = flow_bucket(0, h.bucket[0]);
	if (!b)
		return FLOW_NOWHERE;
	lanes = flow_lanes(b->tags, h.tag);
	way = flow_lowest(lanes);
	if (lanes) {
		word = flow_word(b, way);
		same = flow_same(&flow_in(b, way)->key, k);
		if (same && FW_FLOW_STATE(word) > FW_FLOW_BUSY)
			return FLOW_REF(h.bucket[0], way, same - 1, FW_FLOW_VERSION(word));
	}
	return fw_flow_search(k, h.bucket[0], h.bucket[1], h.tag);
}

/* The way of ${f}, or NULL when it isn't the same flow's any more. */
static __always_inline struct fw_flow_bucket *flow_at(__u64 ref, __u32 *way)
{
	struct fw_flow_bucket *b = flow_bucket(0, FLOW_REF_BUCKET(ref));

	*way = FLOW_REF_WAY(ref);
	if (!b || FW_FLOW_VERSION(flow_word(b, *way)) != FLOW_REF_VERSION(ref))
		return 0;
	return b;
}

static __always_inline __u32 flow_step_of(__u64 word, const struct packet *p, __u64 ref)
{
	return flow_step(FW_FLOW_STATE(word), flow_event(p->tcp_flags), FLOW_REF_REPLY(ref));
}

/* What way ${way} of ${b} says into ${f}. */
static __always_inline void flow_read(const struct fw_arena *a, struct fw_flow_bucket *b, __u32 way, struct flow_found *f)
{
	f->word = flow_word(b, way);
	f->stamp = *(volatile __u64 *)&flow_in(b, way)->stamp;
	f->stale = (FW_FLOW_GENERATION(f->stamp) != a->generation) + a->zero;
	f->cut = FW_FLOW_IS_CUT(FW_FLOW_STATE(f->word));
	f->limited = !!(f->word & FW_FLOW_LIMITED);
	f->quiet = !!(f->word & FW_FLOW_QUIET);
}

/* The live flow of ${p} into ${f}. Changes nothing. */
static __always_inline void flow_find(const struct fw_arena *a, const struct packet *p, struct flow_found *f)
{
	struct fw_flow_bucket *b;
	__u8 ends = flow_ends(p);
	__u32 way, state;

	f->live = f->stale = f->cut = f->limited = f->quiet = f->renewed = a->zero;
	f->ref = FLOW_NOWHERE - a->zero;
	f->word = f->stamp = a->zero;
	if (ends == FLOW_NONE)
		return;
	f->ref = flow_lookup(p);
	b = flow_at(f->ref ^ a->zero, &way); /* none for FLOW_NOWHERE */
	if (!b)
		return;
	flow_read(a, b, way, f);
	state = FW_FLOW_STATE(f->word);
	if (state <= FW_FLOW_BUSY || flow_expired(f->word, bpf_jiffies64(), a->tmo) ||
	    flow_step_of(f->word, p, f->ref) & FLOW_AGAIN)
		return;
	if (ends == (FLOW_REF_REPLY(f->ref) ? FLOW_REQUEST : FLOW_REPLY))
		return;
	f->live = a->zero ^ 1;
}

/* ${p} has passed as a packet of ${f}: its state, and that it lives. */
static __always_inline void flow_touch(const struct fw_arena *a, const struct packet *p, struct flow_found *f)
{
	__u64 now = bpf_jiffies64(), next;
	struct fw_flow_bucket *b;
	__u32 way;

	/* a write per packet would bounce the line between CPUs */
	next = flow_step_of(f->word, p, f->ref);
	if (next == FW_FLOW_STATE(f->word) && flow_idle(f->word, now) <= a->jiffies_per_s >> 3)
		return;
	b = flow_at(f->ref, &way);
	if (!b)
		return;
	/* A transition must not be lost to one that another CPU makes at the same time. */
	FW_NO_UNROLL
	for (int i = 0; i < 4; i++) {
		if (next & FLOW_AGAIN || flow_swap(b, way, f->word, (f->word & 0xffff00) | next | now << 24))
			return;
		f->word = flow_word(b, way);
		if (FW_FLOW_STATE(f->word) <= FW_FLOW_BUSY || FW_FLOW_VERSION(f->word) != FLOW_REF_VERSION(f->ref))
			return;
		next = flow_step_of(f->word, p, f->ref);
	}
}

static __always_inline void flow_account(enum flow_taken taken, int fragment)
{
	if (taken == FLOW_TOOK_EXPIRED)
		state_stat(STAT(flows_expired));
	if (taken == FLOW_TOOK_EVICTED)
		state_stat(STAT(flows_evicted));
	state_stat(taken == FLOW_TOOK_NONE ? STAT(flows_full) : fragment ? STAT(fragments_created) : STAT(flows_created));
}

/* A flow for ${p}, which p->by let pass: its reference, or FLOW_NOWHERE. ${flags}: of its word; or, for the first
 * fragment of a datagram, FLOW_FRAGMENT: an entry for the others. ${same}: what a search has found that is
 * not alive any more, or FLOW_NOWHERE. */
#define FLOW_FRAGMENT 0x10000
__noinline __u64 fw_flow_create(const struct packet *p, __u32 flags, __u32 slot, __u64 same)
{
	__u32 state, way, fragment = flags & FLOW_FRAGMENT;
	enum flow_taken taken = FLOW_TOOK_SAME;
	struct fw_flow_bucket *b;
	const struct fw_arena *a;
	struct flow_hash h;
	__u64 ref, now;

	if (!p)
		return FLOW_NOWHERE;
	a = arena_in(slot);
	if (!a)
		return FLOW_NOWHERE;
	flow_hash(0, (const struct fw_tuple *)p, &h);
	now = bpf_jiffies64();
	b = flow_bucket(0, FLOW_REF_BUCKET(same)); /* none for FLOW_NOWHERE */
	ref = b ? flow_take_same(b, same, now) : FLOW_NOWHERE;
	if (ref == FLOW_NOWHERE) /* also when another CPU is at that very place */
		ref = flow_take(0, &h, now, a->tmo, &taken);
	flow_account(ref == FLOW_NOWHERE ? FLOW_TOOK_NONE : taken, fragment);
	b = flow_bucket(0, FLOW_REF_BUCKET(ref));
	way = FLOW_REF_WAY(ref);
	if (!b)
		return FLOW_NOWHERE;
	state = fragment ? FW_FLOW_FRAGMENT : flow_first_state(p);
	__builtin_memcpy(&flow_in(b, way)->key, p, sizeof(flow_in(b, way)->key));
	flow_in(b, way)->stamp = FW_FLOW_STAMP(a->generation, p->by);
	flow_in(b, way)->cgroup_id = fragment ? p->frag_len / 8 : p->cgroup_id; /* ${done}, the rest 0 */
	flow_in(b, way)->uid = fragment ? 0 : p->known & FW_EV_UID ? p->uid : ~0u;
	flow_in(b, way)->ifindex = fragment ? 0 : p->ifindex;
	flow_publish(b, way, h.tag, FW_FLOW_WORD(state, fragment ? 0 : flags & 0xff00, FLOW_REF_VERSION(ref), now));
	return ref;
}

/* Whatever is in the table of ${k}, alive or not, but for ${ref}; or FLOW_NOWHERE. */
__noinline __u64 fw_flow_look(const struct fw_tuple *k, __u64 ref)
{
	struct flow_hash h;

	if (!k)
		return FLOW_NOWHERE;
	flow_hash(0, k, &h);
	return flow_other(0, &h, k, ref);
}

__noinline __u64 fw_flow_settle(__u64 ref, __u64 other)
{
	return flow_settle(0, ref, other);
}

#endif
