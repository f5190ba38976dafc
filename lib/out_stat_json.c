/* SPDX-License-Identifier: GPL-2.0-only */
/* The gauges as one JSON object on one line. The keys are those of fwstat(8), and never renamed. */
#include <inttypes.h>

#include "flow_set.h"
#include "out_stat.h"
#include "policy.h"
#include "put.h"
#include "rfc3339.h"

#define EXACT_MAX (1ull << 53) /* above it, readers with floating point would round */

/* A member's key; ${first} begins its object. */
static void key(FILE *f, bool first, const char *name)
{
	fprintf(f, "%s\"%s\":", first ? "{" : ",", name);
}

static void text(FILE *f, bool first, const char *name, const char *value)
{
	key(f, first, name);
	fputc('"', f);
	out_safe(f, value);
	fputc('"', f);
}

static void number(FILE *f, bool first, const char *name, uint64_t v)
{
	key(f, first, name);
	fprintf(f, v > EXACT_MAX ? "\"%" PRIu64 "\"" : "%" PRIu64, v);
}

static void truth(FILE *f, bool first, const char *name, bool v)
{
	key(f, first, name);
	fputs(v ? "true" : "false", f);
}

static void ratio(FILE *f, const char *name, uint64_t used, uint64_t size)
{
	key(f, false, name);
	fprintf(f, "%.6g", fill_ratio(used, size));
}

static void when(FILE *f, const char *name, uint64_t ns)
{
	char buf[RFC3339_MAX + 1];

	*rfc3339_put(buf, ns, 9) = 0;
	text(f, false, name, buf);
}

static void control(FILE *f, const struct gauges *g)
{
	key(f, false, "control");
	number(f, true, "active_slot", g->word.active);
	number(f, false, "fallback_slot", g->word.fallback);
	truth(f, false, "reverted", g->reverted);
	if (g->word.trial_ms) {
		key(f, false, "trial_seconds_left");
		fprintf(f, "%" PRIu64 ".%03u", g->word.trial_ms / 1000, (unsigned int)(g->word.trial_ms % 1000));
	}
	if (g->previous)
		number(f, false, "previous_generation", g->previous);
	if (g->reverted) {
		number(f, false, "reverted_generation", g->reverted_generation);
		when(f, "reverted_at", g->reverted_at);
	}
	fputc('}', f);
	if (!g->word.candidate)
		return;
	key(f, false, "audit");
	number(f, true, "generation", g->candidate);
	number(f, false, "judged", g->audit.judged);
	number(f, false, "disagreed", g->audit.disagreed);
	fputc('}', f);
}

static void tampered(FILE *f, const struct gauges *g)
{
	if (!g->n_tamper)
		return;
	key(f, false, "tampered");
	for (size_t i = 0; i < g->n_tamper; i++) {
		fputs(i ? ",\"" : "[\"", f);
		out_safe(f, g->tamper[i].text);
		fputc('"', f);
	}
	fputc(']', f);
}

static void maps(FILE *f, const struct gauges *g)
{
	key(f, false, "maps");
	fputc('[', f);
	for (size_t i = 0; i < g->n_maps; i++) {
		const struct map_gauge *m = &g->maps[i];

		if (i)
			fputc(',', f);
		text(f, true, "name", m->name);
		text(f, false, "type", m->type);
		number(f, false, "capacity", m->capacity);
		if (m->counted)
			number(f, false, "entries", m->entries);
		if (m->fills)
			ratio(f, "fill_ratio", m->entries, m->capacity);
		number(f, false, "memory_bytes", m->memory);
		fputc('}', f);
	}
	fputc(']', f);
}

static void flows(FILE *f, const struct gauges *g)
{
	bool first = true;
	uint64_t n;

	key(f, false, "flows");
	number(f, true, "entries", g->flows.entries);
	number(f, false, "capacity", g->flows.capacity);
	ratio(f, "fill_ratio", g->flows.entries, g->flows.capacity);
	key(f, false, "states");
	for (int s = 0; s < FW_FLOW_STATE_COUNT; s++) {
		if (!flows_in_state(g, s, &n))
			continue;
		number(f, first, flow_state_names[s], n);
		first = false;
	}
	fputc('}', f);
	number(f, false, "created", g->state.flows_created);
	number(f, false, "expired", g->state.flows_expired);
	number(f, false, "evicted", g->state.flows_evicted);
	number(f, false, "full", g->state.flows_full);
	number(f, false, "cut", g->state.flows_cut);
	number(f, false, "fragments_created", g->state.fragments_created);
	number(f, false, "related_packets", g->state.related);
	fputc('}', f);
}

static void limits(FILE *f, const struct gauges *g)
{
	key(f, false, "rate_limits");
	number(f, true, "sources", g->limits.entries);
	number(f, false, "limited_now", g->limits.above);
	number(f, false, "created", g->state.limits_created);
	number(f, false, "evicted_at_least", g->limits.evicted);
	fputc('}', f);
}

static void slots(FILE *f, const struct gauges *g)
{
	key(f, false, "slots");
	fputc('[', f);
	for (size_t i = 0; i < g->n_slots; i++) {
		const struct slot_gauge *s = &g->slots[i];

		if (i)
			fputc(',', f);
		number(f, true, "slot", s->slot);
		truth(f, false, "active", s->slot == g->word.active);
		number(f, false, "generation", s->generation);
		number(f, false, "used_bytes", s->used);
		number(f, false, "size_bytes", s->size);
		ratio(f, "fill_ratio", s->used, s->size);
		number(f, false, "memory_bytes", s->memory);
		fputc('}', f);
	}
	fputc(']', f);
}

static void rings(FILE *f, const struct gauges *g)
{
	key(f, false, "rings");
	fputc('[', f);
	for (size_t i = 0; i < g->n_rings; i++) {
		const struct ring_gauge *r = &g->rings[i];

		if (i)
			fputc(',', f);
		number(f, true, "ring", r->number);
		text(f, false, "state", ring_state_names[r->state]);
		truth(f, false, "claimed", r->state != RING_FREE);
		number(f, false, "used_bytes", r->used);
		number(f, false, "size_bytes", r->size);
		ratio(f, "fill_ratio", r->used, r->size);
		number(f, false, "events_sent", r->sent);
		number(f, false, "events_lost", r->lost);
		number(f, false, "memory_bytes", r->memory);
		fputc('}', f);
	}
	fputc(']', f);
}

static void rules(FILE *f, const struct gauges *g)
{
	key(f, false, "rules");
	fputc('[', f);
	for (size_t i = 0; i < g->n_rules; i++) {
		const struct rule_gauge *r = &g->rules[i];

		if (i)
			fputc(',', f);
		text(f, true, "name", r->name);
		number(f, false, "priority", r->priority);
		text(f, false, "action", action_name((enum fw_action)r->action));
		text(f, false, "direction", direction_name(r->directions));
		if (r->file) {
			key(f, false, "source");
			text(f, true, "file", r->file);
			number(f, false, "line", r->line);
			fputc('}', f);
		}
		number(f, false, "packets_allowed", r->sum.allowed);
		number(f, false, "packets_flow", r->sum.flow);
		number(f, false, "packets_denied", r->sum.denied);
		number(f, false, "packets_limited", r->sum.limited);
		number(f, false, "bytes_passed", r->sum.bytes_passed);
		number(f, false, "bytes_dropped", r->sum.bytes_dropped);
		number(f, false, "calls_denied", r->sum.calls);
		number(f, false, "events_lost", r->sum.lost);
		fputc('}', f);
	}
	fputc(']', f);
}

/* Only what has been counted, so that the list stays readable; the totals are always there. */
static void verdicts(FILE *f, const struct gauges *g)
{
	bool first = true;

	key(f, false, "verdicts");
	fputc('[', f);
	for (int i = 0; i < FW_REASON_COUNT * FW_VERDICT_COUNT * SIDE_COUNT; i++) {
		int reason = i / (FW_VERDICT_COUNT * SIDE_COUNT), verdict = i / SIDE_COUNT % FW_VERDICT_COUNT;
		uint64_t n = g->packets[reason][verdict][i % SIDE_COUNT];

		if (!n)
			continue;
		if (!first)
			fputc(',', f);
		first = false;
		text(f, true, "verdict", verdict_names[verdict]);
		text(f, false, "reason", reason_names[reason]);
		text(f, false, "direction", side_names[i % SIDE_COUNT]);
		number(f, false, "packets", n);
		fputc('}', f);
	}
	fputc(']', f);
	key(f, false, "totals");
	for (int i = 0; i < FW_VERDICT_COUNT; i++)
		number(f, !i, verdict_names[i], g->verdicts[i]);
	number(f, false, "bytes_passed", g->bytes_passed);
	number(f, false, "bytes_dropped", g->bytes_dropped);
	number(f, false, "calls_denied", g->calls_denied);
	fputc('}', f);
}

static void hooks(FILE *f, const struct gauges *g)
{
	key(f, false, "hooks");
	fputc('[', f);
	for (size_t i = 0; i < g->n_hooks; i++) {
		const struct hook_gauge *h = &g->hooks[i];

		if (i)
			fputc(',', f);
		text(f, true, "hook", h->hook);
		text(f, false, "target", h->target);
		if (*h->mode)
			text(f, false, "mode", h->mode);
		text(f, false, "status", h->unchecked ? "unchecked" : h->up ? "ok" : "gone");
		if (h->before)
			number(f, false, "programs_before", h->before);
		if (*h->detail)
			text(f, false, "detail", h->detail);
		fputc('}', f);
	}
	fputc(']', f);
}

static void policy(FILE *f, const struct meta *m)
{
	const char *version = meta_string(m, m->head->version);
	char digest[2 * sizeof(m->head->digest) + 1];

	*put_hex(digest, m->head->digest, sizeof(m->head->digest)) = 0;
	when(f, "loaded_at", m->head->loaded_at);
	text(f, false, "digest", digest);
	text(f, false, "version", version ? version : "");
}

void out_stat_json(FILE *f, const struct gauges *g, const struct out_style *style)
{
	text(f, true, "instance", g->instance);
	when(f, "time", g->time);
	number(f, false, "generation", g->generation);
	if (g->meta)
		policy(f, g->meta);
	truth(f, false, "protecting", gauges_protect(g));
	control(f, g);
	tampered(f, g);
	hooks(f, g);
	verdicts(f, g);
	rules(f, g);
	flows(f, g);
	limits(f, g);
	rings(f, g);
	maps(f, g);
	slots(f, g);
	number(f, false, "memory_bytes", g->memory);
	fputs("}\n", f);
}
