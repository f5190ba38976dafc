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

#include "boot_clock.h"
#include "diag.h"

#define STEADY_TRIES 5
#define NAP_MS 100

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
	uint32_t n;

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
	n = g->meta ? g->meta->head->n_rules : 0;
	room = calloc((size_t)cpus, sizeof(*room));
	g->rules = calloc(n + 1ul, sizeof(*g->rules));
	if (!room || !g->rules) {
		complain("out of memory");
		goto out;
	}
	for (uint32_t id = 0; id < FW_RULE_ID_FIRST; id++)
		if (read_counter(fd, id, cpus, room, &g->unruled[id]))
			goto unreadable;
	for (; g->n_rules < n; g->n_rules++) {
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

static int read_all(struct gauges *g, const struct view *v, enum gauge_depth depth)
{
	const volatile struct fw_control *now = view_control(v);
	struct fw_control c = {.word = now->word, .reverted_at = now->reverted_at, .reverted = now->reverted};
	const char *why, *lacks = view_lacks(v->instance);

	gauges_control(g, &c, boot_ms());
	if (depth == GAUGE_CHECK && lacks)
		gauges_tamper(g, "the pin %s is missing", lacks);
	g->meta = g->word.active ? view_meta_slot(v, g->word.active, &why) : NULL;
	if (g->word.active && !g->meta) {
		complain("cannot read map meta%u of instance %s: %s", g->word.active, v->instance, why);
		g->damaged = true;
		return -1;
	}
	if (gauge_slots(g, v) || gauge_tables(g, v, depth) || gauge_state(g, v) || gauge_audit(g, v) || gauge_flows(g, v) ||
	    gauge_limits(g, v) || gauge_maps(g, v) || gauge_rings(g, v) || gauge_rules(g, v) || gauge_hooks(g, v))
		return -1;
	gauges_sum(g);
	return 0;
}

static void begin(struct gauges *g, const struct view *v)
{
	gauges_free(g);
	g->time = clock_ns(CLOCK_REALTIME);
	memcpy(g->instance, v->instance, sizeof(g->instance));
}

/* read_steady(g, v, depth): read while the word stayed the same, so that what is from different maps is of one load. */
static int read_steady(struct gauges *g, const struct view *v, enum gauge_depth depth)
{
	struct word_view last;
	uint64_t word;
	int err;

	for (int tries = 0;; tries++) {
		word = view_control(v)->word;
		begin(g, v);
		err = read_all(g, v, depth);
		last = view_word(v);
		if (tries == STEADY_TRIES || (word == view_control(v)->word && last.active == g->word.active))
			return err;
	}
}

/* Between the steps of a load programs and pins don't belong together. What looks bad while somebody is at work, or was a
 * moment ago, is looked at again. */
static int read_settled(struct gauges *g, const struct view *v)
{
	int naps = WRITER_WAIT_MS / NAP_MS, err, quiet = 0;

	for (;;) {
		bool at_work = lock_held(v->dir, "") > 0;

		err = read_steady(g, v, GAUGE_CHECK);
		quiet = at_work ? 0 : quiet + 1;
		if ((!err && gauges_sound(g)) || quiet > 1 || !naps)
			return err;
		if (at_work && naps--)
			nanosleep(&(struct timespec){.tv_nsec = NAP_MS * 1000000}, NULL);
	}
}

int gauges_read(struct gauges *g, const char *instance, enum gauge_depth depth)
{
	struct view v = VIEW_NONE;
	int status;

	*g = (struct gauges){};
	status = view_open(&v, instance, VIEW_WATCH);
	if (!status) {
		begin(g, &v);
		status = depth == GAUGE_CHECK ? read_settled(g, &v) : read_steady(g, &v, depth);
		status = status ? EXIT_SYSTEM : 0;
	}
	if (!status && depth == GAUGE_CHECK)
		gauge_losing(g, &v);
	view_close(&v);
	return status;
}
