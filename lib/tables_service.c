/* SPDX-License-Identifier: GPL-2.0-only */
/* The service dimension. For each protocol the rules that may concern it split its source ports (or ICMP types)
 * into rows and its destination ports into columns; the table holds the class of each pair. Real policies have
 * few distinct source ports, which keeps the product small. */
#include <stdlib.h>
#include <string.h>

#include "tables_build.h"

#define AXIS_MAX 65535 /* ports; ICMP types need 511 */
#define TABLE_MAX (16u << 20)

/* A rule's part of an axis begins or ends at ${key}. */
struct edge {
	uint32_t key;
	uint32_t rule;
	bool begins;
};

struct axis {
	struct edge *edges; /* sorted by key */
	size_t n, room;
	bool *any;	    /* per rule: no condition on this axis */
	struct boundary *cells; /* elementary intervals; entry: leaf with row or column number */
	size_t n_cells, room_cells;
	uint32_t n_classes; /* rows or columns */
};

/* One protocol of one family. */
struct service {
	struct lower *l;
	uint32_t *rules; /* of the direction, those that may match */
	size_t n_rules;
	struct axis a, b;
	struct class class;
};

static bool proto_matches(const struct rule *r, int family, uint8_t proto)
{
	switch (r->proto.kind) {
	case PROTO_ANY:
		return !(r->n_sports || r->n_dports) || proto == 6 || proto == 17 || proto == 132 || proto == 136;
	case PROTO_ICMP:
		return proto == (family == 4 ? 1 : 58);
	case PROTO_ICMPV4:
		return family == 4 && proto == 1;
	case PROTO_ICMPV6:
		return family == 6 && proto == 58;
	case PROTO_NUMBER:
		return proto == r->proto.number;
	}
	return false;
}

static void add_edges(struct axis *x, uint32_t rule, uint32_t lo, uint32_t hi)
{
	x->edges = xgrow(x->edges, &x->room, x->n + 2, sizeof(*x->edges));
	x->edges[x->n++] = (struct edge){ .key = lo, .rule = rule, .begins = true };
	if (hi < AXIS_MAX)
		x->edges[x->n++] = (struct edge){ .key = hi + 1, .rule = rule };
}

static void port_axis(struct axis *x, uint32_t rule, const struct port_range *ranges, size_t n)
{
	x->any[rule] = !n;
	for (size_t i = 0; i < n; i++)
		add_edges(x, rule, ranges[i].lo, ranges[i].hi);
	if (!n)
		add_edges(x, rule, 0, AXIS_MAX);
}

/* Types 0..255; neighbour discovery and MLD packets appear as their type + FW_ICMP_FAVOURED, where only those
 * rules are that allow or that list the type (fw-policy(5)). */
static void icmp_axis(struct axis *x, uint32_t index, const struct rule *r, int family)
{
	x->any[index] = !r->n_icmp_types;
	for (size_t i = 0; i < r->n_icmp_types; i++) {
		int type = family == 4 ? r->icmp_types[i].v4 : r->icmp_types[i].v6;

		if (type < 0)
			continue;
		add_edges(x, index, type, type);
		add_edges(x, index, FW_ICMP_FAVOURED + type, FW_ICMP_FAVOURED + type);
	}
	if (!r->n_icmp_types)
		add_edges(x, index, 0, r->action == ACTION_ALLOW ? AXIS_MAX : FW_ICMP_FAVOURED - 1);
}

static int edge_order(const void *x, const void *y)
{
	const struct edge *a = x, *b = y;

	return a->key < b->key ? -1 : a->key > b->key;
}

/* Cells of an axis, numbered so that cells with the same rules have the same number. ${depth}: how many of a
 * rule's ranges cover the cell, since ranges may overlap. */
static void number_cells(struct service *s, struct axis *x)
{
	uint32_t *depth = xalloc(s->l->n_rules, sizeof(*depth));
	struct seen seen = { 0 };
	uint64_t state[2] = { 0, 0 };
	uint32_t *number;
	size_t i = 0;

	if (x->n)
		qsort(x->edges, x->n, sizeof(*x->edges), edge_order);
	do {
		uint32_t key = i < x->n ? x->edges[i].key : 0;

		if (!x->n_cells && key)
			key = 0;
		for (; i < x->n && x->edges[i].key == key; i++) {
			uint32_t *d = &depth[x->edges[i].rule];
			uint32_t was = *d;

			*d += x->edges[i].begins ? 1 : -1;
			if (!was != !*d)
				zobrist(x->edges[i].rule, state);
		}
		if (!seen_get(&seen, state, &number))
			*number = x->n_classes++;
		x->cells = xgrow(x->cells, &x->room_cells, x->n_cells + 1, sizeof(*x->cells));
		x->cells[x->n_cells++] = (struct boundary){ .key = key, .entry = FW_LEAF(*number) };
	} while (i < x->n);
	seen_free(&seen);
	free(depth);
}

/* One row: the classes of all columns, for the rules that ${in_row} has. The sweep along the columns turns only
 * rules of the row on and off. */
static void fill_row(struct service *s, const bool *in_row, uint32_t *row)
{
	struct axis *b = &s->b;
	uint32_t *depth = xalloc(s->l->n_rules, sizeof(*depth));
	bool *done = xalloc(b->n_classes, sizeof(*done));
	size_t i = 0;

	for (size_t c = 0; c < b->n_cells; c++) {
		uint32_t column = FW_LEAF_VALUE(b->cells[c].entry);

		for (; i < b->n && b->edges[i].key <= b->cells[c].key; i++) {
			uint32_t r = b->edges[i].rule;

			depth[r] += b->edges[i].begins ? 1 : -1;
			if (in_row[r])
				class_set(&s->class, r, depth[r]);
		}
		if (!done[column])
			row[column] = class_record(&s->class);
		done[column] = true;
	}
	for (size_t r = 0; r < s->n_rules; r++)
		class_set(&s->class, s->rules[r], in_row[s->rules[r]] && b->any[s->rules[r]]);
	row[b->n_classes] = class_record(&s->class);
	for (size_t r = 0; r < s->n_rules; r++)
		class_set(&s->class, s->rules[r], false);
	free(done);
	free(depth);
}

static uint32_t fill_table(struct service *s, struct fw_svc *svc)
{
	uint32_t rows = s->a.n_classes + 2, columns = s->b.n_classes + 1;
	uint32_t *table, off;
	bool *in_row, *done;
	uint32_t *depth; /* a list may repeat a port more than 65535 times */
	size_t i = 0;

	if ((uint64_t)rows * columns > TABLE_MAX) {
		s->l->error = "too many combinations of source and destination ports: over 16 million";
		return 0;
	}
	table = xalloc((size_t)rows * columns, sizeof(*table));
	in_row = xalloc(s->l->n_rules, sizeof(*in_row));
	depth = xalloc(s->l->n_rules, sizeof(*depth));
	done = xalloc(rows, sizeof(*done));
	for (size_t c = 0; c < s->a.n_cells; c++) {
		uint32_t row = FW_LEAF_VALUE(s->a.cells[c].entry);

		for (; i < s->a.n && s->a.edges[i].key <= s->a.cells[c].key; i++) {
			uint32_t r = s->a.edges[i].rule;

			depth[r] += s->a.edges[i].begins ? 1 : -1;
			in_row[r] = depth[r];
		}
		if (!done[row])
			fill_row(s, in_row, table + (size_t)row * columns);
		done[row] = true;
	}
	svc->a_must = s->a.n_classes;
	svc->a_may = s->a.n_classes + 1;
	for (size_t r = 0; r < s->n_rules; r++)
		in_row[s->rules[r]] = s->a.any[s->rules[r]];
	fill_row(s, in_row, table + (size_t)svc->a_must * columns);
	for (size_t r = 0; r < s->n_rules; r++)
		in_row[s->rules[r]] = true;
	fill_row(s, in_row, table + (size_t)svc->a_may * columns);
	off = image_add(s->l->im, table, (size_t)rows * columns * sizeof(*table), 8);
	free(table);
	free(in_row);
	free(depth);
	free(done);
	return off;
}

static void axis_free(struct axis *x)
{
	free(x->edges);
	free(x->any);
	free(x->cells);
}

static uint32_t lower_service(struct lower *l, int family, uint8_t proto)
{
	struct service s = { .l = l };
	struct fw_svc svc = { 0 };
	bool icmp = (family == 4 && proto == 1) || (family == 6 && proto == 58);

	s.rules = xalloc(l->n_rules, sizeof(*s.rules));
	s.a.any = xalloc(l->n_rules, sizeof(*s.a.any));
	s.b.any = xalloc(l->n_rules, sizeof(*s.b.any));
	class_init(&s.class, &l->pool, l->n_rules);
	for (uint32_t r = 0; r < l->n_rules; r++) {
		if (!proto_matches(l->rules[r], family, proto))
			continue;
		s.rules[s.n_rules++] = r;
		if (icmp)
			icmp_axis(&s.a, r, l->rules[r], family);
		else
			port_axis(&s.a, r, l->rules[r]->sports, l->rules[r]->n_sports);
		port_axis(&s.b, r, l->rules[r]->dports, l->rules[r]->n_dports);
	}
	number_cells(&s, &s.a);
	number_cells(&s, &s.b);
	svc.a = trie_build(l->im, s.a.cells, s.a.n_cells, AXIS_MAX);
	svc.b = trie_build(l->im, s.b.cells, s.b.n_cells, AXIS_MAX);
	svc.n_b = s.b.n_classes + 1;
	svc.b_none = s.b.n_classes;
	svc.table = fill_table(&s, &svc);
	axis_free(&s.a);
	axis_free(&s.b);
	class_free(&s.class);
	free(s.rules);
	return image_add(l->im, &svc, sizeof(svc), 64);
}

void lower_services(struct lower *l)
{
	uint32_t offs[FW_SVC_COUNT] = { 0 }, other = lower_service(l, 4, 255);
	bool own[256] = { [1] = true, [58] = true };

	/* protocols that some rule treats apart; 255 (reserved) stands for all others unless named itself */
	for (uint32_t r = 0; r < l->n_rules; r++) {
		const struct rule *rule = l->rules[r];

		if (rule->proto.kind == PROTO_NUMBER)
			own[rule->proto.number] = true;
		else if (rule->proto.kind == PROTO_ANY && (rule->n_sports || rule->n_dports))
			own[6] = own[17] = own[132] = own[136] = true;
	}
	if (own[255])
		other = 0;
	for (int proto = 0; proto < 256; proto++) {
		if (!own[proto] && !other)
			other = lower_service(l, 4, proto);
		offs[proto] = own[proto] ? lower_service(l, 4, proto) : other;
		offs[256 + proto] = proto == 1 || proto == 58 ? lower_service(l, 6, proto) : offs[proto];
	}
	l->dir->svc = image_add(l->im, offs, sizeof(offs), 8);
}
