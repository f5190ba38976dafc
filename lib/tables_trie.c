/* SPDX-License-Identifier: GPL-2.0-only */
/* Level-compressed interval tries: index nodes where boundaries are spread evenly, interval nodes (a B-tree with
 * three keys in one cache line) where they are few or clustered. After level compression of Nilsson and
 * Karlsson, "IP-Address Lookup Using LC-Tries", IEEE JSAC 1999, over intervals instead of prefixes. */
#include <string.h>

#include "tables_build.h"

#define NO_BOUND ((1ULL << 63) - 1)
#define INDEX_BITS_MAX 20

/* The part of a trie for the keys ${lo}..${hi}. ${b}[0] is the boundary at or before ${lo}, the others are
 * above ${lo} and at most ${hi}. */
struct part {
	const struct boundary *b;
	size_t n;
	uint64_t lo, hi;
};

static uint64_t build(struct image *im, struct part p);

/* Up to three boundaries split the part in up to four. ${at}: their indexes. */
static uint64_t build_interval(struct image *im, struct part p, const size_t *at, unsigned int n)
{
	struct fw_interval node = { .bound = { NO_BOUND, NO_BOUND, NO_BOUND } };
	uint32_t off = image_add(im, NULL, sizeof(node), 64);

	for (unsigned int i = 0; i <= n; i++) {
		size_t from = i ? at[i - 1] : 0, to = i < n ? at[i] : p.n;
		struct part sub = {
			.b = p.b + from,
			.n = to - from,
			.lo = i ? p.b[from].key : p.lo,
			.hi = i < n ? p.b[to].key - 1 : p.hi,
		};

		node.next[i] = build(im, sub);
		if (i < n)
			node.bound[i] = p.b[to].key;
	}
	for (unsigned int i = n + 1; i < 4; i++)
		node.next[i] = node.next[n];
	if (im->size <= FW_ARENA_MAX)
		memcpy(im->data + off, &node, sizeof(node));
	return off | FW_TRIE_INTERVAL;
}

/* Bits below the common prefix of two keys. */
static unsigned int free_bits(uint64_t a, uint64_t b)
{
	return a == b ? 0 : 64 - __builtin_clzll(a ^ b);
}

/* Number of boundaries strictly inside the fullest cell of an index. */
static size_t fullest_cell(struct part p, unsigned int shift)
{
	size_t most = 0, run = 0;
	uint64_t cell = ~0ULL;

	for (size_t i = 1; i < p.n; i++) {
		if (p.b[i].key >> shift != cell) {
			cell = p.b[i].key >> shift;
			run = 0;
		}
		if (p.b[i].key & ((1ULL << shift) - 1))
			run++;
		if (run > most)
			most = run;
	}
	return most;
}

static uint64_t build_index(struct image *im, struct part p, unsigned int width, unsigned int bits)
{
	unsigned int shift = width - bits;
	uint64_t base = p.hi >> width << width, cells = 1ULL << bits;
	uint32_t off = image_add(im, NULL, cells * 8, 64);
	size_t i = 0;

	for (uint64_t c = 0; c < cells; c++) {
		struct part sub = { .lo = base + (c << shift), .hi = base + (c << shift) + (1ULL << shift) - 1 };
		uint64_t e;

		/* cells outside the part are never looked up */
		if (sub.hi < p.lo || sub.lo > p.hi)
			continue;
		if (sub.lo < p.lo)
			sub.lo = p.lo;
		if (sub.hi > p.hi)
			sub.hi = p.hi;
		while (i + 1 < p.n && p.b[i + 1].key <= sub.lo)
			i++;
		sub.b = p.b + i;
		while (i + 1 < p.n && p.b[i + 1].key <= sub.hi)
			i++;
		sub.n = p.b + i + 1 - sub.b;
		e = build(im, sub);
		if (im->size <= FW_ARENA_MAX)
			memcpy(im->data + off + c * 8, &e, 8);
	}
	return off | FW_TRIE_INDEX | (uint64_t)shift << 32 | (uint64_t)bits << 40;
}

/* Every node leaves at most a quarter of the boundaries, or three, to each child: that bounds the depth by
 * log4(n) + 1, which is FW_TRIE_DEPTH for 4 million. */
static uint64_t build(struct image *im, struct part p)
{
	size_t inner = p.n - 1, at[3];
	unsigned int width = free_bits(p.lo, p.hi), bits = 1;

	if (!inner)
		return p.b[0].entry;
	if (inner <= 3) {
		for (size_t i = 0; i < inner; i++)
			at[i] = i + 1;
		return build_interval(im, p, at, inner);
	}
	while (bits < width && bits < INDEX_BITS_MAX && 1ULL << bits < inner)
		bits++;
	if (fullest_cell(p, width - bits) <= (inner / 4 > 3 ? inner / 4 : 3))
		return build_index(im, p, width, bits);
	for (size_t i = 0; i < 3; i++)
		at[i] = p.n * (i + 1) / 4;
	return build_interval(im, p, at, 3);
}

uint64_t trie_build(struct image *im, const struct boundary *b, size_t n, uint64_t max)
{
	struct part p = { .b = b, .n = n, .lo = 0, .hi = max };

	return build(im, p);
}
