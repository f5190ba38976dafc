/* SPDX-License-Identifier: GPL-2.0-only */
/* The growing image, and the pool that stores equal pieces once. */
#include <stdlib.h>
#include <string.h>

#include "tables_build.h"

void *xalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		die(EXIT_SYSTEM, "out of memory");
	return p;
}

void *xgrow(void *p, size_t *room, size_t need, size_t size)
{
	if (need <= *room)
		return p;
	*room = *room * 2 > need ? *room * 2 : need;
	p = realloc(p, *room * size);
	if (!p)
		die(EXIT_SYSTEM, "out of memory");
	return p;
}

/* Offsets above FW_ARENA_MAX can't be stored. The lowering goes on with offset 0 and the size says that it
 * failed: checking every call would cost more than the one check at the end. */
uint32_t image_add(struct image *im, const void *data, size_t len, size_t align)
{
	size_t off = (im->size + align - 1) & ~(align - 1);

	if (off + len > FW_ARENA_MAX) {
		im->size = FW_ARENA_MAX + 1UL;
		return 0;
	}
	im->data = xgrow(im->data, &im->room, off + len, 1);
	memset(im->data + im->size, 0, off - im->size);
	if (data)
		memcpy(im->data + off, data, len);
	else
		memset(im->data + off, 0, len);
	im->size = off + len;
	return off;
}

void image_free(struct image *im)
{
	free(im->data);
	memset(im, 0, sizeof(*im));
}

size_t image_class(size_t size)
{
	size_t class = FW_ARENA_MIN;

	while (class < size)
		class *= 2;
	return class;
}

/* Multiply and fold: the pieces are multiples of 4 bytes, mostly 64 or a few hundred. Only distribution
 * matters, since equal hashes are compared. */
uint64_t hash_bytes(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = len * 0x9e3779b97f4a7c15ULL, w;

	for (; len >= 8; p += 8, len -= 8) {
		__uint128_t m;

		memcpy(&w, p, 8);
		m = (__uint128_t)(h ^ w) * 0xff51afd7ed558ccdULL;
		h = (uint64_t)m ^ (uint64_t)(m >> 64);
	}
	w = 0;
	memcpy(&w, p, len);
	h = (h ^ w) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 32;
}

static void pool_rehash(struct pool *pl)
{
	struct pool_slot *old = pl->slots;
	size_t room = pl->room;

	pl->room = room ? room * 2 : 1024;
	pl->slots = xalloc(pl->room, sizeof(*pl->slots));
	for (size_t i = 0; i < room; i++) {
		size_t at = old[i].hash & (pl->room - 1);

		if (!old[i].len)
			continue;
		while (pl->slots[at].len)
			at = (at + 1) & (pl->room - 1);
		pl->slots[at] = old[i];
	}
	free(old);
}

uint32_t pool_add(struct pool *pl, const void *data, size_t len, size_t align)
{
	uint64_t h = hash_bytes(data, len);
	struct pool_slot *s;

	if (pl->n * 2 >= pl->room)
		pool_rehash(pl);
	for (size_t at = h & (pl->room - 1);; at = (at + 1) & (pl->room - 1)) {
		s = &pl->slots[at];
		if (!s->len)
			break;
		if (s->hash == h && s->len == len && !(s->off & (align - 1)) &&
		    s->off + len <= pl->im->size && !memcmp(pl->im->data + s->off, data, len))
			return s->off;
	}
	*s = (struct pool_slot){ .hash = h, .len = len, .off = image_add(pl->im, data, len, align) };
	pl->n++;
	return s->off;
}

void pool_free(struct pool *pl)
{
	free(pl->slots);
	memset(pl, 0, sizeof(*pl));
}
