/* SPDX-License-Identifier: GPL-2.0-only */
#include "stat_gauge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow_set.h"
#include "policy.h"

#define NAME_OF(id, name) [FW_VERDICT_##id] = name,
const char *const verdict_names[FW_VERDICT_COUNT] = {FW_VERDICTS(NAME_OF)};
#undef NAME_OF
#define NAME_OF(id, name) [FW_REASON_##id] = name,
const char *const reason_names[FW_REASON_COUNT] = {FW_REASONS(NAME_OF)};
#undef NAME_OF
const char *const side_names[SIDE_COUNT] = {"ingress", "egress", "both"};
const char *const ring_state_names[3] = {"free", "read", "abandoned"};

_Static_assert(FW_REASON_ID(FW_REASON_COUNT, 0) <= FW_RULE_ID_FIRST, "reasons run into rules");

static enum flow_side side_of(uint8_t directions)
{
	return directions == DIR_BIT(DIR_INGRESS)  ? SIDE_INGRESS
	       : directions == DIR_BIT(DIR_EGRESS) ? SIDE_EGRESS
						   : SIDE_BOTH;
}

static void add(struct gauges *g, const struct fw_counter *c, enum fw_reason reason, enum flow_side side)
{
	g->packets[reason][FW_VERDICT_ALLOW][side] += c->allowed;
	g->packets[reason][FW_VERDICT_DENY][side] += c->denied;
	g->packets[reason][FW_VERDICT_RATE_LIMITED][side] += c->limited;
	g->packets[FW_REASON_FLOW][FW_VERDICT_ALLOW][side] += c->flow;
	g->verdicts[FW_VERDICT_ALLOW] += c->allowed + c->flow;
	g->verdicts[FW_VERDICT_DENY] += c->denied;
	g->verdicts[FW_VERDICT_RATE_LIMITED] += c->limited;
	g->bytes_passed += c->bytes_passed;
	g->bytes_dropped += c->bytes_dropped;
	g->calls_denied += c->calls;
}

void gauges_sum(struct gauges *g)
{
	memset(g->packets, 0, sizeof(g->packets));
	memset(g->verdicts, 0, sizeof(g->verdicts));
	g->bytes_passed = g->bytes_dropped = g->calls_denied = 0;
	for (size_t i = 0; i < g->n_rules; i++)
		add(g, &g->rules[i].sum, FW_REASON_RULE, side_of(g->rules[i].directions));
	for (int reason = 0; reason < FW_REASON_COUNT; reason++) {
		add(g, &g->unruled[FW_REASON_ID(reason, FW_INGRESS)], (enum fw_reason)reason, SIDE_INGRESS);
		add(g, &g->unruled[FW_REASON_ID(reason, FW_EGRESS)], (enum fw_reason)reason, SIDE_EGRESS);
	}
	/* Nobody deletes keys, and an LRU map doesn't say what it throws out. At least: what was added between the two
	 * readings is present and not counted yet. */
	g->limits.evicted =
		g->state.limits_created > g->limits.entries ? g->state.limits_created - g->limits.entries : 0;
}

bool flows_in_state(const struct gauges *g, int state, uint64_t *n)
{
	if (state <= FW_FLOW_BUSY || state >= FW_FLOW_STATE_COUNT)
		return false;
	*n = 0;
	for (int s = FW_FLOW_BUSY + 1; s < FW_FLOW_STATE_COUNT; s++) {
		if (strcmp(flow_state_names[s], flow_state_names[state]))
			continue;
		if (s < state)
			return false;
		*n += g->flows.by_state[s];
	}
	return true;
}

void gauges_control(struct gauges *g, const struct fw_control *c, uint64_t now_ms)
{
	uint64_t at = c->reverted_at;

	g->word = word_view(c->word, now_ms);
	g->reverted = at != 0;
	g->reverted_generation = c->reverted;
	if (g->word.over) { /* and nobody has written it down yet */
		g->reverted = true;
		g->reverted_generation = 0; /* gauges_generations() knows */
		at = FW_WORD_DEADLINE(c->word);
	}
	if (g->reverted)
		g->reverted_at = g->time - (now_ms > at ? now_ms - at : 0) * 1000000;
}

static uint32_t generation_in(const struct gauges *g, uint32_t slot)
{
	for (size_t i = 0; slot && i < g->n_slots; i++)
		if (g->slots[i].slot == slot)
			return g->slots[i].generation;
	return 0;
}

void gauges_generations(struct gauges *g)
{
	g->generation = generation_in(g, g->word.active);
	g->previous = generation_in(g, g->word.fallback);
	g->candidate = generation_in(g, g->word.candidate);
	if (g->word.over)
		g->reverted_generation = generation_in(g, g->word.tried);
}

void gauges_tamper(struct gauges *g, const char *fmt, ...)
{
	va_list ap;

	if (g->n_tamper < TAMPER_MAX)
		g->n_tamper++;
	va_start(ap, fmt);
	vsnprintf(g->tamper[g->n_tamper - 1].text, sizeof(g->tamper[0].text), fmt, ap);
	va_end(ap);
}

bool gauges_sound(const struct gauges *g)
{
	return gauges_protect(g) && !g->n_tamper;
}

bool gauges_protect(const struct gauges *g)
{
	for (size_t i = 0; i < g->n_hooks; i++)
		if (!g->hooks[i].up)
			return false;
	return g->word.active && g->n_hooks;
}

void gauges_free(struct gauges *g)
{
	meta_free(g->meta);
	free(g->maps);
	free(g->rules);
	free(g->hooks);
	*g = (struct gauges){};
}

double fill_ratio(uint64_t used, uint64_t size)
{
	return !size ? 0 : used >= size ? 1 : (double)used / (double)size;
}
