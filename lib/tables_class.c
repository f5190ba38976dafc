/* SPDX-License-Identifier: GPL-2.0-only */
/* Classes: sets of rules as the records of bpf/tables_abi.h, built by turning single rules on and off. */
#include <stdlib.h>
#include <string.h>

#include "tables_build.h"

#define LINE_WORDS 8

void class_init(struct class *c, struct pool *pool, uint32_t n_rules)
{
	memset(c, 0, sizeof(*c));
	c->pool = pool;
	c->n_rules = n_rules;
	/* finest grain for which one summary word does; beyond the coarsest, more summary words */
	while (c->shift < FW_SHIFT_MAX && n_rules > 4096u << c->shift)
		c->shift++;
	c->n_super = n_rules ? (n_rules - 1) / (4096u << c->shift) + 1 : 1;
	c->n_lines = n_rules ? (n_rules - 1) / (64 * LINE_WORDS) + 1 : 1;
	c->n_words = c->n_lines * LINE_WORDS;
	c->bits = xalloc(c->n_words, sizeof(*c->bits));
	c->lines = xalloc(c->n_lines, sizeof(*c->lines));
	c->dirty = xalloc(c->n_lines, sizeof(*c->dirty));
	c->dirty_list = xalloc(c->n_lines, sizeof(*c->dirty_list));
	c->supers = xalloc(c->n_super, sizeof(*c->supers));
	c->compact = xalloc(sizeof(*c->supers) + 64 + c->n_lines * sizeof(*c->lines), 1);
	for (uint32_t i = 0; i < c->n_lines; i++) {
		c->dirty[i] = true;
		c->dirty_list[c->n_dirty++] = i;
	}
}

void class_free(struct class *c)
{
	free(c->bits);
	free(c->lines);
	free(c->dirty);
	free(c->dirty_list);
	free(c->supers);
	free(c->compact);
	memset(c, 0, sizeof(*c));
}

static uint64_t mix(uint64_t x)
{
	/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014) */
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

void zobrist(uint64_t i, uint64_t hash[2])
{
	hash[0] ^= mix(i);
	hash[1] ^= mix(~i);
}

void class_flip(struct class *c, uint32_t rule)
{
	uint32_t line = rule / (64 * LINE_WORDS);

	c->bits[rule / 64] ^= 1ULL << rule % 64;
	zobrist(rule, c->hash);
	if (!c->dirty[line]) {
		c->dirty[line] = true;
		c->dirty_list[c->n_dirty++] = line;
	}
}

bool class_has(const struct class *c, uint32_t rule)
{
	return c->bits[rule / 64] >> rule % 64 & 1;
}

void class_set(struct class *c, uint32_t rule, bool on)
{
	if (class_has(c, rule) != on)
		class_flip(c, rule);
}

/* Summary bits and line offsets of one line. */
static void refresh_line(struct class *c, uint32_t line)
{
	uint32_t per_bit = 1u << c->shift;
	uint64_t *words = c->bits + line * LINE_WORDS;

	for (uint32_t w = 0; w < LINE_WORDS; w += per_bit) {
		uint32_t bit = (line * LINE_WORDS + w) >> c->shift;
		uint64_t any = 0, mask = 1ULL << bit % 64;

		for (uint32_t k = 0; k < per_bit; k++)
			any |= words[w + k];
		if (any)
			c->supers[bit / 64].summary |= mask;
		else
			c->supers[bit / 64].summary &= ~mask;
	}
	c->lines[line] = pool_add(c->pool, words, LINE_WORDS * 8, 64);
}

/* One summary word: what is looked up next goes with it. */
static uint32_t record_compact(struct class *c)
{
	struct fw_super head = { .summary = c->supers[0].summary };
	uint8_t *behind = c->compact + sizeof(head);
	size_t words = 8u << c->shift, n = c->n_lines * sizeof(*c->lines);

	if (!(head.summary & (head.summary - 1))) {
		head.single = 1;
		n = head.summary ? words : 0;
		if (n)
			memcpy(behind, c->bits + ((size_t)__builtin_ctzll(head.summary) << c->shift), n);
	} else {
		memcpy(behind, c->lines, n);
	}
	memcpy(c->compact, &head, sizeof(head));
	return pool_add(c->pool, c->compact, sizeof(head) + n, head.single && n < 48 ? 2 * words : 16);
}

uint32_t class_record(struct class *c)
{
	uint32_t per_super = 8u << c->shift; /* lines */

	for (uint32_t i = 0; i < c->n_dirty; i++) {
		uint32_t line = c->dirty_list[i];

		refresh_line(c, line);
		c->dirty[line] = false;
		c->supers[line / per_super].single = 1; /* mark: its array must be stored anew */
	}
	c->n_dirty = 0;
	if (c->n_super == 1)
		return record_compact(c);
	for (uint32_t s = 0; s < c->n_super; s++) {
		uint32_t from = s * per_super, n = c->n_lines - from;

		if (!c->supers[s].single)
			continue;
		if (n > per_super)
			n = per_super;
		c->supers[s].single = 0;
		c->supers[s].lines = pool_add(c->pool, c->lines + from, n * sizeof(*c->lines), 8);
	}
	return pool_add(c->pool, c->supers, c->n_super * sizeof(*c->supers), 16);
}

static void seen_rehash(struct seen *s)
{
	struct seen_slot *old = s->slots;
	size_t room = s->room;

	s->room = room ? room * 2 : 256;
	s->slots = xalloc(s->room, sizeof(*s->slots));
	for (size_t i = 0; i < room; i++) {
		size_t at = old[i].hash[0] & (s->room - 1);

		if (!old[i].used)
			continue;
		while (s->slots[at].used)
			at = (at + 1) & (s->room - 1);
		s->slots[at] = old[i];
	}
	free(old);
}

bool seen_get(struct seen *s, const uint64_t hash[2], uint32_t **value)
{
	struct seen_slot *e;
	size_t at;

	if (s->n * 2 >= s->room)
		seen_rehash(s);
	for (at = hash[0] & (s->room - 1);; at = (at + 1) & (s->room - 1)) {
		e = &s->slots[at];
		if (!e->used)
			break;
		if (e->hash[0] == hash[0] && e->hash[1] == hash[1]) {
			*value = &e->value;
			return true;
		}
	}
	*e = (struct seen_slot){ .hash = { hash[0], hash[1] }, .used = 1 };
	s->n++;
	*value = &e->value;
	return false;
}

void seen_free(struct seen *s)
{
	free(s->slots);
	memset(s, 0, sizeof(*s));
}
