/* SPDX-License-Identifier: GPL-2.0-only */
/* The context dimension: interface x user x cgroup, crossed into one table since policies name few of each. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "tables_build.h"

#define CONTEXT_MAX 65536

static bool names_iface(const struct rule *r, const char *name)
{
	for (size_t i = 0; i < r->n_interfaces; i++)
		if (!fnmatch(r->interfaces[i], name, 0))
			return true;
	return false;
}

static int by_key(const void *x, const void *y)
{
	const struct boundary *a = x, *b = y;

	return a->key < b->key ? -1 : a->key > b->key;
}

/* A trie over single keys: ${b} holds n of them with their entries, every other key gets ${other}. */
static uint64_t point_trie(struct image *im, struct boundary *b, size_t n, uint64_t other, uint64_t max)
{
	struct boundary *all = xalloc(2 * n + 1, sizeof(*all));
	size_t m = 0;
	uint64_t root;

	qsort(b, n, sizeof(*b), by_key);
	if (!n || b[0].key)
		all[m++].entry = other;
	for (size_t i = 0; i < n; i++) {
		if (i && b[i].key == b[i - 1].key)
			continue;
		if (m && all[m - 1].key == b[i].key)
			m--;
		all[m++] = b[i];
		if (b[i].key < max)
			all[m++] = (struct boundary){ .key = b[i].key + 1, .entry = other };
	}
	root = trie_build(im, all, m, max);
	free(all);
	return root;
}

/* Rows: interfaces that the same rules name share one. Row 0: named by none. */
void lower_ifaces(struct lower *l, struct context *c, struct fw_arena *head)
{
	const struct resolved *r = l->r;
	struct boundary *b = xalloc(r->n_ifaces, sizeof(*b));
	struct seen seen = { 0 };
	uint64_t none[2] = { 0, 0 };
	uint32_t *row;
	bool used = false;

	c->row_iface = xalloc(r->n_ifaces + 1, sizeof(*c->row_iface));
	seen_get(&seen, none, &row);
	c->n_rows = 1;
	for (size_t i = 0; i < r->n_ifaces; i++) {
		uint64_t hash[2] = { 0, 0 };

		for (size_t k = 0; k < l->p->n_rules; k++)
			if (names_iface(&l->p->rules[k], r->ifaces[i].name))
				zobrist(k, hash);
		if (!seen_get(&seen, hash, &row)) {
			*row = c->n_rows++;
			c->row_iface[*row] = i;
		}
		used |= *row || r->ifaces[i].ingress_owned;
		b[i].key = r->ifaces[i].ifindex;
		b[i].entry = FW_LEAF(*row | r->ifaces[i].hooks | (r->ifaces[i].ingress_owned ? FW_IFACE_INGRESS_OWNED : 0));
	}
	if (c->n_rows > 0xffff)
		l->error = "too many different uses of interfaces: over 65535";
	head->iface = point_trie(l->im, b, r->n_ifaces, FW_LEAF(0), 0xffffffff);
	if (used)
		head->flags |= FW_ARENA_IFACES;
	free(b);
	seen_free(&seen);
}

void context_free(struct context *c)
{
	free(c->row_iface);
}

static bool names_user(const struct lower *l, const struct rule *r, uint32_t user)
{
	for (size_t i = 0; i < r->n_users; i++)
		for (size_t u = 0; u < l->r->n_users; u++)
			if (!strcmp(r->users[i], l->r->users[u].name) && l->r->users[u].uid == l->r->users[user].uid)
				return true;
	return false;
}

/* ${outer} is ${path} or above it. */
static bool is_above(const char *outer, const char *path)
{
	size_t n = strlen(outer);

	if (!strcmp(outer, "/"))
		return true;
	return !strncmp(outer, path, n) && (path[n] == '/' || !path[n]);
}

static bool names_cgroup(const struct lower *l, const struct rule *r, uint32_t cgroup)
{
	for (size_t i = 0; i < r->n_cgroups; i++)
		if (is_above(r->cgroups[i], l->r->cgroups[cgroup].path))
			return true;
	return false;
}

/* Columns: 0 is "no user (cgroup) of the policy", then one per entry of resolved, then "may". */
static void user_trie(struct lower *l)
{
	struct boundary *b = xalloc(l->r->n_users, sizeof(*b));

	for (size_t i = 0; i < l->r->n_users; i++)
		b[i] = (struct boundary){ .key = l->r->users[i].uid, .entry = FW_LEAF(i + 1) };
	l->dir->user = point_trie(l->im, b, l->r->n_users, FW_LEAF(0), 0xffffffff);
	free(b);
}

static bool names_cgroups(const struct lower *l)
{
	for (uint32_t r = 0; r < l->n_rules; r++)
		if (l->rules[r]->n_cgroups)
			return true;
	return false;
}

/* What is below a cgroup of the policy has the same entry, and what is outside of all an entry too, for those who know
 * but an id and can't climb. Where no rule asks, all columns are alike and the many can be left out. */
static void cgroup_trie(struct lower *l)
{
	size_t n = 0, n_members = names_cgroups(l) ? l->r->n_members : 0;
	struct boundary *b = xalloc(l->r->n_cgroups + n_members, sizeof(*b));

	for (size_t i = 0; i < l->r->n_cgroups; i++) {
		if (!l->r->cgroups[i].id)
			continue;
		b[n++] = (struct boundary){ .key = l->r->cgroups[i].id, .entry = FW_LEAF(i + 2) };
		l->dir->cgroup_levels |= 1u << l->r->cgroups[i].level;
	}
	for (size_t i = 0; i < n_members; i++) {
		uint32_t cgroup = l->r->members[i].cgroup;

		b[n++] = (struct boundary){ .key = l->r->members[i].id,
					    .entry = FW_LEAF(cgroup == RES_OUTSIDE ? 1 : cgroup + 2) };
	}
	l->dir->cgroup = point_trie(l->im, b, n, FW_LEAF(0), TRIE_MAX63);
	free(b);
}

/* Does rule ${r} match interface row ${i}, user column ${u}, cgroup column ${g}; the last of each is "may". */
static bool context_match(const struct lower *l, const struct context *c, const struct rule *r, uint32_t i,
			  uint32_t u, uint32_t g)
{
	if (r->n_interfaces && i < c->n_rows && (!i || !names_iface(r, l->r->ifaces[c->row_iface[i]].name)))
		return false;
	if (r->n_users && u <= l->r->n_users && (!u || !names_user(l, r, u - 1)))
		return false;
	return !(r->n_cgroups && g <= l->r->n_cgroups && (!g || !names_cgroup(l, r, g - 1)));
}

static bool uses_context(const struct lower *l)
{
	for (uint32_t r = 0; r < l->n_rules; r++)
		if (l->rules[r]->n_interfaces || l->rules[r]->n_users || l->rules[r]->n_cgroups)
			return true;
	return false;
}

void lower_context(struct lower *l, const struct context *c)
{
	struct fw_dir *d = l->dir;
	uint32_t rows = c->n_rows + 1, users = l->r->n_users + 2, cgroups = l->r->n_cgroups + 2, n = 0;
	struct class class;
	uint32_t *table;

	if (!l->r->n_users)
		users = 1;
	if (!l->r->n_cgroups)
		cgroups = 1;
	if ((uint64_t)rows * users * cgroups > CONTEXT_MAX) {
		l->error = "too many combinations of interfaces, users and cgroups: over 65536";
		return;
	}
	d->n_user = users;
	d->n_cgroup = cgroups;
	if (!uses_context(l))
		return;
	user_trie(l);
	cgroup_trie(l);
	class_init(&class, &l->pool, l->n_rules);
	for (uint32_t r = 0; r < l->n_rules; r++)
		class_set(&class, r, true);
	table = xalloc((size_t)rows * users * cgroups, sizeof(*table));
	for (uint32_t i = 0; i < rows; i++)
		for (uint32_t u = 0; u < users; u++)
			for (uint32_t g = 0; g < cgroups; g++) {
				for (uint32_t r = 0; r < l->n_rules; r++) {
					const struct rule *rule = l->rules[r];

					if (rule->n_interfaces || rule->n_users || rule->n_cgroups)
						class_set(&class, r, context_match(l, c, rule, i, u, g));
				}
				table[n++] = class_record(&class);
			}
	d->ctx = image_add(l->im, table, n * sizeof(*table), 8);
	d->iface_may = c->n_rows;
	d->user_may = users > 1 ? users - 1 : 0;
	d->cgroup_may = cgroups > 1 ? cgroups - 1 : 0;
	class_free(&class);
	free(table);
}
