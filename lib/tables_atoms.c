/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>
#include <string.h>

#include "tables_atoms.h"

static struct atom *new_atom(struct atoms *a)
{
	a->atoms = xgrow(a->atoms, &a->room, a->n + 1, sizeof(*a->atoms));
	memset(&a->atoms[a->n], 0, sizeof(*a->atoms));
	return &a->atoms[a->n++];
}

static void grow_index(struct atoms *a)
{
	a->cidr_room = a->cidr_room ? a->cidr_room * 2 : 256;
	free(a->by_cidr);
	a->by_cidr = xalloc(a->cidr_room, sizeof(*a->by_cidr));
	for (size_t i = 0; i < a->n; i++) {
		size_t at;

		if (a->atoms[i].set >= 0)
			continue;
		at = hash_bytes(&a->atoms[i].cidr, sizeof(struct cidr)) & (a->cidr_room - 1);
		while (a->by_cidr[at].atom)
			at = (at + 1) & (a->cidr_room - 1);
		a->by_cidr[at].atom = i + 1;
	}
}

static struct atom *atom_of_cidr(struct atoms *a, const struct cidr *c)
{
	struct atom *t;
	size_t at;

	if (a->n * 2 >= a->cidr_room)
		grow_index(a);
	for (at = hash_bytes(c, sizeof(*c)) & (a->cidr_room - 1); a->by_cidr[at].atom; at = (at + 1) & (a->cidr_room - 1)) {
		t = &a->atoms[a->by_cidr[at].atom - 1];
		if (!memcmp(&t->cidr, c, sizeof(*c)))
			return t;
	}
	t = new_atom(a);
	t->set = -1;
	t->cidr = *c;
	a->by_cidr[at].atom = a->n;
	return t;
}

static struct atom *atom_of_set(struct atoms *a, int set)
{
	struct atom *t;

	if (a->by_set[set])
		return &a->atoms[a->by_set[set] - 1];
	t = new_atom(a);
	t->set = set;
	a->by_set[set] = a->n;
	return t;
}

static void use(struct atom *t, uint32_t rule, bool negate)
{
	t->uses = xgrow(t->uses, &t->room, t->n_uses + 1, sizeof(*t->uses));
	t->uses[t->n_uses++] = (struct atom_use){ .rule = rule, .negate = negate };
}

void atoms_collect(struct atoms *a, const struct lower *l, bool source)
{
	memset(a, 0, sizeof(*a));
	a->by_set = xalloc(l->p->n_sets, sizeof(*a->by_set));
	a->including = xalloc(l->n_rules, sizeof(*a->including));
	a->excluding = xalloc(l->n_rules, sizeof(*a->excluding));
	for (uint32_t r = 0; r < l->n_rules; r++) {
		const struct addr_item *items = source ? l->rules[r]->src : l->rules[r]->dst;
		size_t n = source ? l->rules[r]->n_src : l->rules[r]->n_dst;
		bool includes = false;

		for (size_t i = 0; i < n; i++) {
			includes |= !items[i].negate;
			use(items[i].set >= 0 ? atom_of_set(a, items[i].set) : atom_of_cidr(a, &items[i].cidr), r,
			    items[i].negate);
		}
		/* no list, or only exclusions: any address (but those) */
		a->including[r] = !includes;
	}
}

void atoms_free(struct atoms *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->atoms[i].uses);
	free(a->atoms);
	free(a->by_set);
	free(a->by_cidr);
	free(a->including);
	free(a->excluding);
	memset(a, 0, sizeof(*a));
}
