/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "yaml_text.h"
#include "yaml_tree.h"

/* A list or mapping that is still open. */
struct frame {
	struct node *node;
	size_t base;	   /* first of its members on the stack */
	size_t nodes;	   /* in it so far, aliases expanded, itself included */
	size_t anchor;	   /* index, or NO_ANCHOR */
	struct member key; /* key.key is NULL while none waits for its value */
};
#define NO_ANCHOR SIZE_MAX

struct anchor {
	struct node *node; /* NULL while the collection is open: an alias then names its own ancestor */
	size_t nodes;
};

struct builder {
	struct arena *a;
	struct diag *d;
	const char *name;
	struct node *root;
	struct frame frames[YAML_MAX_DEPTH];
	size_t depth;
	struct member *stack; /* members of all open frames */
	size_t used, room;
	struct names anchor_names;
	struct anchor *anchors;
	size_t n_anchors, anchors_room;
	size_t nodes;	/* in all */
	size_t aliased; /* of these, behind aliases */
	bool ended, stop;
};

static void stop(struct builder *b, const struct where *w, const char *text)
{
	diag_error(b->d, w, NULL, "%s", text);
	b->stop = true;
}

static void *grown(void *p, size_t n, size_t *room, size_t size)
{
	if (n < *room)
		return p;
	*room = *room ? *room * 2 : 256;
	p = realloc(p, *room * size);
	if (!p)
		die(EXIT_SYSTEM, "out of memory");
	return p;
}

/* Anchors are known before their value is complete, so that an alias to an ancestor is seen as such. */
static size_t anchor_new(struct builder *b, const yaml_char_t *text, const struct where *w)
{
	char *name;
	struct name *old;

	if (!text)
		return NO_ANCHOR;
	name = arena_strndup(b->a, (const char *)text, strlen((const char *)text));
	b->anchors = grown(b->anchors, b->n_anchors, &b->anchors_room, sizeof(*b->anchors));
	b->anchors[b->n_anchors] = (struct anchor){0};
	old = names_add(&b->anchor_names, name, w, b->n_anchors);
	if (old)
		old->value = b->n_anchors; /* YAML lets a later anchor replace an earlier one */
	return b->n_anchors++;
}

/* The finished value ${n} of ${nodes} nodes goes where it belongs. */
static void place(struct builder *b, struct node *n, size_t nodes, size_t anchor)
{
	struct frame *top = b->depth ? &b->frames[b->depth - 1] : NULL;

	if (anchor != NO_ANCHOR)
		b->anchors[anchor] = (struct anchor){.node = n, .nodes = nodes};
	if (!top) {
		b->root = n;
		return;
	}
	top->nodes += nodes;
	b->stack = grown(b->stack, b->used, &b->room, sizeof(*b->stack));
	top->key.value = n;
	b->stack[b->used++] = top->key;
	top->key.key = NULL;
}

/* True when the next scalar is a key of the mapping that is open. */
static bool wants_key(const struct builder *b)
{
	return b->depth && b->frames[b->depth - 1].node->kind == NODE_MAP && !b->frames[b->depth - 1].key.key;
}

/* Counted before anything is kept: a small file of aliases can stand for billions of values. */
static bool count(struct builder *b, const struct where *w, size_t nodes, bool aliased)
{
	b->nodes += nodes;
	b->aliased += aliased ? nodes : 0;
	if (b->aliased > YAML_MAX_ALIASED)
		stop(b, w, "the aliases stand for more than a million values: put big lists into set files");
	else if (b->nodes > YAML_MAX_NODES)
		stop(b, w, "more than 8 million values: put big lists into set files");
	return !b->stop;
}

static bool is_null(const char *text)
{
	return !*text || !strcmp(text, "~") || !strcmp(text, "null") || !strcmp(text, "Null") ||
	       !strcmp(text, "NULL");
}

/* Tags would be a second type system beside the policy's own. Those that say what is so anyway pass. */
static bool tag_is_fine(struct builder *b, const yaml_char_t *tag, const char *kind, const struct where *w)
{
	const char *t = (const char *)tag;

	if (!t || !strcmp(t, "!") || !strcmp(t, kind))
		return true;
	if (t[0] == '!')
		diag_error(b->d, w, NULL, "\"!\" begins a tag in YAML: quote the text, like \"%s\"", t);
	else
		diag_error(b->d, w, NULL, "the tag <%s> is not supported: leave it out", t);
	return false;
}

/* Keys don't become nodes: there are as many as values. */
static void scalar(struct builder *b, const yaml_event_t *e, const struct where *w)
{
	const char *text = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length, anchor = anchor_new(b, e->data.scalar.anchor, w);
	const yaml_char_t *tag = e->data.scalar.tag;
	bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, key = wants_key(b);
	struct node *n;

	if (strlen(text) != len) {
		stop(b, w, "a NUL character in text");
		return;
	}
	if (!count(b, w, 1, false))
		return;
	if (!tag_is_fine(b, tag, YAML_STR_TAG, w)) {
		/* as if it had been quoted or left out, so that there are no follow-up errors */
		if (tag[0] == '!' && !len) {
			text = (const char *)tag;
			len = strlen(text);
		}
	} else if (tag) {
		plain = false;
	}
	if (key && plain && !strcmp(text, "<<")) {
		stop(b, w, "merge keys (<<) are not supported: write the keys out");
		return;
	}
	if (key && anchor == NO_ANCHOR) {
		b->frames[b->depth - 1].key = (struct member){arena_strndup(b->a, text, len), *w, NULL};
		b->frames[b->depth - 1].nodes++;
		return;
	}
	n = arena_alloc(b->a, sizeof(*n));
	n->kind = plain && is_null(text) ? NODE_NULL : NODE_SCALAR;
	n->style = plain ? STYLE_PLAIN : STYLE_QUOTED;
	n->where = *w;
	n->text = arena_strndup(b->a, text, len);
	if (key) {
		b->frames[b->depth - 1].key = (struct member){n->text, *w, NULL};
		b->anchors[anchor] = (struct anchor){.node = n, .nodes = 1};
	} else {
		place(b, n, 1, anchor);
	}
}

/* Sharing the node is safe: nobody changes a tree once it is read. */
static void alias(struct builder *b, const char *text, const struct where *w)
{
	const struct name *known = names_find(&b->anchor_names, text);
	const struct anchor *to = known ? &b->anchors[known->value] : NULL;

	if (wants_key(b)) {
		stop(b, w, "a key must be text, not an alias");
	} else if (!known) {
		diag_error(b->d, w, NULL,
			   "no anchor is named \"%s\": to write text that begins with *, quote it", text);
		b->stop = true;
	} else if (!to->node) {
		stop(b, w, "an alias inside of what it names: that would never end");
	} else if (count(b, w, to->nodes, true)) {
		place(b, to->node, to->nodes, NO_ANCHOR);
	}
}

/* libyaml's own time grows with the square of the depth, so the limit has to stop it while it parses. */
static void begin(struct builder *b, enum node_kind kind, const yaml_char_t *anchor, const yaml_char_t *tag,
		  const struct where *w)
{
	struct frame *f = &b->frames[b->depth];

	if (wants_key(b)) {
		stop(b, w,
		     kind == NODE_MAP ? "a key must be text, not a mapping: quote text that begins with {"
				      : "a key must be text, not a list: quote text that begins with [");
		return;
	}
	if (b->depth == YAML_MAX_DEPTH) {
		diag_error(b->d, w, NULL, "nested more than %d levels", YAML_MAX_DEPTH);
		b->stop = true;
		return;
	}
	if (!count(b, w, 1, false))
		return;
	tag_is_fine(b, tag, kind == NODE_MAP ? YAML_MAP_TAG : YAML_SEQ_TAG, w);
	*f = (struct frame){.base = b->used, .nodes = 1, .anchor = anchor_new(b, anchor, w)};
	f->node = arena_alloc(b->a, sizeof(*f->node));
	f->node->kind = kind;
	f->node->where = *w;
	b->depth++;
}

/* Later duplicates are reported and dropped, so that the reader goes on with unique keys. */
static size_t drop_duplicates(struct builder *b, struct member *m, size_t n)
{
	struct names seen = {0};
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		const struct where *first = NULL;

		if (n <= 24) { /* the usual mapping: faster than a table */
			for (size_t j = 0; j < kept && !first; j++)
				first = strcmp(m[j].key, m[i].key) ? NULL : &m[j].where;
		} else {
			const struct name *known = names_add(&seen, m[i].key, &m[i].where, 0);

			first = known ? &known->where : NULL;
		}
		if (first)
			diag_error(b->d, &m[i].where, NULL,
				   "the key \"%s\" is here twice: in line %u and in line %u", m[i].key,
				   first->line, m[i].where.line);
		else
			m[kept++] = m[i];
	}
	names_free(&seen);
	return kept;
}

static void end(struct builder *b)
{
	struct frame *f = &b->frames[--b->depth];
	struct member *m = b->stack + f->base;
	struct node *n = f->node;

	n->count = b->used - f->base;
	if (n->kind == NODE_MAP) {
		n->count = drop_duplicates(b, m, n->count);
		n->members = arena_alloc(b->a, n->count * sizeof(*m));
		if (n->count)
			memcpy(n->members, m, n->count * sizeof(*m));
	} else {
		n->items = arena_alloc(b->a, n->count * sizeof(*n->items));
		for (size_t i = 0; i < n->count; i++)
			n->items[i] = m[i].value;
	}
	b->used = f->base;
	place(b, n, f->nodes, f->anchor);
}

static void take(struct builder *b, const yaml_event_t *e)
{
	struct where w = yaml_place(b->name, &e->start_mark);

	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (b->root)
			stop(b, &w, "a second document: a policy is one document");
		break;
	case YAML_SCALAR_EVENT:
		scalar(b, e, &w);
		break;
	case YAML_ALIAS_EVENT:
		alias(b, (const char *)e->data.alias.anchor, &w);
		break;
	case YAML_SEQUENCE_START_EVENT:
		begin(b, NODE_LIST, e->data.sequence_start.anchor, e->data.sequence_start.tag, &w);
		break;
	case YAML_MAPPING_START_EVENT:
		begin(b, NODE_MAP, e->data.mapping_start.anchor, e->data.mapping_start.tag, &w);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		end(b);
		break;
	case YAML_STREAM_END_EVENT:
		b->ended = true;
		break;
	default:
		break;
	}
}

struct node *yaml_read(struct arena *a, struct diag *d, FILE *f, const char *name)
{
	struct builder b = {.a = a, .d = d, .name = name};
	yaml_parser_t parser;
	size_t len;
	char *text = yaml_text(d, f, name, &len);

	if (!text)
		return NULL;
	if (!yaml_parser_initialize(&parser))
		die(EXIT_SYSTEM, "out of memory");
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING); /* or it would guess from the bytes */
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	while (!b.ended && !b.stop) {
		yaml_event_t e;

		if (!yaml_parser_parse(&parser, &e)) {
			yaml_complain(d, name, &parser, text, len);
			b.stop = true;
			break;
		}
		take(&b, &e);
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&parser);
	names_free(&b.anchor_names);
	free(b.anchors);
	free(b.stack);
	free(text);
	if (b.stop)
		return NULL;
	if (!b.root) {
		b.root = arena_alloc(a, sizeof(*b.root));
		b.root->where = (struct where){.file = name, .line = 1, .col = 1};
	}
	return b.root;
}
