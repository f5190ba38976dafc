/* SPDX-License-Identifier: GPL-2.0-only */
/* Least significant digit radix sort, bytes as digits; digits that are equal everywhere are skipped (IPv6 sets
 * are mostly zeros). 21 ms for a million keys where qsort takes 250. */
#include <stdlib.h>
#include <string.h>

#include "tables_build.h"

/* Sort by one byte of each element: ${shift} bits up in the u64 at ${word}. */
#define RADIX_PASS(type, a, b, n, word, shift)                                                             \
	do {                                                                                               \
		size_t count[257] = { 0 };                                                                 \
		for (size_t i_ = 0; i_ < (n); i_++)                                                        \
			count[((a)[i_].word >> (shift) & 255) + 1]++;                                      \
		for (int d_ = 0; d_ < 256; d_++)                                                           \
			count[d_ + 1] += count[d_];                                                        \
		for (size_t i_ = 0; i_ < (n); i_++)                                                        \
			(b)[count[(a)[i_].word >> (shift) & 255]++] = (a)[i_];                             \
	} while (0)

struct key64 {
	uint64_t v;
};

void radix_u64(uint64_t *keys, size_t n)
{
	struct key64 *a = (struct key64 *)keys, *b = xalloc(n, sizeof(*b)), *t, *first = a, *spare = b;
	uint64_t same_and = ~0ULL, same_or = 0;

	for (size_t i = 0; i < n; i++) {
		same_and &= a[i].v;
		same_or |= a[i].v;
	}
	for (int shift = 0; shift < 64; shift += 8) {
		if (!((same_and ^ same_or) >> shift & 255) || !n)
			continue;
		RADIX_PASS(struct key64, a, b, n, v, shift);
		t = a, a = b, b = t;
	}
	if (a != first)
		memcpy(first, a, n * sizeof(*a));
	free(spare);
}

void radix_key128(struct key128 *keys, size_t n)
{
	struct key128 *a = keys, *b = xalloc(n, sizeof(*b)), *t, *spare = b;
	uint64_t and_hi = ~0ULL, or_hi = 0, and_lo = ~0ULL, or_lo = 0;

	for (size_t i = 0; i < n; i++) {
		and_hi &= a[i].hi, or_hi |= a[i].hi;
		and_lo &= a[i].lo, or_lo |= a[i].lo;
	}
	for (int shift = 0; shift < 64 && n; shift += 8) {
		if (!((and_lo ^ or_lo) >> shift & 255))
			continue;
		RADIX_PASS(struct key128, a, b, n, lo, shift);
		t = a, a = b, b = t;
	}
	for (int shift = 0; shift < 64 && n; shift += 8) {
		if (!((and_hi ^ or_hi) >> shift & 255))
			continue;
		RADIX_PASS(struct key128, a, b, n, hi, shift);
		t = a, a = b, b = t;
	}
	if (a != keys)
		memcpy(keys, a, n * sizeof(*a));
	free(spare);
}
