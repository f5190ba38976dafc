/* SPDX-License-Identifier: GPL-2.0-only */
/* The tree that both inputs become: YAML (yaml_tree.c) and the IR's JSON (ir_tree.c). One reader
 * (policy_read.c) turns it into a policy, so that the two languages can't drift apart.
 * A node and all its strings live in the arena of its tree and are freed with it. */
#ifndef FW_NODE_H
#define FW_NODE_H

#include <stddef.h>
#include <stdint.h>

#include "diag.h"

enum node_kind {
	NODE_NULL,   /* YAML: empty, ~, null (plain); JSON: null */
	NODE_SCALAR, /* YAML scalar; JSON string, number, true, false */
	NODE_LIST,
	NODE_MAP,
};

enum node_style {
	STYLE_PLAIN,  /* YAML, unquoted: may be read as number, boolean or text */
	STYLE_QUOTED, /* text and nothing else: YAML quoted or block scalar, JSON string */
	STYLE_NUMBER, /* JSON integer (text holds its decimal form) */
	STYLE_BOOL,   /* JSON true or false */
};

struct node {
	enum node_kind kind;
	enum node_style style;
	struct where where; /* of the value; a map member's key place is in members[i].where */
	const char *text;   /* SCALAR: UTF-8 without NUL bytes, NUL-terminated */
	size_t count;	    /* LIST, MAP: number of members */
	union {
		struct node **items;	/* LIST */
		struct member *members; /* MAP, in input order; keys are unique */
	};
};

struct member {
	const char *key;
	struct where where; /* of the key */
	struct node *value;
};

/* Memory that is freed as a whole. */
struct arena;
struct arena *arena_new(void);			    /* never NULL: die()s without memory */
void *arena_alloc(struct arena *a, size_t size);    /* zeroed, aligned to 8; never NULL */
char *arena_strndup(struct arena *a, const char *s, size_t len);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* arena_resize(a, p, size): like realloc(3) for a block of its own that may grow to hundreds of MB; ${p} is NULL
 * or came from here. New bytes are not zeroed. Freed with the arena; never NULL. */
void *arena_resize(struct arena *a, void *p, size_t size);
void arena_free(struct arena *a);		    /* NULL is fine */

/* node_get(map, key): the value of ${key}, or NULL when it is not there. */
struct node *node_get(const struct node *map, const char *key);

/* node_kind_name(n): "a list", "a mapping", "null", "text" ... for messages. */
const char *node_kind_name(const struct node *n);

#endif
