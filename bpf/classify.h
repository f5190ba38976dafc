/* SPDX-License-Identifier: GPL-2.0-only */
/* The classifier: arena and packet to rule. It compiles for BPF and for user space, so what is proved outside
 * is what the kernel runs. It makes no helper call but bpf_loop (for rare, long searches) and keeps every
 * access within the arena by one AND, which is all the proof the verifier needs. */
#ifndef FW_CLASSIFY_H
#define FW_CLASSIFY_H

#include "packet.h"
#include "tables_abi.h"

#ifndef __BPF__
static inline long bpf_loop(__u32 n, void *fn, void *ctx, __u64 flags)
{
	long (*step)(__u32, void *) = (long (*)(__u32, void *))fn;
	__u32 i = 0;

	while (i < n && !step(i++, ctx))
		;
	return i;
}
#endif

/* The arena and the mask that keeps offsets in it: size of the array element (a power of two) less 8. In BPF the
 * mask is read from the frozen rodata each time: carried in a variable it may be spilled in parts, and then the
 * verifier (6.1) has forgotten its value. */
struct tables {
	const __u8 *base;
#ifdef __BPF__
#define T_MASK(t) arena_mask
#else
	__u32 mask;
#define T_MASK(t) ((t)->mask)
#endif
};

FW_INLINE __u64 t_u64(const struct tables *t, __u32 off)
{
	return *(const __u64 *)(t->base + (off & T_MASK(t)));
}

FW_INLINE __u32 t_u32(const struct tables *t, __u32 off)
{
	__u64 two = *(const __u64 *)(t->base + (off & T_MASK(t)));

	return two >> (off & 4) * 8; /* little endian: the upper half is the later one */
}

/* 1 if a < b, for values below 2^63. The asm keeps clang from making a branch of it: two-way merges in loops
 * multiply the verifier's work (clang 14, kernel 6.1). */
FW_INLINE __u64 t_less(__u64 a, __u64 b)
{
	__u64 d = a - b;

#ifdef __BPF__
	asm volatile("" : "+r"(d));
#endif
	return d >> 63;
}

/* Follow ${e} down to a leaf or next entry. A path never has more than FW_TRIE_DEPTH nodes (the builder sees
 * to it); running out of steps gives an inner entry, whose value no table uses. */
FW_INLINE __u64 t_walk(const struct tables *t, __u64 e, __u64 key)
{
	for (int i = 0; i < FW_TRIE_DEPTH; i++) {
		__u32 off = (__u32)e & ~7u;

		if ((e & 3) == FW_TRIE_LEAF || (e & 3) == FW_TRIE_NEXT)
			break;
		if ((e & 3) == FW_TRIE_INDEX) {
			__u64 n = 1ULL << (e >> 40 & 31);

			off += (key >> (e >> 32 & 63) & (n - 1)) * 8;
		} else {
			const __u64 *b = (const __u64 *)(t->base + (off & T_MASK(t) & ~63u));

			off += 48 - 8 * (t_less(key, b[0]) + t_less(key, b[1]) + t_less(key, b[2]));
		}
		e = t_u64(t, off);
	}
	return e;
}

#define T_KEY(v) ((v) & ~(1ULL << 63))

/* The record of an address, given one direction's entries for it. */
FW_INLINE __u32 t_address(const struct tables *t, __u64 root4, const __u64 root6[2], const union fw_addr *a)
{
	__u64 hi, lo, e;

	if (fw_addr_is4(a))
		return FW_LEAF_VALUE(t_walk(t, root4, fw_be32(a->w[3])));
	hi = fw_be64(a->d[0]);
	e = t_walk(t, hi >> 63 ? root6[1] : root6[0], T_KEY(hi));
	if ((e & 3) == FW_TRIE_NEXT) {
		lo = fw_be64(a->d[1]);
		e = t_u64(t, ((__u32)e & ~7u) + (lo >> 63) * 8);
		e = t_walk(t, e, T_KEY(lo));
	}
	return FW_LEAF_VALUE(e);
}

#define T_DIMS 4
struct classes {
	__u32 rec[T_DIMS]; /* source, destination, service, context */
};

/* Number of trailing zeros by de Bruijn multiplication: __builtin_ctzll crashes clang 14 for BPF.
 * (Leiserson, Prokop, Randall, "Using de Bruijn Sequences to Index a 1 in a Computer Word", 1998.) */
static const __u8 t_debruijn[64] = {
	0,  1,	2,  53, 3,  7,	54, 27, 4,  38, 41, 8,	34, 55, 48, 28, 62, 5,	39, 46, 44, 42,
	22, 9,	24, 35, 59, 56, 49, 18, 29, 11, 63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21,
	23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

FW_INLINE __u32 t_ctz(__u64 v)
{
	return t_debruijn[((v & -v) * 0x022fdd63cc95386dULL) >> 58];
}

/* A search for the lowest bit that all records of ${c} share: one summary bit (64 << shift rules) a step. */
struct search {
	struct tables t;
	struct classes c;
	__u64 left;  /* summary bits not yet done */
	__u32 found; /* rule or FW_NO_RULE */
	__u8 n_super, shift;
	__u8 super;
	__u8 pad;
};

FW_INLINE __u64 search_summary(const struct search *s)
{
	__u32 at = s->super * 16;

	return t_u64(&s->t, s->c.rec[0] + at) & t_u64(&s->t, s->c.rec[1] + at) & t_u64(&s->t, s->c.rec[2] + at) &
	       t_u64(&s->t, s->c.rec[3] + at);
}

/* Offset of a record's word. The summary has its bit. (Without the branch it takes 10 ns more.) */
FW_INLINE __u32 record_word(const struct search *s, __u32 rec, __u32 word)
{
	__u32 lines = rec + sizeof(struct fw_super);

	if (s->n_super > 1)
		lines = t_u32(&s->t, rec + s->super * 16 + 8);
	else if (t_u32(&s->t, rec + 12))
		return lines; /* these words are all there are, and here */
	return t_u32(&s->t, lines + (word >> 3) * 4) + (word & 7) * 8;
}

/* 1 when done. ${s->left} is not 0. */
FW_INLINE int search_bit(struct search *s)
{
	__u32 word = t_ctz(s->left) << s->shift;
	__u32 a = record_word(s, s->c.rec[0], word), b = record_word(s, s->c.rec[1], word);
	__u32 c = record_word(s, s->c.rec[2], word), d = record_word(s, s->c.rec[3], word);
	__u64 v = 0;
	__u32 w;

	/* unrolled it would take more stack than there is */
#pragma clang loop unroll(disable)
	for (w = 0; w < 1u << FW_SHIFT_MAX; w++) {
		if (w >> s->shift)
			break;
		v = t_u64(&s->t, a + w * 8) & t_u64(&s->t, b + w * 8) & t_u64(&s->t, c + w * 8) &
		    t_u64(&s->t, d + w * 8);
		if (v)
			break;
	}
	if (v) {
		s->found = ((s->super << 6 << s->shift) + word + w) * 64 + t_ctz(v);
		return 1;
	}
	s->left &= s->left - 1;
	return 0;
}

/* What the first step left over: a line of 512 rules a step. Classes with words in their records have but one summary
 * bit, which is done, so all of these have lines. */
FW_INLINE const __u64 *record_line(const struct search *s, __u32 rec, __u32 line)
{
	__u32 lines = rec + sizeof(struct fw_super);

	if (s->n_super > 1)
		lines = t_u32(&s->t, rec + s->super * 16 + 8);
	return (const __u64 *)(s->t.base + (t_u32(&s->t, lines + line * 4) & T_MASK(&s->t) & ~63u));
}

static long search_step(__u32 i, struct search *s)
{
	const __u64 *a, *b, *c, *d;
	__u32 line;

	if (!s->left) {
		s->super++;
		if (s->super >= s->n_super)
			return 1;
		s->left = search_summary(s);
		return 0;
	}
	line = (t_ctz(s->left) << s->shift) >> 3;
	a = record_line(s, s->c.rec[0], line);
	b = record_line(s, s->c.rec[1], line);
	c = record_line(s, s->c.rec[2], line);
	d = record_line(s, s->c.rec[3], line);
#pragma clang loop unroll(full)
	for (__u32 w = 0; w < 8; w++) {
		__u64 v = a[w] & b[w] & c[w] & d[w];

		if (v) {
			s->found = ((s->super << 12) << s->shift) + line * 512 + w * 64 + t_ctz(v);
			return 1;
		}
	}
	/* the summary bits of the whole line are done: 8 >> shift of them */
	s->left &= ~(((1ULL << (8 >> s->shift)) - 1) << (line << (3 - s->shift)));
	return 0;
}

/* t_first(s): the first rule, in priority order, of all the classes in ${s->c}; FW_NO_RULE if there is none. The caller
 * sets t, c, n_super and shift. One step in place is enough for nearly every packet; the rest goes through bpf_loop,
 * which is verified once and not once per step, but costs 10 ns and 10 more for each step. */
FW_INLINE __u32 t_first(struct search *s)
{
	s->found = FW_NO_RULE;
	s->super = 0;
	s->left = search_summary(s);
	if (s->left && search_bit(s))
		return s->found;
	if (s->left || s->n_super > 1)
		bpf_loop(FW_SUPER_MAX * 65, search_step, s, 0);
	return s->found;
}

#endif
