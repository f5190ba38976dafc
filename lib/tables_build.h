/* SPDX-License-Identifier: GPL-2.0-only */
/* Parts of the lowering, for lib/tables_*.c only. */
#ifndef FW_TABLES_BUILD_H
#define FW_TABLES_BUILD_H

#include <stdbool.h>

#include "tables.h"

/* ---- memory ---- */
void *xalloc(size_t n, size_t size);		    /* zeroed; die()s */
void *xgrow(void *p, size_t *room, size_t need, size_t size); /* doubles */

/* ---- image and pool (tables_pool.c) ---- */

/* Content already in the image, by hash, so that equal pieces are stored once. */
struct pool {
	struct image *im;
	struct pool_slot {
		uint32_t off, len;
		uint64_t hash;
	} *slots;
	size_t n, room;
};
uint32_t image_add(struct image *im, const void *data, size_t len, size_t align); /* data NULL: zeros */
uint32_t pool_add(struct pool *pl, const void *data, size_t len, size_t align);
void pool_free(struct pool *pl);
uint64_t hash_bytes(const void *data, size_t len);

/* ---- class of rules under construction (tables_class.c) ---- */

/* A set of the rules of one direction, with the pieces of its record kept up to date: turning one rule on or
 * off costs one line, not the whole record. */
struct class {
	struct pool *pool;
	uint32_t n_rules, n_words, shift, n_super;
	uint64_t *bits;
	uint32_t *lines;    /* offset of each line, valid where not dirty */
	bool *dirty;	    /* per line */
	uint32_t *dirty_list;
	uint32_t n_dirty, n_lines;
	struct fw_super *supers;
	uint8_t *compact; /* a record being put together */
	uint64_t hash[2];   /* Zobrist: the XOR of each member's random number */
};
void class_init(struct class *c, struct pool *pool, uint32_t n_rules);
void class_flip(struct class *c, uint32_t rule);
void class_set(struct class *c, uint32_t rule, bool on);
bool class_has(const struct class *c, uint32_t rule);
uint32_t class_record(struct class *c); /* offset of the record */
void class_free(struct class *c);

/* Sets already seen, by their Zobrist hash (128 bits: equal hash is taken for equal set). */
struct seen {
	struct seen_slot {
		uint64_t hash[2];
		uint32_t value, used;
	} *slots;
	size_t n, room;
};
bool seen_get(struct seen *s, const uint64_t hash[2], uint32_t **value); /* false: new, *value to be set */
void seen_free(struct seen *s);
void zobrist(uint64_t i, uint64_t hash[2]); /* XOR number ${i}'s random 128 bits into ${hash} */

/* ---- tries (tables_trie.c) ---- */

/* From ${key} on, up to the next boundary, the entry is ${entry}. */
struct boundary {
	uint64_t key;
	uint64_t entry;
};
/* The trie over ${b}, ascending keys up to ${max}, which is below 2^63; the first one's entry holds from 0 on. */
uint64_t trie_build(struct image *im, const struct boundary *b, size_t n, uint64_t max);
#define TRIE_MAX63 ((1ULL << 63) - 1)

/* ---- dimensions ---- */
struct lower {
	const struct policy *p;
	const struct resolved *r;
	struct image *im;
	struct pool pool;
	const char *error; /* the first limit exceeded */
	/* the direction being lowered */
	const struct rule **rules; /* those that hold in it */
	uint32_t *index;	   /* their index in the policy */
	uint32_t n_rules;
	struct fw_dir *dir;
};
void lower_addresses(struct lower *l);
void lower_services(struct lower *l);

/* Columns and rows of the context table. */
struct context {
	uint32_t n_rows, n_users, n_cgroups; /* without the "may" ones */
	uint32_t *row_iface;   /* an interface index of resolved, for each row but 0 */
};
void lower_ifaces(struct lower *l, struct context *c, struct fw_arena *head);
void lower_context(struct lower *l, const struct context *c);
void context_free(struct context *c);

/* ---- sorting (radix.c) ---- */
void radix_u64(uint64_t *a, size_t n); /* ascending */

struct key128 {
	uint64_t hi, lo;
	uint64_t tag; /* carried along */
};
void radix_key128(struct key128 *a, size_t n); /* ascending by hi, then lo; stable */

#endif
