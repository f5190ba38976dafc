/* SPDX-License-Identifier: GPL-2.0-only */
#include "stat_check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "out_stat.h"

static const char *const state_names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};

#define FINDINGS_SHOWN 5

struct verdict {
	enum check_state state;
	unsigned int n;	 /* findings so far */
	char text[1024]; /* the first of the worst state */
};

/* find(v, state, fmt, ...): a finding. Findings of a worse state replace what stood there. */
static void __attribute__((format(printf, 3, 4)))
find(struct verdict *v, enum check_state state, const char *fmt, ...)
{
	size_t used;
	va_list ap;

	if (state < v->state)
		return;
	if (state > v->state) {
		v->state = state;
		v->n = 0;
		v->text[0] = 0;
	}
	if (v->n++ >= FINDINGS_SHOWN)
		return;
	used = strlen(v->text);
	used += (size_t)snprintf(v->text + used, sizeof(v->text) - used, "%s", v->n > 1 ? ", " : "");
	if (used >= sizeof(v->text))
		return;
	va_start(ap, fmt);
	vsnprintf(v->text + used, sizeof(v->text) - used, fmt, ap);
	va_end(ap);
}

static void find_fill(struct verdict *v, const struct check_limits *limits, const char *what, double ratio)
{
	if (ratio >= limits->critical)
		find(v, CHECK_CRITICAL, "%s %.1f%% full", what, 100 * ratio);
	else if (ratio >= limits->warning)
		find(v, CHECK_WARNING, "%s %.1f%% full", what, 100 * ratio);
}

static void find_rings(struct verdict *v, const struct gauges *g, const struct check_limits *limits)
{
	char name[24];

	for (size_t i = 0; i < g->n_rings; i++) {
		const struct ring_gauge *r = &g->rings[i];

		snprintf(name, sizeof(name), FW_RING_DIR, (int)r->number);
		/* What nobody reads hurts nobody by being full. */
		if (r->state == RING_READ) {
			find_fill(v, limits, name, fill_ratio(r->used, r->size));
			if (r->lost)
				find(v, CHECK_WARNING, "%" PRIu64 " events lost by %s", r->lost, name);
		} else if (r->state == RING_ABANDONED) {
			find(v, CHECK_WARNING, "%s was left by a killed reader", name);
		}
	}
}

static void find_all(struct verdict *v, const struct gauges *g, const struct check_limits *limits)
{
	if (!g->active)
		find(v, CHECK_CRITICAL, "no policy is active");
	if (!g->n_hooks)
		find(v, CHECK_CRITICAL, "no hook is attached");
	for (size_t i = 0; i < g->n_hooks; i++)
		if (!g->hooks[i].up)
			find(v, CHECK_CRITICAL, "%s on %s gone: %s", g->hooks[i].hook, g->hooks[i].target,
			     g->hooks[i].detail);
	for (size_t i = 0; i < g->n_maps; i++)
		if (g->maps[i].by_traffic)
			find_fill(v, limits, g->maps[i].name,
				  fill_ratio(g->maps[i].entries, g->maps[i].capacity));
	find_rings(v, g, limits);
}

/* A bar would begin the performance data. */
static void put_text(FILE *f, char *s)
{
	for (char *p = s; *p; p++)
		if (*p == '|')
			*p = '/';
	out_safe(f, s);
}

static void perfdata(FILE *f, const struct gauges *g, const struct check_limits *limits)
{
	uint64_t lost = 0;

	fputs(" |", f);
	for (size_t i = 0; i < g->n_maps; i++)
		if (g->maps[i].by_traffic)
			fprintf(f, " %s=%.1f%%;%g;%g;0;100", g->maps[i].name,
				100 * fill_ratio(g->maps[i].entries, g->maps[i].capacity),
				100 * limits->warning, 100 * limits->critical);
	for (size_t i = 0; i < g->n_rings; i++) {
		fprintf(f, " " FW_RING_DIR "=%.1f%%;%g;%g;0;100", (int)g->rings[i].number,
			100 * fill_ratio(g->rings[i].used, g->rings[i].size), 100 * limits->warning,
			100 * limits->critical);
		lost += g->rings[i].lost;
	}
	fprintf(f, " events_lost=%" PRIu64 "c flows_full=%lluc flows_evicted=%lluc", lost, g->state.flows_full,
		g->state.flows_evicted);
	for (int i = 0; i < FW_VERDICT_COUNT; i++)
		fprintf(f, " %s=%" PRIu64 "c", verdict_names[i], g->verdicts[i]);
	fprintf(f, " memory=%" PRIu64 "B\n", g->memory);
}

enum check_state stat_check(FILE *f, const struct gauges *g, const struct check_limits *limits)
{
	struct verdict v = {};

	find_all(&v, g, limits);
	fprintf(f, "FW %s - ", state_names[v.state]);
	if (v.n)
		put_text(f, v.text);
	else
		fprintf(f, "generation %u, %zu rules, %zu hooks attached", g->generation, g->n_rules,
			g->n_hooks);
	if (v.n > FINDINGS_SHOWN)
		fprintf(f, " and %u more", v.n - FINDINGS_SHOWN);
	perfdata(f, g, limits);
	return v.state;
}

enum check_state stat_check_unknown(FILE *f, const char *why)
{
	char text[512];

	snprintf(text, sizeof(text), "%.*s", (int)strcspn(why, "\n"), why);
	fprintf(f, "FW %s - ", state_names[CHECK_UNKNOWN]);
	put_text(f, *text ? text : (strcpy(text, "no reason given"), text));
	fputc('\n', f);
	return CHECK_UNKNOWN;
}
