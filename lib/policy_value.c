/* SPDX-License-Identifier: GPL-2.0-only */
/* Single values of the tree, with the types of the policy language. */
#include <string.h>

#include "field_value.h"
#include "policy_reader.h"

/* Suggests only keys that may stand here. */
static void unknown_key(struct reader *r, const struct member *m, const char *what, const struct key *keys,
			size_t n, unsigned int in)
{
	unsigned int best = near_limit(m->key) + 1;
	const char *near = NULL;

	for (size_t i = 0; i < n; i++) {
		unsigned int distance = near_distance(m->key, keys[i].name);

		if ((keys[i].where & in) && distance < best) {
			best = distance;
			near = keys[i].name;
		}
	}
	if (near)
		reader_error(r, &m->where, "unknown key \"%s\" in %s: did you mean \"%s\"?", m->key, what,
			     near);
	else
		reader_error(r, &m->where, "unknown key \"%s\" in %s", m->key, what);
}

void read_keys(struct reader *r, const struct node *map, const char *what, const struct key *keys, size_t n,
	       unsigned int in, void *into, struct where *places)
{
	size_t next = 0;

	if (map->kind != NODE_MAP) {
		reader_error(r, &map->where, "%s must be a mapping (key: value), not %s", what,
			     node_kind_name(map));
		return;
	}
	for (size_t i = 0; i < map->count; i++) {
		const struct member *m = &map->members[i];
		unsigned int errors;
		size_t tried = 0;

		/* people write keys in the same order again and again, so go on from the last one found */
		while (tried < n && strcmp(keys[next].name, m->key)) {
			next = next + 1 < n ? next + 1 : 0;
			tried++;
		}
		if (tried == n) {
			unknown_key(r, m, what, keys, n, in);
			continue;
		}
		if (!(keys[next].where & in)) {
			if (in & IN_INCLUDED)
				reader_error(r, &m->where,
					     "\"%s\" can't stand in an included file: only sets, rules and "
					     "include can",
					     m->key);
			else
				unknown_key(r, m, what, keys, n, in);
			continue;
		}
		if (places)
			places[next] = m->where;
		errors = r->d->errors;
		keys[next].read(r, into, m);
		if (places && r->d->errors != errors)
			r->failed |= 1u << next;
	}
}

/* YAML 1.1 has 22 ways to write a boolean, of which "no" and "off" are words of everyday policies too. Ours
 * has two, and what looks like another one is not guessed. */
bool read_bool(struct reader *r, const struct member *m, bool *v)
{
	const struct node *n = m->value;
	bool right = n->kind == NODE_SCALAR && n->style == (r->typed ? STYLE_BOOL : STYLE_PLAIN);

	if (right && !strcmp(n->text, "true")) {
		*v = true;
		return true;
	}
	if (right && !strcmp(n->text, "false")) {
		*v = false;
		return true;
	}
	if (n->kind == NODE_SCALAR)
		reader_error(r, &n->where, "\"%s\" is \"%s\": write true or false%s", m->key, n->text,
			     n->style == STYLE_QUOTED ? ", without quotes" : "");
	else
		reader_error(r, &n->where, "\"%s\" is %s: write true or false", m->key, node_kind_name(n));
	return false;
}

bool read_uint(struct reader *r, const struct member *m, uint64_t min, uint64_t max, uint64_t *v)
{
	const struct node *n = m->value;
	uint64_t number;

	if (n->kind != NODE_SCALAR) {
		reader_error(r, &n->where, "\"%s\" must be a number, not %s", m->key, node_kind_name(n));
		return false;
	}
	if (n->style != (r->typed ? STYLE_NUMBER : STYLE_PLAIN)) {
		reader_error(r, &n->where, "\"%s\" must be a plain number: %s", m->key,
			     n->style == STYLE_QUOTED ? "remove the quotes" : "it is a boolean");
		return false;
	}
	if (parse_uint(n->text, max, &number) || number < min) {
		reader_error(r, &n->where, "\"%s\" must be a decimal number from %llu to %llu, not \"%s\"",
			     m->key, (unsigned long long)min, (unsigned long long)max, n->text);
		return false;
	}
	*v = number;
	return true;
}

const char *read_text(struct reader *r, const struct member *m)
{
	const struct node *n = m->value;

	if (n->kind == NODE_SCALAR && (!r->typed || n->style == STYLE_QUOTED))
		return n->text;
	reader_error(r, &n->where, "\"%s\" must be text, not %s", m->key, node_kind_name(n));
	return NULL;
}

/* "a, b or c" in ${buf}; false when it does not fit. */
static bool joined(char *buf, size_t size, const char *const *names, size_t n)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		int len = snprintf(buf + used, size - used, "%s%s",
				   i == 0      ? ""
				   : i + 1 < n ? ", "
					       : " or ",
				   names[i]);

		if (len < 0 || (size_t)len >= size - used)
			return false;
		used += len;
	}
	return true;
}

int read_choice(struct reader *r, const struct member *m, const char *const *names, size_t n)
{
	unsigned int best;
	const char *text = read_text(r, m), *near = NULL;
	char all[160];

	if (!text)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (!strcmp(text, names[i]))
			return i;
	best = near_limit(text) + 1;
	for (size_t i = 0; i < n; i++) {
		/* a difference of case alone is as near as can be */
		unsigned int distance = strcasecmp(text, names[i]) ? near_distance(text, names[i]) : 0;

		if (distance < best) {
			best = distance;
			near = names[i];
		}
	}
	if (near)
		reader_error(r, &m->value->where, "\"%s\" can't be \"%s\": did you mean \"%s\"?", m->key,
			     text, near);
	else if (joined(all, sizeof(all), names, n))
		reader_error(r, &m->value->where, "\"%s\" can't be \"%s\": write %s", m->key, text, all);
	return -1;
}

/* An empty list that silently means "everything" has been a CVE, and null is how templates write one; so both
 * are refused, and only a missing key means any. */
const struct node *read_list(struct reader *r, const struct member *m)
{
	const struct node *n = m->value;

	if (n->kind == NODE_LIST && n->count)
		return n;
	if (n->kind == NODE_LIST)
		reader_error(r, &n->where, "\"%s\" is an empty list: give it members or leave the key out",
			     m->key);
	else if (n->kind == NODE_NULL)
		reader_error(r, &n->where, "\"%s\" is null: give it members or leave the key out", m->key);
	else if (n->kind == NODE_SCALAR && !r->typed)
		reader_error(r, &n->where, "\"%s\" must be a list: write [%s%s%s]", m->key,
			     n->style == STYLE_QUOTED ? "\"" : "", n->text,
			     n->style == STYLE_QUOTED ? "\"" : "");
	else
		reader_error(r, &n->where, "\"%s\" must be a list, not %s", m->key, node_kind_name(n));
	return NULL;
}

/* Ports and ids may be written with and without quotes: as list entries nobody takes them for anything else.
 */
const char *read_entry(struct reader *r, const char *key, const struct node *n)
{
	if (n->kind == NODE_SCALAR && n->style != STYLE_BOOL)
		return n->text;
	/* "- ::" is a mapping to YAML */
	reader_error(r, &n->where, "an entry of \"%s\" must be text or a number, not %s%s", key,
		     node_kind_name(n),
		     n->kind == NODE_MAP && !r->typed ? ": quote text that ends with a colon" : "");
	return NULL;
}

bool same_place(const struct where *a, const struct where *b)
{
	return a->line == b->line && a->col == b->col && !strcmp(a->file, b->file);
}

bool is_identifier(const char *s)
{
	size_t i;

	for (i = 0; s[i]; i++) {
		bool letter = ((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z') || s[i] == '_';

		if (!letter && !(i && s[i] >= '0' && s[i] <= '9'))
			return false;
	}
	return i > 0 && i <= POLICY_NAME_MAX;
}
