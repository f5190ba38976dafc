/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows by state, what happened to them, and the keys of rate limits. */
#include "kern_gauge.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "boot_clock.h"
#include "diag.h"
#include "kern_flow_list.h"
#include "kern_slot.h"

int gauge_flows(struct gauges *g, const struct view *v)
{
	struct flow_gauges *to = &g->flows;
	struct flow_entry e;
	struct flow_view f;
	size_t at = 0;
	int err = flow_view_open(&f, v, FLOW_COUNT) ? -1 : 0;

	while (!err && flow_set_next(&f.set, &at, &e)) {
		if (e.expired)
			continue;
		to->by_state[FW_FLOW_STATE(e.word)]++;
		to->entries++;
	}
	to->capacity = f.set.head.max_flows;
	flow_view_close(&f);
	return err;
}

static void add_state(struct fw_state_stats *sum, const struct fw_state_stats *s)
{
	sum->flows_created += s->flows_created;
	sum->flows_expired += s->flows_expired;
	sum->flows_evicted += s->flows_evicted;
	sum->flows_full += s->flows_full;
	sum->flows_cut += s->flows_cut;
	sum->fragments_created += s->fragments_created;
	sum->limits_created += s->limits_created;
	sum->related += s->related;
}

/* read_cpus(v, name, size, cpus): the element of the per-CPU array ${name}, ${size} bytes for each of ${*cpus}, to be
 * free()d; NULL after complaining. */
static void *read_cpus(const struct view *v, const char *name, size_t size, int *cpus)
{
	struct map_facts facts;
	uint32_t zero = 0;
	void *room = NULL;
	int fd = view_map(v, name, 0, &facts);

	*cpus = libbpf_num_possible_cpus();
	if (fd < 0 || *cpus < 1) {
		complain("cannot open map %s of instance %s: %m", name, v->instance);
	} else if (facts.type != BPF_MAP_TYPE_PERCPU_ARRAY || facts.value_size != size) {
		complain("map %s of instance %s has another layout: loaded by another version?", name, v->instance);
	} else {
		room = calloc((size_t)*cpus, size);
		if (!room || bpf_map_lookup_elem(fd, &zero, room)) {
			complain("cannot read map %s of instance %s: %m", name, v->instance);
			free(room);
			room = NULL;
		}
	}
	if (fd >= 0)
		close(fd);
	return room;
}

int gauge_state(struct gauges *g, const struct view *v)
{
	int cpus;
	struct fw_state_stats *s = read_cpus(v, "state_stats", sizeof(*s), &cpus);

	for (int cpu = 0; s && cpu < cpus; cpu++)
		add_state(&g->state, &s[cpu]);
	free(s);
	return s ? 0 : -1;
}

int gauge_audit(struct gauges *g, const struct view *v)
{
	int cpus;
	struct fw_audit_stats *s = read_cpus(v, "audit_stats", sizeof(*s), &cpus);

	for (int cpu = 0; s && cpu < cpus; cpu++) {
		g->audit.judged += s[cpu].judged;
		g->audit.disagreed += s[cpu].disagreed;
	}
	free(s);
	return s ? 0 : -1;
}

/* What is needed to say of a key whether it is above its limit. */
struct limits {
	struct limit_gauges *to;
	struct slot_view slot;
	uint64_t now; /* CLOCK_BOOTTIME ns, as arrival times */
};

/* As the programs would refuse its next packet (limit.h). Rules come and go, keys stay: without a limit nothing is
 * refused. */
static bool is_above(const struct limits *l, const struct fw_limit_key *key, uint64_t arrival)
{
	struct fw_rate rate;

	return arrival > l->now && slot_rate(&l->slot, key->rule, &rate) && arrival - l->now > rate.tolerance;
}

static void count_limits(void *ctx, const void *keys, const void *values, uint32_t n)
{
	const struct fw_limit_key *key = keys;
	const uint64_t *arrival = values;
	struct limits *l = ctx;

	if (!n)
		l->to->above = 0;
	for (uint32_t i = 0; i < n; i++)
		l->to->above += is_above(l, &key[i], arrival[i]);
}

int gauge_limits(struct gauges *g, const struct view *v)
{
	struct limits l = {.to = &g->limits};
	struct map_facts facts;
	int fd = view_map(v, "limits", 0, &facts), err = -1;

	l.now = boot_ns();
	if (fd < 0 || slot_open(&l.slot, v, g->word.active)) {
		complain("cannot read map limits of instance %s: %m", v->instance);
	} else if (facts.key_size != sizeof(struct fw_limit_key) || facts.value_size != sizeof(uint64_t)) {
		complain("map limits of instance %s has another layout: loaded by another version?", v->instance);
	} else {
		err = map_visit(fd, &facts, count_limits, &l, &l.to->entries);
		if (err)
			complain("cannot read map limits of instance %s: %m", v->instance);
	}
	slot_close(&l.slot);
	if (fd >= 0)
		close(fd);
	return err;
}
