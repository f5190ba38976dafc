/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow table: an array of buckets with seven ways, in which a flow has two candidates ("balanced allocations",
 * Azar et al., SIAM J. Comput. 1999; filled to 60 % the fullest pair of buckets still has room). It compiles for BPF and
 * for user space, which maps the array and works on it beside the programs.
 *
 * No locks. A way belongs to whoever swaps its word to BUSY; then key, stamp and tag may be written, and the
 * word of the new state is the last store. Readers compare the word's version before and after. Two CPUs that make
 * the same flow at once both write it and then look: the one in the higher place goes. */
#ifndef FW_FLOW_TABLE_H
#define FW_FLOW_TABLE_H

#include "flow_state.h"
#include "packet.h"

#ifdef __BPF__
struct flow_table {
	int none; /* the maps are global there */
};
static __always_inline struct fw_flow_bucket *flow_bucket(const struct flow_table *t, __u32 i);
static __always_inline __u64 flow_seed_at(const struct flow_table *t, int i);
static __always_inline __u32 flow_n_buckets(const struct flow_table *t);
#else
struct flow_table {
	struct fw_flow_bucket *buckets;
	const struct fw_flow_head *head;
};
static inline struct fw_flow_bucket *flow_bucket(const struct flow_table *t, __u32 i)
{
	return &t->buckets[i];
}
static inline __u64 flow_seed_at(const struct flow_table *t, int i)
{
	return t->head->seed[i];
}
static inline __u32 flow_n_buckets(const struct flow_table *t)
{
	return t->head->n_buckets;
}
#endif

/* ---- hashing ---- */

struct flow_hash {
	__u32 bucket[2];
	__u64 tag;
};

/* One end, then both in an order of their own, so that both directions give the same. Multilinear hashing by pairs,
 * strongly universal in the upper 32 bits (Thorup, "High speed hashing for integers and strings", arXiv
 * 1504.06804, section 3.5): without the seed nobody can do better than chance. */
FW_INLINE __u64 flow_hash_end(const struct flow_table *t, const __u32 *addr, __u16 port)
{
	return ((flow_seed_at(t, 0) + addr[0]) * (flow_seed_at(t, 1) + addr[1]) +
		(flow_seed_at(t, 2) + addr[2]) * (flow_seed_at(t, 3) + addr[3]) + (flow_seed_at(t, 4) + port) * flow_seed_at(t, 5)) >>
	       32;
}

FW_INLINE void flow_hash(const struct flow_table *t, const struct fw_tuple *k, struct flow_hash *h)
{
	__u64 a = flow_hash_end(t, k->w, k->sport), b = flow_hash_end(t, k->w + 4, k->dport);
	__u64 rest = k->w[9], x = a ^ b, lo, n = flow_n_buckets(t);

	lo = a < b ? a : b;
	x ^= lo; /* the greater */
	a = ((flow_seed_at(t, 6) + lo) * (flow_seed_at(t, 7) + x) + flow_seed_at(t, 8) * rest) >> 32;
	b = ((flow_seed_at(t, 9) + lo) * (flow_seed_at(t, 10) + x) + flow_seed_at(t, 11) * rest) >> 32;
	h->tag = 0x80 | (a & 0x7f);
	h->bucket[0] = a * n >> 32;
	b = b * n >> 32;
	h->bucket[1] = b == h->bucket[0] ? (b + 1 == n ? 0 : b + 1) : b;
}

/* ---- finding ---- */

#define FLOW_LANES 0x0101010101010101ULL
#define FLOW_LANE_MASK ((1ULL << 8 * FW_FLOW_WAYS) - 1)

/* 0x80 in each byte of ${tags} that equals ${tag}. */
FW_INLINE __u64 flow_lanes(__u64 tags, __u64 tag)
{
	__u64 x = tags ^ tag * FLOW_LANES;

	return ~(((x & ~(FLOW_LANES << 7)) + ~(FLOW_LANES << 7)) | x | ~(FLOW_LANES << 7)) & FLOW_LANE_MASK;
}

/* The way of the lowest lane set in ${lanes}, which isn't 0. */
FW_INLINE __u32 flow_lowest(__u64 lanes)
{
	return ((lanes & -lanes) >> 7) * 0x0001020304050607ULL >> 56 & 7;
}

/* 0: another flow; 1: ${k} as it stands, the packet is the opener's; 2: reversed. */
FW_INLINE __u32 flow_same(const struct fw_tuple *flow, const struct fw_tuple *k)
{
	/* volatile: in a loop clang would keep all of it on the stack, of which there are 512 bytes in all */
	const volatile __u64 *f = flow->d, *p = k->d;
	__u32 fports = flow->w[8], pports = *(const volatile __u32 *)&k->w[8];
	__u64 rest = flow->w[9] ^ *(const volatile __u32 *)&k->w[9];

	if (!((f[0] ^ p[0]) | (f[1] ^ p[1]) | (f[2] ^ p[2]) | (f[3] ^ p[3]) | (fports ^ pports) | rest))
		return 1;
	if (!((f[0] ^ p[2]) | (f[1] ^ p[3]) | (f[2] ^ p[0]) | (f[3] ^ p[1]) |
	      (fports ^ (__u32)(pports << 16 | pports >> 16)) | rest) &&
	    !flow->hook)
		return 2;
	return 0;
}

/* A reference to a flow: where it stands, its version then, and which end the packet came from. */
#define FLOW_NOWHERE (~0ULL)
#define FLOW_REF(bucket, way, reply, version)                                                                         \
	((__u64)(bucket) << 32 | (__u64)(version) << 8 | (__u64)(reply) << 3 | (way))
#define FLOW_REF_BUCKET(r) ((__u32)((r) >> 32))
#define FLOW_REF_VERSION(r) ((r) >> 8 & 0xff)
#define FLOW_REF_REPLY(r) ((r) >> 3 & 1)
#define FLOW_REF_WAY(r) ((__u32)(r) & 7)
/* For people: the same for both directions, another one for the next flow in this place; never 0. */
#define FLOW_REF_ID(r) (((__u64)FLOW_REF_BUCKET(r) * 8 + FLOW_REF_WAY(r) + 1) << 8 | FLOW_REF_VERSION(r))

/* The flow and the word in a way: ${way} is below FW_FLOW_WAYS, and masked all the same, for the verifier. */
FW_INLINE struct fw_flow *flow_in(const struct fw_flow_bucket *b, __u32 way)
{
	return (struct fw_flow *)b + (way & 7);
}

FW_INLINE __u64 *flow_word_in(const struct fw_flow_bucket *b, __u32 way)
{
	return (__u64 *)((struct fw_flow *)b + FW_FLOW_WAYS) + (way & 7);
}

FW_INLINE __u64 flow_word(const struct fw_flow_bucket *b, __u32 way)
{
	return *(const volatile __u64 *)flow_word_in(b, way);
}

/* ${k} in bucket number ${n}, which is ${b}, among the ways in ${lanes}; live or expired. */
FW_INLINE __u64 flow_probe(const struct fw_flow_bucket *b, __u32 n, __u64 lanes, const struct fw_tuple *k)
{
	FW_NO_UNROLL
	for (int i = 0; i < FW_FLOW_WAYS && lanes; i++) {
		__u32 way = flow_lowest(lanes), same;
		__u64 word;

		word = flow_word(b, way);
		same = flow_same(&flow_in(b, way)->key, k);
		if (same && FW_FLOW_STATE(word) > FW_FLOW_BUSY)
			return FLOW_REF(n, way, same - 1, FW_FLOW_VERSION(word));
		lanes &= lanes - 1;
	}
	return FLOW_NOWHERE;
}

/* A flow of ${k}, live or not, other than ${ref}; FLOW_NOWHERE for the first that is there. */
FW_INLINE __u64 flow_other(const struct flow_table *t, const struct flow_hash *h, const struct fw_tuple *k, __u64 ref)
{
	FW_NO_UNROLL
	for (int i = 0; i < 2; i++) {
		const struct fw_flow_bucket *b = flow_bucket(t, h->bucket[i]);
		__u64 lanes, other;

		if (!b)
			continue;
		lanes = flow_lanes(*(const volatile __u64 *)&b->tags, h->tag);
		if (h->bucket[i] == FLOW_REF_BUCKET(ref))
			lanes &= ~(0x80ULL << 8 * FLOW_REF_WAY(ref));
		other = flow_probe(b, h->bucket[i], lanes, k);
		if (other != FLOW_NOWHERE)
			return other;
	}
	return FLOW_NOWHERE;
}

/* Jiffies since the flow was seen; 0 if another CPU is ahead. */
FW_INLINE __u64 flow_idle(__u64 word, __u64 now)
{
	__u64 idle = (now - FW_FLOW_SEEN(word)) & FW_FLOW_SEEN_MASK;

	return idle >> 39 ? 0 : idle;
}

FW_INLINE int flow_expired(__u64 word, __u64 now, const __u32 *tmo)
{
	return flow_idle(word, now) > tmo[FW_FLOW_STATE(word) & (FW_FLOW_STATE_ROOM - 1)];
}

/* ---- taking and giving back ---- */

FW_INLINE int flow_swap(struct fw_flow_bucket *b, __u32 way, __u64 old, __u64 word)
{
	return __sync_val_compare_and_swap(flow_word_in(b, way), old, word) == old;
}

/* The way is BUSY and ours: nobody finds it any more. */
FW_INLINE void flow_untag(struct fw_flow_bucket *b, __u32 way)
{
	__sync_fetch_and_and(&b->tags, ~(0xffULL << 8 * way));
}

/* A live flow ends. 0 if somebody changed it in between. */
FW_INLINE int flow_release(struct fw_flow_bucket *b, __u32 way, __u64 word)
{
	__u64 busy = (word & ~0xffULL) | FW_FLOW_BUSY;

	if (!flow_swap(b, way, word, busy))
		return 0;
	flow_untag(b, way);
	*(volatile __u64 *)flow_word_in(b, way) = (busy & ~0xffULL) | FW_FLOW_FREE;
	return 1;
}

enum flow_taken { FLOW_TOOK_NONE, FLOW_TOOK_FREE, FLOW_TOOK_SAME, FLOW_TOOK_EXPIRED, FLOW_TOOK_EVICTED };

/* All ones if a < b, both below 2^63. Without a branch: what follows one is verified twice. */
FW_INLINE __u64 flow_less(__u64 a, __u64 b)
{
	__u64 d = a - b;

#ifdef __BPF__
	asm volatile("" : "+r"(d));
#endif
	return -(d >> 63);
}

/* How gladly a new flow takes the place of the one with this word: 0 not at all, else the more the better. */
FW_INLINE __u64 flow_worth(__u64 word, __u64 now, const __u32 *tmo)
{
	__u32 state = FW_FLOW_STATE(word) & (FW_FLOW_STATE_ROOM - 1);
	__u64 idle = (now - FW_FLOW_SEEN(word)) & FW_FLOW_SEEN_MASK, expired, evictable;

	idle &= flow_less(idle, 1ULL << 39); /* as flow_idle() */
	expired = flow_less(tmo[state], idle);
	evictable = -(__u64)(FLOW_EVICTABLE >> state & 1);
	return (((idle + 1) & (expired | evictable)) | (expired & 1ULL << 41)) & ((word >> 15 & 1) - 1);
}

FW_INLINE __u64 flow_busy(__u64 word, __u64 now)
{
	return FW_FLOW_WORD(FW_FLOW_BUSY, 0, FW_FLOW_VERSION(word) + 1, now);
}

/* A free way of bucket ${n}. */
FW_INLINE __u64 flow_take_free(struct fw_flow_bucket *b, __u32 n, __u64 now)
{
	__u64 lanes = flow_lanes(*(const volatile __u64 *)&b->tags, 0);

	/* more tries than CPUs that could be at the same bucket in this instant are of no use */
	FW_NO_UNROLL
	for (int i = 0; i < 4 && lanes; i++) {
		__u32 way = flow_lowest(lanes);
		__u64 word;

		word = flow_word(b, way);
		if (FW_FLOW_STATE(word) == FW_FLOW_FREE && flow_swap(b, way, word, flow_busy(word, now)))
			return FLOW_REF(n, way, 0, (FW_FLOW_VERSION(word) + 1) & 0xff);
		lanes &= lanes - 1;
	}
	return FLOW_NOWHERE;
}

struct flow_victim {
	__u64 worth, word;
	__u64 at; /* bucket << 32 | way */
};

FW_INLINE void flow_victim(const struct fw_flow_bucket *b, __u32 n, __u64 now, const __u32 *tmo, struct flow_victim *v)
{
	FW_NO_UNROLL
	for (__u32 way = 0; way < FW_FLOW_WAYS; way++) {
		__u64 word = flow_word(b, way), worth = flow_worth(word, now, tmo);
		__u64 better = flow_less(v->worth, worth);

		v->worth ^= (v->worth ^ worth) & better;
		v->word ^= (v->word ^ word) & better;
		v->at ^= (v->at ^ ((__u64)n << 32 | way)) & better;
	}
}

FW_INLINE int flow_free_ways(const struct fw_flow_bucket *b)
{
	return (flow_lanes(*(const volatile __u64 *)&b->tags, 0) >> 7) * FLOW_LANES >> 56;
}

/* The way is ours and filled: from here on it is found. */
FW_INLINE void flow_publish(struct fw_flow_bucket *b, __u32 way, __u64 tag, __u64 word)
{
	*(volatile __u64 *)flow_word_in(b, way) = word;
	__sync_fetch_and_or(&b->tags, tag << 8 * way); /* a full barrier, too: who made it calls flow_other() after it */
}

/* The way of ${ref}, in which flow_other() found ${k} though no longer alive: BUSY and ours. */
FW_INLINE __u64 flow_take_same(struct fw_flow_bucket *b, __u64 ref, __u64 now)
{
	__u32 way = FLOW_REF_WAY(ref);
	__u64 word;

	word = flow_word(b, way);
	if (FW_FLOW_STATE(word) <= FW_FLOW_BUSY || FW_FLOW_VERSION(word) != FLOW_REF_VERSION(ref) || word & FW_FLOW_LOCKED ||
	    !flow_swap(b, way, word, flow_busy(word, now)))
		return FLOW_NOWHERE;
	flow_untag(b, way);
	return FLOW_REF(FLOW_REF_BUCKET(ref), way, 0, (FW_FLOW_VERSION(word) + 1) & 0xff);
}

/* A way of the two buckets of ${h}, BUSY and ours. FLOW_NOWHERE: none is to be had. (A race lost for the last one
 * counts as that, too.) */
FW_INLINE __u64 flow_take(const struct flow_table *t, const struct flow_hash *h, __u64 now, const __u32 *tmo,
			  enum flow_taken *taken)
{
	struct flow_victim v = { 0 };
	struct fw_flow_bucket *b = flow_bucket(t, h->bucket[0]), *b2 = flow_bucket(t, h->bucket[1]), *bv;
	__u32 way, first;
	__u64 ref;

	*taken = FLOW_TOOK_FREE;
	if (!b || !b2)
		return FLOW_NOWHERE;
	/* the first bucket, where it is found sooner, as long as that is half empty; else the emptier one */
	first = flow_free_ways(b) > FW_FLOW_WAYS / 2 || flow_free_ways(b) >= flow_free_ways(b2);
	ref = flow_take_free(first ? b : b2, h->bucket[first ^ 1], now);
	if (ref != FLOW_NOWHERE)
		return ref;
	/* twice, should two CPUs want the same */
	FW_NO_UNROLL
	for (int i = 0; i < 2; i++) {
		v.worth = 0;
		flow_victim(b, h->bucket[0], now, tmo, &v);
		flow_victim(b2, h->bucket[1], now, tmo, &v);
		way = (__u32)v.at & 7;
		*taken = v.worth >> 41 ? FLOW_TOOK_EXPIRED : FLOW_TOOK_EVICTED;
		bv = flow_bucket(t, v.at >> 32);
		if (!v.worth || !bv)
			break;
		if (!flow_swap(bv, way, v.word, flow_busy(v.word, now)))
			continue;
		flow_untag(bv, way);
		return FLOW_REF(v.at >> 32, way, 0, (FW_FLOW_VERSION(v.word) + 1) & 0xff);
	}
	return FLOW_NOWHERE;
}

/* After flow_publish() of ${ref}: ${other} is what flow_other() finds then. If another CPU has made the same flow at the
 * same time, the one in the higher place goes: whoever publishes last sees both, and both would choose the same. The one
 * that is left. */
FW_INLINE __u64 flow_settle(const struct flow_table *t, __u64 ref, __u64 other)
{
	__u64 goes = other, stays = ref, word;
	struct fw_flow_bucket *b;

	if (other == FLOW_NOWHERE)
		return ref;
	if (FLOW_REF_ID(ref) >> 8 > FLOW_REF_ID(other) >> 8) {
		goes = ref;
		stays = other;
	}
	b = flow_bucket(t, FLOW_REF_BUCKET(goes));
	if (!b)
		return ref;
	word = flow_word(b, FLOW_REF_WAY(goes));
	if (FW_FLOW_VERSION(word) == FLOW_REF_VERSION(goes) && FW_FLOW_STATE(word) > FW_FLOW_BUSY)
		flow_release(b, FLOW_REF_WAY(goes), word);
	return stays;
}

#endif
