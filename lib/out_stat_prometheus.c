/* SPDX-License-Identifier: GPL-2.0-only */
/* The gauges in Prometheus' text format 0.0.4: one block per metric, HELP and TYPE first. Every sample
 * carries fw_instance as its last label, so that the files of several instances can stand side by side;
 * addresses, ports and processes never become labels, since each new value would be a new time series. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "flow_set.h"
#include "out_stat.h"
#include "put.h"
#include "utf8.h"

struct page {
	FILE *f;
	const struct gauges *g;
	const char *name; /* of the metric whose block is open */
};

static void begin(struct page *p, const char *name, const char *type, const char *help)
{
	p->name = name;
	fprintf(p->f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label value: the format's three escapes; what is not UTF-8 or a control character becomes U+FFFD. */
static void label_value(FILE *f, const char *s)
{
	size_t len = strlen(s);

	while (len) {
		uint32_t c = 0;
		size_t n = utf8_decode(s, len, &c);

		if (c == '\n')
			fputs("\\n", f);
		else if (!n || c < 0x20 || (c >= 0x7f && c < 0xa0))
			fputs("\xef\xbf\xbd", f);
		else if (c == '"' || c == '\\')
			fprintf(f, "\\%c", (char)c);
		else
			fwrite(s, 1, n, f);
		s += n ? n : 1;
		len -= n ? n : 1;
	}
}

/* labels(p, name, value, ...): pairs up to a NULL. */
static void labels(struct page *p, va_list ap)
{
	const char *name;

	fprintf(p->f, "%s{", p->name);
	while ((name = va_arg(ap, const char *))) {
		fprintf(p->f, "%s=\"", name);
		label_value(p->f, va_arg(ap, const char *));
		fputs("\",", p->f);
	}
	fprintf(p->f, "fw_instance=\"%s\"} ", p->g->instance);
}

static void __attribute__((sentinel)) sample(struct page *p, uint64_t v, ...)
{
	va_list ap;

	va_start(ap, v);
	labels(p, ap);
	va_end(ap);
	fprintf(p->f, "%" PRIu64 "\n", v);
}

static void __attribute__((sentinel)) sample_real(struct page *p, double v, ...)
{
	va_list ap;

	va_start(ap, v);
	labels(p, ap);
	va_end(ap);
	fprintf(p->f, "%.9g\n", v);
}

/* A metric of one sample. */
static void single(struct page *p, uint64_t v, const char *name, const char *type, const char *help)
{
	begin(p, name, type, help);
	sample(p, v, NULL);
}

/* Of what decides; without it there are no samples. */
static void identity(struct page *p)
{
	const struct gauges *g = p->g;
	const struct fw_meta *m = g->meta ? g->meta->head : NULL;
	const char *version = m ? meta_string(g->meta, m->version) : NULL;
	char digest[2 * sizeof(m->digest) + 1], generation[12];

	*put_u32(generation, g->generation) = 0;
	begin(p, "fw_info", "gauge", "Version that loaded the instance; always 1.");
	if (m)
		sample(p, 1, "version", version ? version : "", NULL);
	begin(p, "fw_policy_info", "gauge", "Policy that decides; always 1.");
	if (m) {
		*put_hex(digest, m->digest, sizeof(m->digest)) = 0;
		sample(p, 1, "digest", digest, "generation", generation, NULL);
	}
	single(p, g->generation, "fw_generation", "gauge", "Generation that decides, 0 if none does.");
	begin(p, "fw_load_timestamp_seconds", "gauge", "When the policy was loaded, since 1970.");
	if (m)
		fprintf(p->f, "%s{fw_instance=\"%s\"} %llu.%09llu\n", p->name, g->instance, m->loaded_at / 1000000000,
			m->loaded_at % 1000000000);
	single(p, g->word.active != 0, "fw_active", "gauge", "1 if a policy decides; 0: everything passes.");
	begin(p, "fw_hook_up", "gauge", "1 if the hook still judges what passes its target.");
	for (size_t i = 0; i < g->n_hooks; i++)
		if (!g->hooks[i].unchecked)
			sample(p, g->hooks[i].up, "hook", g->hooks[i].hook, "target", g->hooks[i].target, NULL);
}

static void trial(struct page *p)
{
	const struct gauges *g = p->g;

	begin(p, "fw_trial_seconds_left", "gauge", "Until the policy on trial is taken back; 0 without a trial.");
	sample_real(p, (double)g->word.trial_ms / 1000, NULL);
	single(p, g->reverted, "fw_reverted", "gauge", "1 if the last load was taken back.");
	single(p, g->previous, "fw_previous_generation", "gauge",
	       "Generation to which the end of a trial or a rollback returns, 0 if none is kept.");
	single(p, g->n_tamper, "fw_tampered", "gauge", "Tables that are not what was loaded.");
	single(p, g->candidate, "fw_audit_generation", "gauge", "Generation that an audit compares with, 0 without one.");
	single(p, g->audit.judged, "fw_audit_judged_total", "counter",
	       "Flows, and packets without one, that the audit has judged; starts from 0 with each.");
	single(p, g->audit.disagreed, "fw_audit_disagreed_total", "counter", "Of these, where the two policies disagree.");
}

static void maps(struct page *p)
{
	const struct gauges *g = p->g;

	begin(p, "fw_map_entries", "gauge", "Entries in a map.");
	for (size_t i = 0; i < g->n_maps; i++)
		if (g->maps[i].counted)
			sample(p, g->maps[i].entries, "map", g->maps[i].name, NULL);
	begin(p, "fw_map_capacity", "gauge", "Entries that fit into a map.");
	for (size_t i = 0; i < g->n_maps; i++)
		sample(p, g->maps[i].capacity, "map", g->maps[i].name, NULL);
	begin(p, "fw_map_fill_ratio", "gauge", "Entries over capacity of the maps that can become full.");
	for (size_t i = 0; i < g->n_maps; i++)
		if (g->maps[i].fills)
			sample_real(p, fill_ratio(g->maps[i].entries, g->maps[i].capacity), "map",
				    g->maps[i].name, NULL);
	begin(p, "fw_map_memory_bytes", "gauge", "Kernel memory of a map.");
	for (size_t i = 0; i < g->n_maps; i++)
		sample(p, g->maps[i].memory, "map", g->maps[i].name, NULL);
	begin(p, "fw_memory_bytes", "gauge", "Kernel memory of all maps, slots and rings included.");
	sample(p, g->memory, NULL);
}

static void slots(struct page *p)
{
	const struct gauges *g = p->g;
	char names[FW_SLOTS][12];

	for (size_t i = 0; i < g->n_slots; i++)
		*put_u32(names[i], g->slots[i].slot) = 0;
	begin(p, "fw_slot_used_bytes", "gauge", "Bytes of the policy tables in a slot.");
	for (size_t i = 0; i < g->n_slots; i++)
		sample(p, g->slots[i].used, "slot", names[i], NULL);
	begin(p, "fw_slot_size_bytes", "gauge", "Size class of a slot.");
	for (size_t i = 0; i < g->n_slots; i++)
		sample(p, g->slots[i].size, "slot", names[i], NULL);
}

static void rings(struct page *p)
{
	const struct gauges *g = p->g;
	char names[FW_RINGS][12];

	for (size_t i = 0; i < g->n_rings; i++)
		*put_u32(names[i], g->rings[i].number) = 0;
	begin(p, "fw_ring_claimed", "gauge", "1 if events are written to the ring.");
	for (size_t i = 0; i < g->n_rings; i++)
		sample(p, g->rings[i].state != RING_FREE, "ring", names[i], NULL);
	begin(p, "fw_ring_fill_ratio", "gauge", "Bytes waiting for the reader over the size of the ring.");
	for (size_t i = 0; i < g->n_rings; i++)
		sample_real(p, fill_ratio(g->rings[i].used, g->rings[i].size), "ring", names[i], NULL);
	begin(p, "fw_ring_size_bytes", "gauge", "Size of the ring.");
	for (size_t i = 0; i < g->n_rings; i++)
		sample(p, g->rings[i].size, "ring", names[i], NULL);
	begin(p, "fw_events_sent_total", "counter", "Events written to the ring.");
	for (size_t i = 0; i < g->n_rings; i++)
		sample(p, g->rings[i].sent, "ring", names[i], NULL);
	begin(p, "fw_events_lost_total", "counter", "Events that did not fit into the ring.");
	for (size_t i = 0; i < g->n_rings; i++)
		sample(p, g->rings[i].lost, "ring", names[i], NULL);
}

static void rules(struct page *p)
{
	const struct gauges *g = p->g;
	const struct rule_gauge *r, *end = g->rules + g->n_rules;

	begin(p, "fw_rule_packets_total", "counter",
	      "Packets a rule decided, packets of its flows included.");
	for (r = g->rules; r < end; r++) {
		sample(p, r->sum.allowed + r->sum.flow, "rule", r->name, "verdict", "allow", NULL);
		sample(p, r->sum.denied, "rule", r->name, "verdict", "deny", NULL);
		sample(p, r->sum.limited, "rule", r->name, "verdict", "rate_limited", NULL);
	}
	begin(p, "fw_rule_flow_packets_total", "counter",
	      "Packets allowed because they belong to a flow of the rule.");
	for (r = g->rules; r < end; r++)
		sample(p, r->sum.flow, "rule", r->name, NULL);
	begin(p, "fw_rule_bytes_total", "counter", "IP bytes of the packets a rule decided.");
	for (r = g->rules; r < end; r++) {
		sample(p, r->sum.bytes_passed, "rule", r->name, "outcome", "passed", NULL);
		sample(p, r->sum.bytes_dropped, "rule", r->name, "outcome", "dropped", NULL);
	}
	begin(p, "fw_rule_calls_denied_total", "counter",
	      "Calls of connect() and sendmsg() denied by a rule.");
	for (r = g->rules; r < end; r++)
		sample(p, r->sum.calls, "rule", r->name, NULL);
	begin(p, "fw_rule_events_lost_total", "counter", "Events of a rule that did not fit into a ring.");
	for (r = g->rules; r < end; r++)
		sample(p, r->sum.lost, "rule", r->name, NULL);
}

/* Series that can come to be start at 0, so that rate() sees their first packets, too. */
static bool possible(enum fw_reason reason, enum fw_verdict verdict, enum flow_side side)
{
	if (side == SIDE_BOTH && reason != FW_REASON_RULE && reason != FW_REASON_FLOW)
		return false;
	switch (reason) {
	case FW_REASON_RULE:
		return true;
	case FW_REASON_FLOW:
	case FW_REASON_NEIGHBOUR:
		return verdict == FW_VERDICT_ALLOW;
	case FW_REASON_INVALID:
	case FW_REASON_FLOW_CUT:
		return verdict == FW_VERDICT_DENY;
	case FW_REASON_NO_MEMORY:
		return verdict == FW_VERDICT_RATE_LIMITED;
	default:
		return verdict != FW_VERDICT_RATE_LIMITED;
	}
}

static void judged(struct page *p, enum fw_reason reason, enum fw_verdict verdict)
{
	for (int side = 0; side < SIDE_COUNT; side++) {
		uint64_t n = p->g->packets[reason][verdict][side];

		if (n || possible(reason, verdict, (enum flow_side)side))
			sample(p, n, "direction", side_names[side], "verdict", verdict_names[verdict],
			       "reason", reason_names[reason], NULL);
	}
}

static void totals(struct page *p)
{
	const struct gauges *g = p->g;

	begin(p, "fw_packets_total", "counter",
	      "Packets judged; direction \"both\": by rules for both directions.");
	for (int reason = 0; reason < FW_REASON_COUNT; reason++)
		for (int verdict = 0; verdict < FW_VERDICT_COUNT; verdict++)
			judged(p, (enum fw_reason)reason, (enum fw_verdict)verdict);
	begin(p, "fw_bytes_total", "counter", "IP bytes of judged packets.");
	sample(p, g->bytes_passed, "outcome", "passed", NULL);
	sample(p, g->bytes_dropped, "outcome", "dropped", NULL);
	begin(p, "fw_calls_denied_total", "counter", "Calls of connect() and sendmsg() denied.");
	sample(p, g->calls_denied, NULL);
}

static void flows(struct page *p)
{
	const struct gauges *g = p->g;
	const struct fw_state_stats *s = &g->state;
	uint64_t n;

	begin(p, "fw_flows", "gauge", "Live flows by state; \"fragment\": datagrams in pieces.");
	for (int state = 0; state < FW_FLOW_STATE_COUNT; state++)
		if (flows_in_state(g, state, &n))
			sample(p, n, "state", flow_state_names[state], NULL);
	single(p, s->flows_created, "fw_flows_created_total", "counter", "Flows made.");
	single(p, s->flows_expired, "fw_flows_expired_total", "counter",
	       "Flows whose place a new one took after they had expired.");
	single(p, s->flows_evicted, "fw_flows_evicted_total", "counter",
	       "Live flows, unanswered or over, whose place a new one took; an exact count.");
	single(p, s->flows_full, "fw_flows_full_total", "counter",
	       "Packets that were allowed and found no room for their flow; see on_full.");
	single(p, s->flows_cut, "fw_flows_cut_total", "counter", "Flows that a reload no longer allows.");
	single(p, s->fragments_created, "fw_fragments_created_total", "counter",
	       "Datagrams in pieces of which the first passed.");
	single(p, s->related, "fw_related_packets_total", "counter", "ICMP errors that passed because of a flow.");
	single(p, g->limits.above, "fw_rate_limited_sources", "gauge",
	       "Keys of rate limits, mostly sources, above their limit now.");
	single(p, s->limits_created, "fw_limits_created_total", "counter", "Keys of rate limits made.");
	single(p, g->limits.evicted, "fw_limits_evicted_total", "counter",
	       "Keys of rate limits thrown out for others, at least so many.");
}

void out_stat_prometheus(FILE *f, const struct gauges *g, const struct out_style *style)
{
	struct page p = {.f = f, .g = g};

	identity(&p);
	trial(&p);
	totals(&p);
	rules(&p);
	flows(&p);
	rings(&p);
	maps(&p);
	slots(&p);
}
