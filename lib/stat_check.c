/* SPDX-License-Identifier: GPL-2.0-only */
#include "stat_check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "out_stat.h"
#include "rfc3339.h"

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
			if (r->losing)
				find(v, CHECK_CRITICAL, "%s is losing events (%" PRIu64 " in %g s)", name, r->losing,
				     LOSING_MS / 1000.0);
			if (r->lost)
				find(v, CHECK_WARNING, "%" PRIu64 " events lost by %s", r->lost, name);
		} else if (r->state == RING_ABANDONED) {
			find(v, CHECK_WARNING, "%s was left by a killed reader", name);
		}
	}
}

static void find_hooks(struct verdict *v, const struct gauges *g)
{
	size_t unchecked = 0;

	if (!g->n_hooks && g->word.active)
		find(v, CHECK_CRITICAL, "no hook is attached");
	for (size_t i = 0; i < g->n_hooks; i++) {
		const struct hook_gauge *h = &g->hooks[i];

		if (!h->up)
			find(v, CHECK_CRITICAL, "%s on %s gone: %s", h->hook, h->target, h->detail);
		else if (h->before)
			find(v, CHECK_WARNING, "%u program%s of others before %s on %s", h->before, h->before > 1 ? "s" : "",
			     h->hook, h->target);
		unchecked += h->unchecked;
	}
	if (unchecked)
		find(v, CHECK_WARNING, "%zu of %zu hooks could not be checked: their links are root's alone", unchecked, g->n_hooks);
}

static void find_expected(struct verdict *v, const struct gauges *g, const struct expected *e)
{
	const struct fw_meta *m = g->meta ? g->meta->head : NULL;

	if (e->unread)
		find(v, CHECK_CRITICAL, "%s is no policy that could be loaded", e->file);
	else if (m && memcmp(m->policy, e->policy, sizeof(e->policy)))
		find(v, CHECK_CRITICAL, "the loaded policy is not that of %s", e->file);
	/* a policy that doesn't say where was attached where the command line said */
	else if (m && e->attach && memcmp(m->attached, e->attached, sizeof(e->attached)))
		find(v, CHECK_WARNING, "the loaded policy is attached elsewhere than %s says", e->file);
}

static void find_policy(struct verdict *v, const struct gauges *g, const struct check_limits *limits)
{
	char when[RFC3339_MAX + 1];

	*rfc3339_put(when, g->reverted_at, 0) = 0;
	if (!g->word.active && g->reverted)
		find(v, CHECK_CRITICAL, "no policy is active: generation %u was taken back at %s", g->reverted_generation, when);
	else if (!g->word.active)
		find(v, CHECK_CRITICAL, "no policy is active");
	else if (g->reverted)
		find(v, CHECK_WARNING, "generation %u was taken back at %s, %u decides", g->reverted_generation, when,
		     g->generation);
	if (limits->expect.file)
		find_expected(v, g, &limits->expect);
}

static void find_all(struct verdict *v, const struct gauges *g, const struct check_limits *limits)
{
	find_policy(v, g, limits);
	find_hooks(v, g);
	for (size_t i = 0; i < g->n_tamper; i++)
		find(v, CHECK_CRITICAL, "%s", g->tamper[i].text);
	for (size_t i = 0; i < g->n_maps; i++)
		if (g->maps[i].by_traffic)
			find_fill(v, limits, g->maps[i].name,
				  fill_ratio(g->maps[i].entries, g->maps[i].capacity));
	find_rings(v, g, limits);
}

/* What there is to say when nothing is wrong. */
static void put_fine(FILE *f, const struct gauges *g)
{
	fprintf(f, "generation %u", g->generation);
	if (g->word.trial_ms)
		fprintf(f, " on trial, %" PRIu64 " s left", (g->word.trial_ms + 999) / 1000);
	fprintf(f, ", %zu rules, %zu hooks attached", g->n_rules, g->n_hooks);
	if (g->word.candidate)
		fprintf(f, ", audit of generation %u: %llu of %llu disagree", g->candidate, g->audit.disagreed, g->audit.judged);
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
		put_fine(f, g);
	if (v.n > FINDINGS_SHOWN)
		fprintf(f, " and %u more", v.n - FINDINGS_SHOWN);
	perfdata(f, g, limits);
	return v.state;
}

enum check_state stat_check_failed(FILE *f, enum check_state state, const char *why)
{
	char text[512];

	snprintf(text, sizeof(text), "%.*s", (int)strcspn(why, "\n"), why);
	fprintf(f, "FW %s - ", state_names[state]);
	put_text(f, *text ? text : (strcpy(text, "no reason given"), text));
	fputc('\n', f);
	return state;
}
