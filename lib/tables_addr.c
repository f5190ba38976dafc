/* SPDX-License-Identifier: GPL-2.0-only */
/* Source and destination: a sweep over each family's address space, from boundary to boundary of the prefixes,
 * gives the classes; the tries over those boundaries give the look-up. */
#include <stdlib.h>
#include <string.h>

#include "tables_atoms.h"

/* State of a sweep: what the current address is covered by. */
struct sweep {
	struct lower *l;
	struct atoms atoms;
	struct class class;
	struct seen seen; /* states of the atoms, to records */
	uint64_t state[2]; /* Zobrist hash of the atoms that are on */
	uint32_t *changed; /* atoms whose state the class doesn't have yet */
	size_t n_changed;
	struct boundary *out;
	size_t n_out, room_out;
};

static bool atom_on(const struct atom *t)
{
	return t->depth > 0;
}

/* A prefix of atom ${i} begins or ends. */
static void sweep_step(struct sweep *s, uint32_t i, bool begins)
{
	struct atom *t = &s->atoms.atoms[i];
	bool was = atom_on(t);

	if (begins)
		t->depth++;
	else
		t->depth--;
	if (was == atom_on(t))
		return;
	zobrist(i, s->state);
	if (!t->dirty) {
		t->dirty = true;
		s->changed[s->n_changed++] = i;
	}
}

/* Bring the class up to the atoms' state. */
static void sweep_apply(struct sweep *s)
{
	struct atoms *a = &s->atoms;

	for (size_t k = 0; k < s->n_changed; k++) {
		struct atom *t = &a->atoms[s->changed[k]];

		t->dirty = false;
		if (t->applied == atom_on(t))
			continue;
		t->applied = atom_on(t);
		for (size_t u = 0; u < t->n_uses; u++) {
			uint32_t r = t->uses[u].rule;
			uint32_t *covers = t->uses[u].negate ? &a->excluding[r] : &a->including[r];

			*covers += t->applied ? 1 : -1;
			class_set(&s->class, r, atoms_match(a, r));
		}
	}
	s->n_changed = 0;
}

/* The record for the current state. Applying changes is put off until a state is new: with a set of a million
 * prefixes there are two million boundaries but only two states. */
static uint32_t sweep_record(struct sweep *s)
{
	uint32_t *record;

	if (!seen_get(&s->seen, s->state, &record)) {
		sweep_apply(s);
		*record = class_record(&s->class);
	}
	return *record;
}

static void sweep_init(struct sweep *s, struct lower *l, bool source)
{
	memset(s, 0, sizeof(*s));
	s->l = l;
	atoms_collect(&s->atoms, l, source);
	class_init(&s->class, &l->pool, l->n_rules);
	s->changed = xalloc(s->atoms.n, sizeof(*s->changed));
	for (uint32_t r = 0; r < l->n_rules; r++)
		class_set(&s->class, r, atoms_match(&s->atoms, r));
}

static void sweep_free(struct sweep *s)
{
	atoms_free(&s->atoms);
	class_free(&s->class);
	seen_free(&s->seen);
	free(s->changed);
	free(s->out);
}

static void out(struct sweep *s, uint64_t key, uint64_t entry)
{
	/* the same class on both sides of a boundary: none */
	if (s->n_out && s->out[s->n_out - 1].entry == entry)
		return;
	if (s->n_out && s->out[s->n_out - 1].key == key)
		s->n_out--;
	s->out = xgrow(s->out, &s->room_out, s->n_out + 1, sizeof(*s->out));
	s->out[s->n_out++] = (struct boundary){ .key = key, .entry = entry };
}

/* ---- IPv4: key in the upper half, atom and begin/end in the lower ---- */

struct keys64 {
	uint64_t *v;
	size_t n, room;
};

static uint32_t be32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
}

static void push64(struct keys64 *k, uint64_t v)
{
	k->v = xgrow(k->v, &k->room, k->n + 1, sizeof(*k->v));
	k->v[k->n++] = v;
}

static void add_cidr4(struct keys64 *k, const struct cidr *c, uint32_t atom)
{
	uint64_t first = be32(c->addr), after;

	if (c->family != 4)
		return;
	after = first + (1ULL << (32 - c->len));
	push64(k, first << 32 | atom << 1 | 1);
	if (after >> 32 == 0)
		push64(k, after << 32 | atom << 1);
}

static uint64_t sweep4(struct sweep *s)
{
	struct keys64 k = { 0 };
	size_t i = 0;
	uint64_t root;

	for (uint32_t a = 0; a < s->atoms.n; a++) {
		const struct atom *t = &s->atoms.atoms[a];
		const struct fw_set *set = t->set >= 0 ? &s->l->p->sets[t->set] : NULL;

		if (!set)
			add_cidr4(&k, &t->cidr, a);
		for (size_t n = 0; set && n < set->n_cidrs; n++)
			add_cidr4(&k, &set->cidrs[n], a);
	}
	radix_u64(k.v, k.n);
	s->n_out = 0;
	if (!k.n || k.v[0] >> 32)
		out(s, 0, FW_LEAF(sweep_record(s)));
	while (i < k.n) {
		uint64_t key = k.v[i] >> 32;

		/* ends sort before begins of the same atom, so that depth never goes below zero */
		for (; i < k.n && k.v[i] >> 32 == key; i++)
			sweep_step(s, (k.v[i] & 0xffffffff) >> 1, k.v[i] & 1);
		out(s, key, FW_LEAF(sweep_record(s)));
	}
	root = trie_build(s->l->im, s->out, s->n_out, 0xffffffff);
	free(k.v);
	/* prefixes that reach the end of the space were never ended */
	for (uint32_t a = 0; a < s->atoms.n; a++)
		while (s->atoms.atoms[a].depth)
			sweep_step(s, a, false);
	return root;
}

/* ---- IPv6 ---- */

struct keys128 {
	struct key128 *v;
	size_t n, room;
};

static uint64_t be64(const uint8_t *b)
{
	return (uint64_t)be32(b) << 32 | be32(b + 4);
}

static void push128(struct keys128 *k, uint64_t hi, uint64_t lo, uint64_t tag)
{
	k->v = xgrow(k->v, &k->room, k->n + 1, sizeof(*k->v));
	k->v[k->n++] = (struct key128){ .hi = hi, .lo = lo, .tag = tag };
}

/* Ends are pushed in front of begins at the same place by sorting stably: all ends are added first. */
static void add_cidr6(struct keys128 *k, const struct cidr *c, uint32_t atom, bool begin)
{
	uint64_t hi = be64(c->addr), lo = be64(c->addr + 8);
	__uint128_t after = ((__uint128_t)hi << 64 | lo) + (c->len ? (__uint128_t)1 << (128 - c->len) : 0);

	if (c->family != 6)
		return;
	if (begin)
		push128(k, hi, lo, (uint64_t)atom << 1 | 1);
	else if (after)
		push128(k, after >> 64, after, (uint64_t)atom << 1);
}

static void collect6(struct sweep *s, struct keys128 *k, bool begin)
{
	for (uint32_t a = 0; a < s->atoms.n; a++) {
		const struct atom *t = &s->atoms.atoms[a];
		const struct fw_set *set = t->set >= 0 ? &s->l->p->sets[t->set] : NULL;

		if (!set)
			add_cidr6(k, &t->cidr, a, begin);
		for (size_t n = 0; set && n < set->n_cidrs; n++)
			add_cidr6(k, &set->cidrs[n], a, begin);
	}
}

/* A boundary of the 128-bit space: from hi:lo on, the record. */
struct cut {
	uint64_t hi, lo;
	uint32_t record;
};

static struct cut *cuts6(struct sweep *s, size_t *n_cuts)
{
	struct keys128 k = { 0 };
	struct cut *cuts;
	size_t i = 0, n = 0;

	collect6(s, &k, false);
	collect6(s, &k, true);
	radix_key128(k.v, k.n);
	cuts = xalloc(k.n + 1, sizeof(*cuts));
	if (!k.n || k.v[0].hi || k.v[0].lo)
		cuts[n++] = (struct cut){ .record = sweep_record(s) };
	while (i < k.n) {
		uint64_t hi = k.v[i].hi, lo = k.v[i].lo;
		uint32_t record;

		for (; i < k.n && k.v[i].hi == hi && k.v[i].lo == lo; i++)
			sweep_step(s, k.v[i].tag >> 1, k.v[i].tag & 1);
		record = sweep_record(s);
		if (!n || cuts[n - 1].record != record)
			cuts[n++] = (struct cut){ .hi = hi, .lo = lo, .record = record };
	}
	free(k.v);
	*n_cuts = n;
	return cuts;
}

/* The two tries (by the top bit) over a space of 64 bits, from boundaries of which the first is at 0. */
static void split_tries(struct image *im, const struct boundary *b, size_t n, __u64 roots[2])
{
	struct boundary *half = xalloc(n + 1, sizeof(*half));
	size_t lower = 0, m = 0;

	while (lower < n && !(b[lower].key >> 63))
		lower++;
	roots[0] = trie_build(im, b, lower, TRIE_MAX63);
	if (lower == n || b[lower].key != 1ULL << 63)
		half[m++] = (struct boundary){ .key = 0, .entry = b[lower - 1].entry };
	for (; lower < n; lower++)
		half[m++] = (struct boundary){ .key = b[lower].key & TRIE_MAX63, .entry = b[lower].entry };
	roots[1] = trie_build(im, half, m, TRIE_MAX63);
	free(half);
}

/* The upper 64 bits ${hi} have boundaries within: a trie of their own over the low 64 bits. */
static uint64_t low_tries(struct sweep *s, const struct cut *cuts, size_t n, uint32_t before)
{
	struct boundary *b = xalloc(n + 1, sizeof(*b));
	__u64 roots[2];
	size_t m = 0;

	if (cuts[0].lo)
		b[m++] = (struct boundary){ .entry = FW_LEAF(before) };
	for (size_t i = 0; i < n; i++)
		b[m++] = (struct boundary){ .key = cuts[i].lo, .entry = FW_LEAF(cuts[i].record) };
	split_tries(s->l->im, b, m, roots);
	free(b);
	return image_add(s->l->im, roots, sizeof(roots), 8) | FW_TRIE_NEXT;
}

static void sweep6(struct sweep *s, __u64 roots[2])
{
	size_t n, i = 0;
	struct cut *cuts = cuts6(s, &n);

	s->n_out = 0;
	while (i < n) {
		uint64_t hi = cuts[i].hi;
		size_t from = i;

		while (i < n && cuts[i].hi == hi)
			i++;
		if (i - from == 1 && !cuts[from].lo) {
			out(s, hi, FW_LEAF(cuts[from].record));
			continue;
		}
		out(s, hi, low_tries(s, cuts + from, i - from, from ? cuts[from - 1].record : 0));
		if (hi != ~0ULL && (i == n || cuts[i].hi != hi + 1 || cuts[i].lo))
			out(s, hi + 1, FW_LEAF(cuts[i - 1].record));
	}
	free(cuts);
	split_tries(s->l->im, s->out, s->n_out, roots);
}

/* ---- unknown source ---- */

/* Whether a set has prefixes of a family. */
static bool set_has(const struct fw_set *set, int family)
{
	for (size_t i = 0; i < set->n_cidrs; i++)
		if (set->cidrs[i].family == family)
			return true;
	return false;
}

static bool item_some(const struct addr_item *it, const bool *sets, int family)
{
	return it->set >= 0 ? sets[it->set] : it->cidr.family == family;
}

static bool item_all(const struct addr_item *it, int family)
{
	return it->set < 0 && it->cidr.family == family && !it->cidr.len;
}

/* What the rule's source list covers of a family: something (may), everything (must). Only the shape of the list
 * is looked at: many prefixes that happen to cover everything count as something, which leaves more to the
 * later hook and is never wrong. */
static void source_cover(const struct rule *rule, const bool *sets, int family, bool *may, bool *must)
{
	bool includes = false;

	*may = *must = false;
	for (size_t i = 0; i < rule->n_src; i++) {
		const struct addr_item *it = &rule->src[i];

		if (it->negate)
			continue;
		includes = true;
		*may |= item_some(it, sets, family);
		*must |= item_all(it, family);
	}
	if (!includes)
		*may = *must = true;
	/* an exclusion of the other family takes nothing away */
	for (size_t i = 0; i < rule->n_src; i++) {
		*may &= !(rule->src[i].negate && item_all(&rule->src[i], family));
		*must &= !(rule->src[i].negate && item_some(&rule->src[i], sets, family));
	}
}

static void unknown_source(struct lower *l, int family, uint32_t *may, uint32_t *must)
{
	bool *sets = xalloc(l->p->n_sets, sizeof(*sets)), some, all;
	struct class cm, cu;

	for (size_t i = 0; i < l->p->n_sets; i++)
		sets[i] = set_has(&l->p->sets[i], family);
	class_init(&cm, &l->pool, l->n_rules);
	class_init(&cu, &l->pool, l->n_rules);
	for (uint32_t r = 0; r < l->n_rules; r++) {
		source_cover(l->rules[r], sets, family, &some, &all);
		class_set(&cm, r, some);
		class_set(&cu, r, all);
	}
	*may = class_record(&cm);
	*must = class_record(&cu);
	class_free(&cm);
	class_free(&cu);
	free(sets);
}

void lower_addresses(struct lower *l)
{
	struct sweep s;

	sweep_init(&s, l, true);
	l->dir->src4 = sweep4(&s);
	sweep6(&s, l->dir->src6);
	sweep_free(&s);
	sweep_init(&s, l, false);
	l->dir->dst4 = sweep4(&s);
	sweep6(&s, l->dir->dst6);
	sweep_free(&s);
	unknown_source(l, 4, &l->dir->src_may[0], &l->dir->src_must[0]);
	unknown_source(l, 6, &l->dir->src_may[1], &l->dir->src_must[1]);
}
