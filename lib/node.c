/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"

/* Small for small policies, then fewer and bigger calls of malloc. */
#define CHUNK_MIN (64u << 10)
#define CHUNK_MAX (1u << 20)

struct chunk {
	struct chunk *next;
	size_t used, size;
	char data[] __attribute__((aligned(8)));
};

/* A block that may be resized: linked both ways because realloc can move it. */
struct block {
	struct block *next, **link;
	char data[] __attribute__((aligned(16)));
};

struct arena {
	struct chunk *chunks;
	struct block *blocks;
	size_t chunk_size; /* of the next chunk */
};

static void *must(void *p)
{
	if (!p)
		die(EXIT_SYSTEM, "out of memory");
	return p;
}

struct arena *arena_new(void)
{
	struct arena *a = must(calloc(1, sizeof(*a)));

	a->chunk_size = CHUNK_MIN;
	return a;
}

/* Not zeroed, aligned as ${align} says (a power of two, at most 8). */
static void *arena_take(struct arena *a, size_t size, size_t align)
{
	struct chunk *c = a->chunks;
	size_t at = c ? (c->used + align - 1) & ~(align - 1) : 0;

	if (!c || at + size > c->size) {
		size_t want = size > a->chunk_size ? size : a->chunk_size;

		if (a->chunk_size < CHUNK_MAX)
			a->chunk_size *= 2;
		c = must(malloc(sizeof(*c) + want));
		c->size = want;
		c->next = a->chunks;
		a->chunks = c;
		at = 0;
	}
	c->used = at + size;
	return c->data + at;
}

void *arena_alloc(struct arena *a, size_t size)
{
	return memset(arena_take(a, size, 8), 0, size);
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
	char *copy = arena_take(a, len + 1, 1);

	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	char *text, *copy;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0)
		die(EXIT_SYSTEM, "out of memory");
	copy = arena_strndup(a, text, len);
	free(text);
	return copy;
}

void *arena_resize(struct arena *a, void *p, size_t size)
{
	struct block *old = p ? (struct block *)((char *)p - offsetof(struct block, data)) : NULL;
	struct block *b = must(realloc(old, sizeof(*b) + size));

	if (!old) {
		b->next = a->blocks;
		b->link = &a->blocks;
	}
	*b->link = b;
	if (b->next)
		b->next->link = &b->next;
	return b->data;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	for (struct chunk *c = a->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	for (struct block *b = a->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	free(a);
}

struct node *node_get(const struct node *map, const char *key)
{
	if (map->kind != NODE_MAP)
		return NULL;
	for (size_t i = 0; i < map->count; i++)
		if (!strcmp(map->members[i].key, key))
			return map->members[i].value;
	return NULL;
}

const char *node_kind_name(const struct node *n)
{
	switch (n->kind) {
	case NODE_NULL:
		return "null";
	case NODE_LIST:
		return "a list";
	case NODE_MAP:
		return "a mapping";
	case NODE_SCALAR:
		break;
	}
	switch (n->style) {
	case STYLE_NUMBER:
		return "a number";
	case STYLE_BOOL:
		return "a boolean";
	case STYLE_PLAIN:
	case STYLE_QUOTED:
		break;
	}
	return "text";
}
