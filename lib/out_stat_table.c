/* SPDX-License-Identifier: GPL-2.0-only */
/* The gauges for people: sections of aligned columns, the worst news first. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "diag.h"
#include "flow_set.h"
#include "out_grid.h"
#include "out_stat.h"
#include "policy.h"
#include "put.h"
#include "rfc3339.h"

#define BOLD "\033[1m"
#define RED "\033[1;31m"
#define PLAIN "\033[0m"

struct bytes {
	char text[16];
};

/* 512, 4.0K, 1.5M ... of 1024 */
static struct bytes bytes(uint64_t n)
{
	static const char units[] = "KMGTPE";
	double v = (double)n;
	struct bytes b;
	int u = -1;

	for (; v >= 1023.95 && u < (int)sizeof(units) - 2; u++)
		v /= 1024;
	if (u < 0)
		snprintf(b.text, sizeof(b.text), "%u", (unsigned int)n);
	else
		snprintf(b.text, sizeof(b.text), "%.1f%c", v, units[u]);
	return b;
}

static struct bytes percent(uint64_t used, uint64_t size)
{
	struct bytes b;

	snprintf(b.text, sizeof(b.text), "%.1f%%", 100 * fill_ratio(used, size));
	return b;
}

/* add_text(t, s): a cell with ${s} made harmless. */
static void add_text(struct grid *t, const char *s)
{
	char *buf = malloc(PUT_SAFE_MAX(strlen(s)) + 1);

	if (!buf)
		die(EXIT_SYSTEM, "out of memory");
	*put_safe(buf, s, strlen(s)) = 0;
	grid_add(t, "%s", buf);
	free(buf);
}

static void add_count(struct grid *t, uint64_t n)
{
	grid_add(t, "%" PRIu64, n);
}

static void title(FILE *f, const char *s, const struct out_style *style)
{
	fprintf(f, "\n%s%s%s\n", style->colour ? BOLD : "", s, style->colour ? PLAIN : "");
}

static void alarm_line(FILE *f, const struct out_style *style, const char *s)
{
	fprintf(f, "%s%s%s\n", style->colour ? RED : "", s, style->colour ? PLAIN : "");
}

static void policy(FILE *f, const struct gauges *g, const struct out_style *style)
{
	const struct fw_meta *m = g->meta->head;
	const char *version = meta_string(g->meta, m->version);
	char digest[2 * sizeof(m->digest) + 1], loaded[RFC3339_MAX + 1];

	*put_hex(digest, m->digest, style->verbose ? sizeof(m->digest) : 6) = 0;
	*rfc3339_put(loaded, m->loaded_at, 0) = 0;
	fprintf(f, "instance %s, generation %u, loaded %s by fwload ", g->instance, g->generation, loaded);
	out_safe(f, version ? version : "?");
	fprintf(f, "\npolicy %s, slot %u decides, kernel memory %s\n", digest, g->word.active,
		bytes(g->memory).text);
}

static void trial(FILE *f, const struct gauges *g, const struct out_style *style)
{
	char when[RFC3339_MAX + 1], text[128];

	if (g->word.trial_ms) {
		fprintf(f, "on trial: %" PRIu64 " s left, then ", (g->word.trial_ms + 999) / 1000);
		fprintf(f, g->previous ? "generation %u decides again\n" : "nothing is filtered\n", g->previous);
	} else if (g->previous) {
		fprintf(f, "generation %u is kept for --rollback\n", g->previous);
	}
	if (g->word.candidate)
		fprintf(f, "audit of generation %u: %llu judged, %llu disagree\n", g->candidate, g->audit.judged,
			g->audit.disagreed);
	if (!g->reverted)
		return;
	*rfc3339_put(when, g->reverted_at, 0) = 0;
	snprintf(text, sizeof(text), "generation %u was taken back at %s", g->reverted_generation, when);
	alarm_line(f, style, text);
}

static void head(FILE *f, const struct gauges *g, const struct out_style *style)
{
	if (g->meta)
		policy(f, g, style);
	else
		fprintf(f, "instance %s, kernel memory %s\n", g->instance, bytes(g->memory).text);
	trial(f, g, style);
	if (!g->word.active)
		alarm_line(f, style, "no policy is active: everything passes");
	else if (!g->n_hooks)
		alarm_line(f, style, "no hook is attached");
	for (size_t i = 0; i < g->n_tamper; i++)
		alarm_line(f, style, g->tamper[i].text);
}

static void hooks(FILE *f, const struct gauges *g, const struct out_style *style)
{
	static const struct grid_column columns[] = {
		{"status", GRID_LEFT, 0}, {"hook", GRID_LEFT, 0},   {"target", GRID_SHRINK, 0},
		{"mode", GRID_LEFT, 0},	  {"detail", GRID_LEFT, 0}, {},
	};
	struct grid t;

	if (!g->n_hooks)
		return;
	title(f, "HOOKS", style);
	grid_init(&t, columns);
	for (size_t i = 0; i < g->n_hooks; i++) {
		const struct hook_gauge *h = &g->hooks[i];

		grid_add(&t, "%s", h->unchecked ? "unchecked" : h->up ? "ok" : "GONE");
		grid_add(&t, "%s", h->hook);
		add_text(&t, h->target);
		grid_add(&t, "%s", h->mode);
		add_text(&t, h->detail);
	}
	grid_print(&t, f, style->width);
}

static void add_verdict(struct grid *t, const char *verdict, const char *reason, const char *side, uint64_t n)
{
	grid_add(t, "%s", verdict);
	grid_add(t, "%s", reason);
	grid_add(t, "%s", side);
	add_count(t, n);
}

static void verdicts(FILE *f, const struct gauges *g, const struct out_style *style)
{
	static const struct grid_column columns[] = {
		{"verdict", GRID_LEFT, 0},
		{"reason", GRID_LEFT, 0},
		{"direction", GRID_LEFT, 0},
		{"packets", GRID_RIGHT, 0},
		{},
	};
	struct grid t;

	title(f, "VERDICTS", style);
	grid_init(&t, columns);
	for (int verdict = 0; verdict < FW_VERDICT_COUNT; verdict++) {
		add_verdict(&t, verdict_names[verdict], "all", "all", g->verdicts[verdict]);
		for (int i = 0; i < FW_REASON_COUNT * SIDE_COUNT; i++) {
			uint64_t n = g->packets[i / SIDE_COUNT][verdict][i % SIDE_COUNT];

			if (n)
				add_verdict(&t, "", reason_names[i / SIDE_COUNT], side_names[i % SIDE_COUNT],
					    n);
		}
	}
	grid_print(&t, f, style->width);
	fprintf(f, "bytes passed %s, dropped %s; calls denied %" PRIu64 "\n", bytes(g->bytes_passed).text,
		bytes(g->bytes_dropped).text, g->calls_denied);
}

static void add_source(struct grid *t, const struct rule_gauge *r)
{
	char *text;

	if (!r->file) {
		grid_add(t, "%s", "");
		return;
	}
	if (asprintf(&text, "%s:%u", r->file, r->line) < 0)
		die(EXIT_SYSTEM, "out of memory");
	add_text(t, text);
	free(text);
}

static void rules(FILE *f, const struct gauges *g, const struct out_style *style)
{
	static const struct grid_column columns[] = {
		{"prio", GRID_RIGHT, 0},    {"rule", GRID_SHRINK, 0},
		{"action", GRID_LEFT, 0},   {"direction", GRID_LEFT, 2},
		{"allowed", GRID_RIGHT, 0}, {"flow", GRID_RIGHT, 0},
		{"denied", GRID_RIGHT, 0},  {"limited", GRID_RIGHT, 0},
		{"calls", GRID_RIGHT, 4},   {"passed", GRID_RIGHT, 0},
		{"dropped", GRID_RIGHT, 0}, {"lost", GRID_RIGHT, 3},
		{"source", GRID_SHRINK, 1}, {},
	};
	struct grid t;

	if (!g->n_rules)
		return;
	title(f, "RULES", style);
	grid_init(&t, columns);
	for (size_t i = 0; i < g->n_rules; i++) {
		const struct rule_gauge *r = &g->rules[i];

		grid_add(&t, "%u", r->priority);
		add_text(&t, r->name);
		grid_add(&t, "%s", action_name((enum fw_action)r->action));
		grid_add(&t, "%s", direction_name(r->directions));
		add_count(&t, r->sum.allowed);
		add_count(&t, r->sum.flow);
		add_count(&t, r->sum.denied);
		add_count(&t, r->sum.limited);
		add_count(&t, r->sum.calls);
		grid_add(&t, "%s", bytes(r->sum.bytes_passed).text);
		grid_add(&t, "%s", bytes(r->sum.bytes_dropped).text);
		add_count(&t, r->sum.lost);
		add_source(&t, r);
	}
	grid_print(&t, f, style->width);
}

static void flows(FILE *f, const struct gauges *g, const struct out_style *style)
{
	static const struct grid_column columns[] = {{"state", GRID_LEFT, 0}, {"flows", GRID_RIGHT, 0}, {}};
	struct grid t;
	uint64_t n;

	title(f, "FLOWS", style);
	grid_init(&t, columns);
	grid_add(&t, "all");
	add_count(&t, g->flows.entries);
	for (int state = 0; state < FW_FLOW_STATE_COUNT; state++) {
		if (!flows_in_state(g, state, &n) || !n)
			continue;
		grid_add(&t, "%s", flow_state_names[state]);
		add_count(&t, n);
	}
	grid_print(&t, f, style->width);
	fprintf(f, "room for %u: %s full\n", g->flows.capacity, percent(g->flows.entries, g->flows.capacity).text);
}

static void state(FILE *f, const struct gauges *g, const struct out_style *style)
{
	static const struct grid_column columns[] = {
		{"so far", GRID_LEFT, 0}, {"count", GRID_RIGHT, 0}, {"", GRID_LEFT, 1}, {}};
	const struct fw_state_stats *s = &g->state;
	const struct {
		const char *what, *note;
		uint64_t n;
	} rows[] = {
		{"flows made", "", s->flows_created},
		{"flows expired", "and another took the place", s->flows_expired},
		{"flows evicted", "unanswered or over, for another", s->flows_evicted},
		{"flows cut", "no longer allowed after a reload", s->flows_cut},
		{"packets without room", "on_full", s->flows_full},
		{"ICMP errors", "passed because of a flow", s->related},
		{"datagrams in pieces", "", s->fragments_created},
		{"rate limit keys made", "", s->limits_created},
		{"rate limit keys evicted", "at least", g->limits.evicted},
	};
	struct grid t;

	title(f, "STATE", style);
	grid_init(&t, columns);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		grid_add(&t, "%s", rows[i].what);
		add_count(&t, rows[i].n);
		grid_add(&t, "%s", rows[i].note);
	}
	grid_print(&t, f, style->width);
	fprintf(f, "%" PRIu64 " of %" PRIu64 " rate limit keys are above their limit now\n", g->limits.above,
		g->limits.entries);
}

static void maps(FILE *f, const struct gauges *g, const struct out_style *style)
{
	static const struct grid_column columns[] = {
		{"map", GRID_SHRINK, 0},
		{"type", GRID_LEFT, 0},
		{"entries", GRID_RIGHT, 0},
		{"capacity", GRID_RIGHT, 0},
		{"full", GRID_RIGHT, 0},
		{"memory", GRID_RIGHT, 0},
		{},
	};
	struct grid t;

	title(f, "MAPS", style);
	grid_init(&t, columns);
	for (size_t i = 0; i < g->n_maps; i++) {
		const struct map_gauge *m = &g->maps[i];

		add_text(&t, m->name);
		grid_add(&t, "%s", m->type);
		if (m->counted)
			add_count(&t, m->entries);
		else
			grid_add(&t, "-");
		add_count(&t, m->capacity);
		grid_add(&t, "%s", m->fills ? percent(m->entries, m->capacity).text : "-");
		grid_add(&t, "%s", bytes(m->memory).text);
	}
	grid_print(&t, f, style->width);
}

static const char *slot_use(const struct word_view *w, uint32_t slot)
{
	return slot == w->active     ? w->trial_ms ? "decides, on trial" : "decides"
	       : slot == w->fallback ? w->trial_ms ? "fallback" : "kept"
	       : slot == w->candidate ? "audit"
	       : slot == w->tried     ? "taken back"
				      : "";
}

static void slots(FILE *f, const struct gauges *g, const struct out_style *style)
{
	static const struct grid_column columns[] = {
		{"slot", GRID_LEFT, 0},	 {"generation", GRID_RIGHT, 0},
		{"used", GRID_RIGHT, 0}, {"size", GRID_RIGHT, 0},
		{"full", GRID_RIGHT, 0}, {"memory", GRID_RIGHT, 0},
		{"", GRID_LEFT, 0},	 {},
	};
	struct grid t;

	title(f, "POLICY SLOTS", style);
	grid_init(&t, columns);
	for (size_t i = 0; i < g->n_slots; i++) {
		const struct slot_gauge *s = &g->slots[i];

		grid_add(&t, "%u", s->slot);
		grid_add(&t, "%u", s->generation);
		grid_add(&t, "%s", bytes(s->used).text);
		grid_add(&t, "%s", bytes(s->size).text);
		grid_add(&t, "%s", percent(s->used, s->size).text);
		grid_add(&t, "%s", bytes(s->memory).text);
		grid_add(&t, "%s", slot_use(&g->word, s->slot));
	}
	grid_print(&t, f, style->width);
}

static void rings(FILE *f, const struct gauges *g, const struct out_style *style)
{
	static const struct grid_column columns[] = {
		{"ring", GRID_LEFT, 0},	 {"state", GRID_LEFT, 0},
		{"used", GRID_RIGHT, 0}, {"size", GRID_RIGHT, 0},
		{"full", GRID_RIGHT, 0}, {"events sent", GRID_RIGHT, 0},
		{"lost", GRID_RIGHT, 0}, {},
	};
	struct grid t;

	title(f, "EVENT RINGS", style);
	grid_init(&t, columns);
	for (size_t i = 0; i < g->n_rings; i++) {
		const struct ring_gauge *r = &g->rings[i];

		grid_add(&t, "%u", r->number);
		grid_add(&t, "%s", ring_state_names[r->state]);
		grid_add(&t, "%s", bytes(r->used).text);
		grid_add(&t, "%s", bytes(r->size).text);
		grid_add(&t, "%s", percent(r->used, r->size).text);
		add_count(&t, r->sent);
		add_count(&t, r->lost);
	}
	grid_print(&t, f, style->width);
}

void out_stat_table(FILE *f, const struct gauges *g, const struct out_style *style)
{
	head(f, g, style);
	hooks(f, g, style);
	verdicts(f, g, style);
	rules(f, g, style);
	flows(f, g, style);
	state(f, g, style);
	maps(f, g, style);
	slots(f, g, style);
	rings(f, g, style);
}
