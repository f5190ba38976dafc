/* SPDX-License-Identifier: GPL-2.0-only */
#include "meta.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash(uint32_t id)
{
	return id * 2654435761u >> 7; /* Knuth's multiplicative hash; the low bits are the weak ones */
}

/* table_at(m, off, count, size): the ${count} elements of ${size} bytes at ${off}; NULL unless all lie inside
 * the blob and are aligned. An empty table may be anywhere. */
static const void *table_at(const struct meta *m, uint32_t off, uint32_t count, size_t size)
{
	if (!count)
		return m->blob;
	if (off % 8 || off < sizeof(struct fw_meta) || off > m->len || count > (m->len - off) / size)
		return NULL;
	return m->blob + off;
}

static int index_rules(struct meta *m)
{
	uint32_t n = m->head->n_rules, slots = 16;

	while (slots < n * 2ull)
		slots *= 2;
	m->index = calloc(slots, sizeof(*m->index));
	if (!m->index)
		return -1;
	m->mask = slots - 1;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t h = hash(m->rules[i].id) & m->mask;

		while (m->index[h] && m->rules[m->index[h] - 1].id != m->rules[i].id)
			h = (h + 1) & m->mask;
		if (!m->index[h])
			m->index[h] = i + 1;
	}
	return 0;
}

static const char *check(struct meta *m)
{
	m->head = (const struct fw_meta *)m->blob;
	if (m->len < sizeof(*m->head) || m->head->magic != FW_META_MAGIC)
		return "not a meta blob";
	if (m->head->abi != FW_ABI)
		return "made by a version with another layout (ABI)";
	if (m->head->size < sizeof(*m->head) || m->head->size > m->len)
		return "damaged: size out of range";
	/* What follows the size is padding of the map's value: not part of the blob. */
	m->len = m->head->size;
	m->blob[m->len] = 0;
	m->rules = table_at(m, m->head->rules, m->head->n_rules, sizeof(*m->rules));
	m->links = table_at(m, m->head->links, m->head->n_links, sizeof(*m->links));
	if (!m->rules || !m->links)
		return "damaged: table out of range";
	if (m->head->ir > m->len || m->head->ir_len > m->len - m->head->ir)
		return "damaged: IR out of range";
	return index_rules(m) ? "out of memory" : NULL;
}

struct meta *meta_parse(void *blob, size_t len, const char **why)
{
	struct meta *m = calloc(1, sizeof(*m));
	uint8_t *grown = m ? realloc(blob, len + 1) : NULL;

	*why = "out of memory";
	if (!grown) {
		free(blob);
		free(m);
		return NULL;
	}
	grown[len] = 0; /* so that every string inside ends inside */
	m->blob = grown;
	m->len = len;
	*why = check(m);
	if (*why) {
		meta_free(m);
		return NULL;
	}
	return m;
}

void meta_free(struct meta *m)
{
	if (!m)
		return;
	free(m->index);
	free(m->blob);
	free(m);
}

const char *meta_string(const struct meta *m, uint32_t off)
{
	return off && off < m->len ? (const char *)m->blob + off : NULL;
}

const struct fw_meta_rule *meta_rule(const struct meta *m, uint32_t id)
{
	for (uint32_t h = hash(id) & m->mask; m->index[h]; h = (h + 1) & m->mask)
		if (m->rules[m->index[h] - 1].id == id)
			return &m->rules[m->index[h] - 1];
	return NULL;
}
