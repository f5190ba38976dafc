/* SPDX-License-Identifier: GPL-2.0-only */
/* JSON text to nodes. Every node's place is its JSON path; a path ends with the key, so the two share bytes.
 */
#include "ir.h"

#include <stdlib.h>
#include <string.h>

#include "ir_json.h"
#include "names.h"

/* Longer paths are cut to their beginning: otherwise long keys around many small values would take memory out
 * of all proportion to the input. Those of an IR without errors are shorter. */
#define PATH_LEN_MAX 200

struct tree {
	struct json_in in;
	struct arena *a;
	struct member *stack; /* members (of lists: values only) of all that is still open */
	size_t n, room;
	struct set_input *sets; /* in the arena */
	size_t n_sets, sets_room;
};

/* Which mapping a member belongs to: "sets" of the root and the lists in it are read apart. */
enum place { AT_ROOT, IN_SETS, ELSEWHERE };

static struct node *value_read(struct tree *t, const char *path, enum place place, int depth);

static void tree_error(struct tree *t, const char *path, const char *text)
{
	struct where w = {.file = t->in.name, .path = path};

	diag_error(t->in.d, &w, NULL, "%s", text);
}

/* ---- paths ---- */

static bool is_identifier(const char *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!((s[i] | 32) >= 'a' && (s[i] | 32) <= 'z') && s[i] != '_' &&
		    !(i && s[i] >= '0' && s[i] <= '9'))
			return false;
	return len > 0;
}

#define PATH_ROOM (PATH_LEN_MAX + 32)

/* The member ${key} of ${parent}: its path and a copy of the key go into ${m}. */
static void name_member(struct tree *t, const char *parent, const struct json_span *key, struct member *m)
{
	size_t len = strlen(parent);
	char path[PATH_ROOM];

	m->where = (struct where){.file = t->in.name, .path = parent};
	if (len + key->len <= PATH_LEN_MAX && is_identifier(key->s, key->len)) {
		memcpy(path, parent, len);
		path[len] = '.';
		memcpy(path + len + 1, key->s, key->len);
		m->where.path = arena_strndup(t->a, path, len + 1 + key->len);
		m->key = m->where.path + len + 1;
		return;
	}
	m->key = arena_strndup(t->a, key->s, key->len);
	if (len + key->len <= PATH_LEN_MAX)
		m->where.path = arena_printf(t->a, "%s[\"%s\"]", parent, m->key);
}

/* "PARENT[I]" to ${buf}; its length. By hand, since it is made for every member of every list. */
static size_t item_path(char buf[PATH_ROOM], const char *parent, size_t i)
{
	size_t len = strlen(parent), n = 1, v;

	memcpy(buf, parent, len + 1);
	if (len > PATH_LEN_MAX)
		return len;
	for (v = i; v > 9; v /= 10)
		n++;
	buf[len++] = '[';
	len += n;
	memcpy(buf + len, "]", 2);
	for (v = len - 1; n; n--, i /= 10)
		buf[v--] = (char)('0' + i % 10);
	return len + 1;
}

/* ---- containers ---- */

static struct member *push(struct tree *t)
{
	if (t->n == t->room) {
		t->room = t->room ? 2 * t->room : 256;
		t->stack = realloc(t->stack, t->room * sizeof(*t->stack));
		if (!t->stack)
			die(EXIT_SYSTEM, "out of memory");
	}
	t->stack[t->n] = (struct member){0};
	return &t->stack[t->n++];
}

/* Report members whose key came before, and take their values away. */
static void drop_duplicates(struct tree *t, struct member *m, size_t n)
{
	struct names seen = {0};
	size_t i, j;
	bool twice;

	for (i = 0; i < n; i++) {
		twice = false;
		if (n <= 24) /* the usual mapping: faster than a table */
			for (j = 0; j < i && !twice; j++)
				twice = m[i].key[0] == m[j].key[0] && !strcmp(m[i].key, m[j].key);
		else
			twice = names_add(&seen, m[i].key, &m[i].where, 0);
		if (twice) {
			diag_error(t->in.d, &m[i].where, NULL, "the key \"%s\" is here twice", m[i].key);
			m[i].value = NULL;
		}
	}
	names_free(&seen);
}

/* Move the members from ${base} on from the stack into the new node. Those without value were read apart or
 * were duplicates. */
static struct node *map_close(struct tree *t, struct node *map, size_t base, enum place place)
{
	struct member *m = t->stack + base;
	size_t n = t->n - base, i;

	if (place != IN_SETS) /* policy_read() looks for sets of the same name itself */
		drop_duplicates(t, m, n);
	map->members = arena_alloc(t->a, n * sizeof(*m));
	for (i = 0; i < n; i++)
		if (m[i].value)
			map->members[map->count++] = m[i];
	t->n = base;
	return map;
}

/* A list among the sets: its members go from the text into the set. */
static bool set_read(struct tree *t, const char *name, const struct where *where)
{
	const struct where set = *where; /* reading a value may move what ${where} points into */
	struct set_input *s;
	char path[PATH_ROOM];
	struct where w = {.file = t->in.name, .path = path};
	struct json_span text;
	const char *wrong;
	struct node *n;
	size_t i = 0;
	bool masked;

	if (t->n_sets == t->sets_room) {
		t->sets_room = t->sets_room ? 2 * t->sets_room : 16;
		t->sets = arena_resize(t->a, t->sets, t->sets_room * sizeof(*s));
	}
	s = &t->sets[t->n_sets++];
	*s = (struct set_input){.name = name, .where = set};
	t->in.p++;
	if (json_take(&t->in, ']'))
		return true;
	do {
		if (json_next(&t->in) != '"') {
			item_path(path, set.path, i++);
			n = value_read(t, path, ELSEWHERE, 3);
			if (!n)
				return false;
			diag_error(t->in.d, &w, NULL, "an entry of \"%s\" must be text, not %s", name,
				   node_kind_name(n));
			continue;
		}
		if (!json_string(&t->in, &text))
			return false;
		wrong = set_append(t->a, s, text.s, text.len, &masked);
		if (wrong || masked) {
			item_path(path, set.path, i);
			set_complain(t->in.d, &w, text.s, text.len, wrong,
				     wrong ? NULL : &s->cidrs[s->n - 1]);
		}
		i++;
	} while (json_take(&t->in, ','));
	if (!s->n) /* a stand-in, so that a set of bad members alone isn't called empty, too */
		set_append(t->a, s, "::/0", 4, &masked);
	return json_take(&t->in, ']') || json_error(&t->in, t->in.p, "expected , or ] in a list");
}

static struct node *map_read(struct tree *t, struct node *map, const char *path, enum place place, int depth)
{
	size_t base = t->n, at;
	struct json_span key;
	struct node *value;
	struct member *m;

	map->kind = NODE_MAP;
	t->in.p++;
	if (json_take(&t->in, '}'))
		return map;
	do {
		if (json_next(&t->in) != '"') {
			json_error(&t->in, t->in.p, "expected a key in quotation marks");
			return NULL;
		}
		if (!json_string(&t->in, &key))
			return NULL;
		if (key.nul)
			tree_error(t, path, "NUL character in a key");
		at = t->n;
		m = push(t);
		name_member(t, path, &key, m);
		if (!json_take(&t->in, ':')) {
			json_error(&t->in, t->in.p, "expected : after a key");
			return NULL;
		}
		if (place == IN_SETS && json_next(&t->in) == '[') {
			if (!set_read(t, m->key, &m->where))
				return NULL;
			continue;
		}
		value = value_read(t, m->where.path,
				   place == AT_ROOT && !strcmp(m->key, "sets") ? IN_SETS : ELSEWHERE,
				   depth + 1);
		if (!value)
			return NULL;
		/* nothing left in "sets": as if it were not there */
		if (place != AT_ROOT || value->kind != NODE_MAP || value->count ||
		    strcmp(t->stack[at].key, "sets"))
			t->stack[at].value = value; /* the stack may have moved */
	} while (json_take(&t->in, ','));
	if (!json_take(&t->in, '}')) {
		json_error(&t->in, t->in.p, "expected , or } in a mapping");
		return NULL;
	}
	return map_close(t, map, base, place);
}

static struct node *list_read(struct tree *t, struct node *list, const char *path, int depth)
{
	char item[PATH_ROOM];
	size_t base = t->n, i;
	struct node *value;

	list->kind = NODE_LIST;
	t->in.p++;
	if (json_take(&t->in, ']'))
		return list;
	do {
		i = item_path(item, path, t->n - base);
		value = value_read(t, arena_strndup(t->a, item, i), ELSEWHERE, depth + 1);
		if (!value)
			return NULL;
		push(t)->value = value;
	} while (json_take(&t->in, ','));
	if (!json_take(&t->in, ']')) {
		json_error(&t->in, t->in.p, "expected , or ] in a list");
		return NULL;
	}
	list->count = t->n - base;
	list->items = arena_alloc(t->a, list->count * sizeof(*list->items));
	for (i = 0; i < list->count; i++)
		list->items[i] = t->stack[base + i].value;
	t->n = base;
	return list;
}

/* ---- values ---- */

static struct node *scalar_read(struct tree *t, struct node *n, const char *path)
{
	struct json_span s;
	bool integer;

	n->kind = NODE_SCALAR;
	n->style = STYLE_BOOL;
	if (json_word(&t->in, "true")) {
		n->text = "true";
	} else if (json_word(&t->in, "false")) {
		n->text = "false";
	} else if (json_word(&t->in, "null")) {
		n->kind = NODE_NULL;
		n->style = STYLE_PLAIN;
	} else if (*t->in.p == '"') {
		if (!json_string(&t->in, &s))
			return NULL;
		if (s.nul)
			tree_error(t, path, "NUL character in text");
		n->style = STYLE_QUOTED;
		n->text = arena_strndup(t->a, s.s, s.len);
	} else if (*t->in.p == '-' || (*t->in.p >= '0' && *t->in.p <= '9')) {
		if (!json_number(&t->in, &s, &integer))
			return NULL;
		/* "1.0" stays text that no integer reader takes */
		n->style = STYLE_NUMBER;
		n->text = arena_strndup(t->a, s.s, s.len);
	} else {
		json_error(&t->in, t->in.p, t->in.p == t->in.end ? "unexpected end" : "expected a value");
		return NULL;
	}
	return n;
}

/* The next value, whose path is ${path}. NULL after a syntax error. */
static struct node *value_read(struct tree *t, const char *path, enum place place, int depth)
{
	struct node *n = arena_alloc(t->a, sizeof(*n));
	char c = json_next(&t->in);

	n->where = (struct where){.file = t->in.name, .path = path};
	if (c != '{' && c != '[')
		return scalar_read(t, n, path);
	if (depth >= IR_MAX_DEPTH) {
		json_error(&t->in, t->in.p, "more than %d levels", IR_MAX_DEPTH);
		return NULL;
	}
	return c == '{' ? map_read(t, n, path, place, depth) : list_read(t, n, path, depth);
}

struct node *ir_tree(struct arena *a, struct diag *d, FILE *f, const char *name, struct set_input **sets,
		     size_t *n_sets)
{
	struct tree t = {.a = a};
	struct node *root = NULL;

	name = arena_strndup(a, name, strlen(name));
	if (!json_open(&t.in, d, f, name))
		goto out;
	root = value_read(&t, "$", AT_ROOT, 0);
	if (root && json_next(&t.in)) {
		json_error(&t.in, t.in.p, "text after the end of the document");
		root = NULL;
	}
	*sets = t.sets;
	*n_sets = t.n_sets;
out:
	free(t.stack);
	json_close(&t.in);
	return root;
}
