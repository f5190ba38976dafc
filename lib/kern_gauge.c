/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_gauge.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "diag.h"

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void add_counter(struct fw_counter *sum, const struct fw_counter *c)
{
	sum->allowed += c->allowed;
	sum->denied += c->denied;
	sum->limited += c->limited;
	sum->flow += c->flow;
	sum->bytes_passed += c->bytes_passed;
	sum->bytes_dropped += c->bytes_dropped;
	sum->calls += c->calls;
	sum->lost += c->lost;
}

/* read_counter(fd, id, cpus, room, sum): 0, or -1 with errno. An id beyond the map has counted nothing. */
static int read_counter(int fd, uint32_t id, int cpus, struct fw_counter *room, struct fw_counter *sum)
{
	*sum = (struct fw_counter){};
	if (bpf_map_lookup_elem(fd, &id, room))
		return errno == ENOENT ? 0 : -1;
	for (int cpu = 0; cpu < cpus; cpu++)
		add_counter(sum, &room[cpu]);
	return 0;
}

static void describe_rule(struct rule_gauge *r, const struct meta *m, const struct fw_meta_rule *from)
{
	const char *name = meta_string(m, from->name);

	r->id = from->id;
	r->file = meta_string(m, from->file);
	r->line = from->line;
	r->priority = from->priority;
	r->action = from->action;
	r->directions = from->directions;
	if (name && *name)
		snprintf(r->name, sizeof(r->name), "%s", name);
	else
		snprintf(r->name, sizeof(r->name), "rule_%u", from->id);
}

int gauge_rules(struct gauges *g, const struct view *v)
{
	int cpus = libbpf_num_possible_cpus(), status = -1, fd = -1;
	struct fw_counter *room = NULL;
	struct map_facts facts;

	fd = view_map(v, "counters", 0, &facts);
	if (fd < 0 || cpus < 1) {
		complain("cannot open map counters of instance %s: %m", v->instance);
		goto out;
	}
	if (facts.type != BPF_MAP_TYPE_PERCPU_ARRAY || facts.value_size != sizeof(*room)) {
		complain("map counters of instance %s has another layout: loaded by another version?",
			 v->instance);
		goto out;
	}
	room = calloc((size_t)cpus, sizeof(*room));
	g->rules = calloc(g->meta->head->n_rules + 1ul, sizeof(*g->rules));
	if (!room || !g->rules) {
		complain("out of memory");
		goto out;
	}
	for (uint32_t id = 0; id < FW_RULE_ID_FIRST; id++)
		if (read_counter(fd, id, cpus, room, &g->unruled[id]))
			goto unreadable;
	for (; g->n_rules < g->meta->head->n_rules; g->n_rules++) {
		struct rule_gauge *r = &g->rules[g->n_rules];

		describe_rule(r, g->meta, &g->meta->rules[g->n_rules]);
		if (read_counter(fd, r->id, cpus, room, &r->sum))
			goto unreadable;
	}
	status = 0;
	goto out;
unreadable:
	complain("cannot read map counters of instance %s: %m", v->instance);
out:
	free(room);
	if (fd >= 0)
		close(fd);
	return status;
}

static int read_all(struct gauges *g, const struct view *v)
{
	const char *why;

	g->meta = view_meta(v, &why);
	if (!g->meta) {
		complain("cannot read map meta of instance %s: %s", v->instance, why);
		return -1;
	}
	gauges_word(g, v->control->word, clock_ns(CLOCK_BOOTTIME) / 1000000);
	if (gauge_slots(g, v) || gauge_state(g, v) || gauge_flows(g, v) || gauge_limits(g, v) || gauge_maps(g, v) || gauge_rings(g, v) || gauge_rules(g, v) ||
	    gauge_hooks(g, v))
		return -1;
	gauges_sum(g);
	return 0;
}

int gauges_read(struct gauges *g, const char *instance)
{
	struct view v = VIEW_NONE;
	int status;

	*g = (struct gauges){.time = clock_ns(CLOCK_REALTIME)};
	status = view_open(&v, instance, VIEW_WATCH);
	if (!status) {
		memcpy(g->instance, v.instance, sizeof(g->instance));
		status = read_all(g, &v) ? EXIT_SYSTEM : 0;
	}
	view_close(&v);
	return status;
}
