/* SPDX-License-Identifier: GPL-2.0-only */
/* The meta blob, and the ring's consumer on plain memory. TAP. */
#include <stdlib.h>

#include "lib/event_names.h"
#include "lib/kern_ring.h"
#include "tests/tap.h"

/* ---- meta ---- */

static uint8_t *meta_blob(size_t *len, uint32_t rules)
{
	size_t strings = sizeof(struct fw_meta) + rules * sizeof(struct fw_meta_rule);
	struct fw_meta *m;
	struct fw_meta_rule *r;

	*len = strings + 64;
	m = calloc(1, *len);
	*m = (struct fw_meta){.magic = FW_META_MAGIC,
			      .abi = FW_ABI,
			      .size = (uint32_t)*len,
			      .generation = 5,
			      .n_rules = rules,
			      .rules = sizeof(*m)};
	strcpy((char *)m + strings, "ssh");
	strcpy((char *)m + strings + 8, "web.yaml");
	r = (struct fw_meta_rule *)(m + 1);
	for (uint32_t i = 0; i < rules; i++)
		r[i] = (struct fw_meta_rule){.id = 64 + i * 3,
					     .name = (uint32_t)strings,
					     .file = (uint32_t)strings + 8,
					     .line = i,
					     .priority = 10};
	return (uint8_t *)m;
}

static void test_meta(void)
{
	struct event_names *names = event_names_new();
	struct fw_event e = {.generation = 5};
	struct event ev = {};
	const char *why;
	size_t len;
	uint8_t *first = meta_blob(&len, 1000);
	struct meta *m = meta_parse(first, len, &why);
	bool all = m != NULL;

	if (!ok(all, "meta: read (%s)", why ? why : "well"))
		return;
	for (uint32_t i = 0; all && i < 1000; i++)
		all = meta_rule(m, 64 + 3 * i) == &m->rules[i] && !meta_rule(m, 65 + 3 * i);
	ok(all, "meta: every rule is found by its id");
	ok(!meta_string(m, (uint32_t)len) && !meta_string(m, 0), "meta: strings outside are none");
	event_names_meta(names, m);
	ok(event_names_knows(names, 5) && !event_names_knows(names, 6), "meta: generation");
	e.rule = 67;
	event_names_fill(names, &e, &ev);
	ok(ev.rule &&
		   !memcmp(ev.rule->json, ",\"rule\":\"ssh\",\"priority\":10,\"rule_source\":\"web.yaml:1\"",
			   ev.rule->json_len),
	   "meta: name, priority, source");
	e.rule = 65;
	event_names_fill(names, &e, &ev);
	ok(!ev.rule, "meta: an unknown id has no rule");
	event_names_free(names);
	/* every byte of the head damaged in turn: refused or harmless, never out of bounds (sanitizers) */
	for (size_t i = 0; i < sizeof(struct fw_meta) + 48; i++)
		for (int v = 0; v < 256; v += 15) {
			uint8_t *blob = meta_blob(&len, 2);

			blob[i] = (uint8_t)v;
			m = meta_parse(blob, len, &why);
			for (uint32_t r = 0; m && r < m->head->n_rules; r++) {
				const char *s = meta_string(m, m->rules[r].name);

				meta_rule(m, m->rules[r].id);
				all &= !s || strlen(s) < len;
			}
			meta_free(m);
		}
	ok(all, "meta: damaged heads");
	ok(!meta_parse(calloc(1, 8), 8, &why), "meta: too short");
}

/* ---- ring on plain memory ---- */

struct model {
	_Alignas(8) uint8_t data[256];
	uint64_t consumer, producer, next;
	struct ring ring;
	uint64_t got;
	bool wrong;
};

static void produce(struct model *m, uint32_t len, uint32_t bits)
{
	uint64_t pos = m->producer;
	uint32_t word = len | bits;

	memcpy(m->data + (pos & 255), &word, 4);
	for (uint32_t i = 0; i < len; i++)
		m->data[(pos + 8 + i) & 255] = (uint8_t)(bits & RING_DISCARD ? 0xee : m->next + i);
	m->next += !(bits & RING_DISCARD);
	m->producer += (8 + len + 7) & ~7ull;
}

static bool take(void *ctx, const void *record, size_t len)
{
	struct model *m = ctx;
	const uint8_t *b = record;

	for (size_t i = 0; i < len; i++)
		m->wrong |= b[i] != (uint8_t)(m->got + i);
	m->got++;
	return false;
}

static bool take_one(void *ctx, const void *record, size_t len)
{
	take(ctx, record, len);
	return true;
}

static void test_ring(void)
{
	struct model m = {};
	bool all = true;

	m.ring = (struct ring){.consumer = &m.consumer, .producer = &m.producer, .data = m.data, .size = 256};
	for (int round = 0; round < 10000; round++) {
		uint32_t a = (uint32_t)(random64() % 60), b = (uint32_t)(random64() % 60);

		produce(&m, a, random64() % 4 ? 0 : RING_DISCARD);
		produce(&m, b, 0);
		all &= ring_drain(&m.ring, 1, take, &m) == 1;
		all &= ring_drain(&m.ring, 9, take, &m) == 1;
		all &= m.consumer == m.producer;
	}
	ok(all && !m.wrong && m.got == m.next, "ring: records of all lengths, wrapped and discarded");
	produce(&m, 8, 0);
	produce(&m, 8, RING_BUSY);
	produce(&m, 8, 0);
	ok(ring_drain(&m.ring, 9, take, &m) == 1 && ring_drain(&m.ring, 9, take, &m) == 0,
	   "ring: stops at a busy record");
	ring_empty(&m.ring);
	ok(m.consumer != m.producer, "ring: emptying doesn't pass a busy record");
	m.consumer = m.producer;
	m.got = m.next;
	for (int i = 0; i < 3; i++)
		produce(&m, 8, 0);
	ok(ring_drain(&m.ring, 9, take_one, &m) == 1 && m.producer - m.consumer == 32,
	   "ring: the callback stops it");
	ok(ring_drain(&m.ring, 1, take, &m) == 1 && m.producer - m.consumer == 16,
	   "ring: a round is bounded");
	ring_empty(&m.ring);
	ok(m.consumer == m.producer && ring_drain(&m.ring, 9, take, &m) == 0, "ring: emptied");
	m.producer += 512;
	ok(ring_drain(&m.ring, 9, take, &m) == -1, "ring: positions that make no sense");
	m.producer = m.consumer + 16;
	memcpy(m.data + (m.consumer & 255), &(uint32_t){4000}, 4);
	ok(ring_drain(&m.ring, 9, take, &m) == -1, "ring: a record longer than what was written");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_meta();
	test_ring();
	return done();
}
