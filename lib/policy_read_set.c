/* SPDX-License-Identifier: GPL-2.0-only */
#include <string.h>

#include "field_value.h"
#include "policy_reader.h"
#include "set_file.h"

static void unsupported(struct reader *r, void *into, const struct member *m)
{
	reader_error(r, &m->where, "dynamic sets (\"%s\") are not supported yet", m->key);
}

static void set_file(struct reader *r, void *into, const struct member *m)
{
	struct set_input *s = into;
	const char *path = read_text(r, m);

	if (path && !*path)
		reader_error(r, &m->value->where, "\"file\" is empty: it must be the path of a file");
	else if (path)
		set_file_read(r->d, r->a, s, path_beside(r->a, m->where.file, path), &m->value->where);
}

static const struct key set_keys[] = {
	{"file", IN_YAML, set_file},
	{"dynamic", IN_YAML, unsupported},
	{"timeout", IN_YAML, unsupported},
	{"max", IN_YAML, unsupported},
};

/* Members written out in the tree. */
static void members(struct reader *r, struct set_input *s, const struct node *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct node *n = list->items[i];
		const char *text = read_entry(r, s->name, n), *wrong;
		bool masked;

		if (!text)
			continue;
		wrong = set_append(r->a, s, text, strlen(text), &masked);
		if (wrong || masked)
			set_complain(r->d, &n->where, text, strlen(text), wrong,
				     wrong ? NULL : &s->cidrs[s->n - 1]);
	}
}

/* ${s} becomes the next set of the policy, even when it is bad: rules that use it are not to blame. */
static void add_set(struct reader *r, const struct set_input *s)
{
	const struct name *before;
	struct fw_set *set;

	if (!is_identifier(s->name))
		reader_error(r, &s->where,
			     "\"%s\" is no name for a set: letters, digits and _, at most %d, no digit first",
			     s->name, POLICY_NAME_MAX);
	before = names_add(&r->sets, s->name, &s->where, r->p->n_sets);
	if (before && before->where.path)
		reader_error(r, &s->where, "the set \"%s\" is here twice: first at %s", s->name,
			     before->where.path);
	else if (before && same_place(&before->where, &s->where))
		reader_error(r, &s->where, "the set \"%s\" is here twice: this file is included twice",
			     s->name);
	else if (before)
		reader_error(r, &s->where, "the set \"%s\" is here twice: first at %s:%u:%u", s->name,
			     before->where.file, before->where.line, before->where.col);
	if (before)
		return;
	if (r->p->n_sets == r->sets_room) {
		r->sets_room = r->sets_room ? r->sets_room * 2 : 16;
		r->p->sets = arena_resize(r->a, r->p->sets, r->sets_room * sizeof(*r->p->sets));
	}
	set = &r->p->sets[r->p->n_sets++];
	*set = (struct fw_set){
		.name = (char *)s->name, .where = s->where, .cidrs = s->cidrs, .n_cidrs = s->n};
	for (size_t i = 0; i < s->n && !(set->has_v4 && set->has_v6); i++) {
		set->has_v4 |= s->cidrs[i].family == 4;
		set->has_v6 |= s->cidrs[i].family == 6;
	}
}

/* A mapping says where the members come from, a list has them. The IR knows lists only. */
static void read_set(struct reader *r, const struct member *m)
{
	struct set_input s = {.name = m->key, .where = m->where};
	const struct node *n = m->value, *list;
	unsigned int before = r->d->errors;

	if (n->kind == NODE_MAP && !r->ir) {
		read_keys(r, n, "a set", set_keys, sizeof(set_keys) / sizeof(set_keys[0]), IN_YAML, &s, NULL);
		if (r->d->errors == before && !node_get(n, "file"))
			reader_error(r, &n->where, "the set \"%s\" needs \"file\", or a list of addresses",
				     m->key);
	} else {
		list = read_list(r, m);
		if (list)
			members(r, &s, list);
	}
	if (r->d->errors == before && !s.n)
		reader_error(r, &m->where, "the set \"%s\" is empty: its file has no address", m->key);
	add_set(r, &s);
}

/* With ${root} NULL those that were read ahead of the tree. */
void read_sets(struct reader *r, const struct node *root)
{
	const struct node *sets;

	for (size_t i = 0; !root && i < r->in->n_sets; i++) {
		const struct set_input *s = &r->in->sets[i];

		if (!s->cidrs) /* not one member, not even a bad one */
			reader_error(r, &s->where, "the set \"%s\" is empty", s->name);
		add_set(r, s);
	}
	sets = root ? node_get(root, "sets") : NULL;
	if (!sets)
		return;
	if (sets->kind != NODE_MAP) {
		reader_error(r, &sets->where, "\"sets\" must be a mapping (name: [addresses]), not %s",
			     node_kind_name(sets));
		return;
	}
	for (size_t i = 0; i < sets->count; i++)
		read_set(r, &sets->members[i]);
}
