/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_gauge.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bpf/tables_abi.h"
#include "diag.h"
#include "kern_slot.h"

#define BATCH 4096 /* keys asked for at once */
#define BATCH_MAX (1u << 24)

uint64_t map_memory(int fd)
{
	char path[40], line[128];
	uint64_t bytes = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "memlock: %" SCNu64, &bytes) == 1)
			break;
	if (f)
		fclose(f);
	return bytes;
}

/* walk(fd, facts, n): key by key, for maps without batches. When an entry vanishes under us the kernel starts
 * again from the first, so more than the capacity means nothing. */
static int walk(int fd, const struct map_facts *facts, uint64_t *n)
{
	void *keys = calloc(2, facts->key_size), *next = keys, *at = NULL;
	int err = keys ? 0 : -1;

	for (*n = 0; keys && *n < facts->max_entries; ++*n) {
		err = bpf_map_get_next_key(fd, at, next);
		if (err)
			break;
		at = next;
		next = at == keys ? (char *)keys + facts->key_size : keys;
	}
	if (err && keys && errno == ENOENT)
		err = 0;
	free(keys);
	return err ? -1 : 0;
}

static size_t value_room(const struct map_facts *facts)
{
	size_t size = (facts->value_size + 7ul) & ~7ul;
	int cpus = libbpf_num_possible_cpus();

	if (facts->type == BPF_MAP_TYPE_PERCPU_HASH || facts->type == BPF_MAP_TYPE_LRU_PERCPU_HASH)
		size *= cpus > 0 ? (size_t)cpus : 1;
	return size;
}

/* batches(fd, facts, room, visit, ctx, n): 0; ENOSPC when ${room} keys don't take one bucket of the hash; other errno
 * values when the map has no batches. */
static int batches(int fd, const struct map_facts *facts, uint32_t room, map_visitor *visit, void *ctx, uint64_t *n)
{
	size_t key = facts->key_size > 8 ? facts->key_size : 8;
	char *tokens = calloc(2, key), *in = NULL, *out = tokens;
	void *keys = calloc(room, facts->key_size), *values = calloc(room, value_room(facts));
	int err = ENOMEM;

	*n = 0;
	if (visit)
		visit(ctx, NULL, NULL, 0);
	while (tokens && keys && values) {
		uint32_t count = room;

		err = bpf_map_lookup_batch(fd, in, out, keys, values, &count, NULL) ? errno : 0;
		if (!err || err == ENOENT) {
			*n += count;
			if (visit)
				visit(ctx, keys, values, count);
		}
		if (err)
			break;
		in = out;
		out = in == tokens ? tokens + key : tokens;
	}
	free(tokens);
	free(keys);
	free(values);
	return err == ENOENT ? 0 : err;
}

int map_visit(int fd, const struct map_facts *facts, map_visitor *visit, void *ctx, uint64_t *n)
{
	uint32_t room = facts->max_entries < BATCH ? facts->max_entries : BATCH;
	int err = batches(fd, facts, room, visit, ctx, n);

	while (err == ENOSPC && room < BATCH_MAX)
		err = batches(fd, facts, room *= 4, visit, ctx, n);
	return err ? walk(fd, facts, n) : 0;
}

static bool is_hash(uint32_t type)
{
	return type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_LRU_HASH ||
	       type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LPM_TRIE;
}

static int measure(struct map_gauge *m, const struct gauges *g, int fd, const struct map_facts *facts)
{
	m->type = libbpf_bpf_map_type_str((enum bpf_map_type)facts->type);
	if (!m->type)
		m->type = "unknown";
	m->capacity = facts->max_entries;
	m->memory = map_memory(fd);
	if (is_hash(facts->type)) {
		m->counted = m->fills = m->by_traffic = true;
		m->entries = g->limits.entries;
		return strcmp(m->name, "limits") ? map_visit(fd, facts, NULL, NULL, &m->entries) : 0;
	}
	if (!strcmp(m->name, "flows")) {
		m->counted = m->fills = m->by_traffic = true;
		m->entries = g->flows.entries;
		m->capacity = g->flows.capacity; /* there are more places, because some buckets fill before others */
		return 0;
	}
	if (!strcmp(m->name, "counters") || !strcmp(m->name, "log_limits")) {
		m->counted = m->fills = true; /* the ids before the first rule's are taken, too */
		m->entries = FW_RULE_ID_FIRST + (g->meta ? g->meta->head->n_rules : 0);
	} else if (!strcmp(m->name, "arenas")) {
		m->counted = true;
		m->entries = g->n_slots;
	} else if (!strcmp(m->name, "rings")) {
		m->counted = true;
		m->entries = FW_RINGS;
	}
	return 0;
}

static int wanted(const struct dirent *d)
{
	/* the images are counted as slots */
	bool image = !strncmp(d->d_name, SLOT_PIN, strlen(SLOT_PIN)) && strcmp(d->d_name, "arenas");

	return d->d_type != DT_DIR && d->d_name[0] != '.' && !image;
}

static int add_map(struct gauges *g, const struct view *v, const char *name)
{
	struct map_gauge *m = &g->maps[g->n_maps];
	struct map_facts facts;
	int fd = view_map(v, name, 0, &facts), err;

	if (fd < 0 && errno == ENOENT) /* a loader's temporary name */
		return 0;
	snprintf(m->name, sizeof(m->name), "%.*s", GAUGE_NAME_MAX, name);
	err = fd < 0 ? -1 : measure(m, g, fd, &facts);
	if (err)
		complain("cannot read map %s of instance %s: %m", name, v->instance);
	if (fd >= 0)
		close(fd);
	g->memory += m->memory;
	g->n_maps++;
	return err;
}

int gauge_maps(struct gauges *g, const struct view *v)
{
	struct dirent **names = NULL;
	int n = scandirat(v->maps, ".", &names, wanted, alphasort), err = 0;

	if (n < 0) {
		complain("cannot list the maps of instance %s: %m", v->instance);
		return -1;
	}
	g->maps = calloc((size_t)n + 1, sizeof(*g->maps));
	if (!g->maps) {
		complain("out of memory");
		err = -1;
	}
	for (int i = 0; i < n; i++) {
		if (!err)
			err = add_map(g, v, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return err;
}
