/* SPDX-License-Identifier: GPL-2.0-only */
/* The whole image: header, and for each direction its rules and dimensions. */
#include <stdlib.h>
#include <string.h>

#include "tables_build.h"

#define NS_PER_S 1000000000ULL

/* Rounded up, so that a limit never admits more than it says. */
static uint64_t gcra_interval(uint32_t per_second)
{
	return (NS_PER_S + per_second - 1) / per_second;
}

static uint32_t lower_rate(struct lower *l, const struct rule *r)
{
	struct fw_rate rate = {
		.interval = gcra_interval(r->rate_pps),
		.by = r->rate_by,
		.flags = r->log ? FW_RULE_LOG : 0,
	};

	rate.tolerance = (r->rate_burst - 1) * rate.interval;
	return image_add(l->im, &rate, sizeof(rate), 32);
}

static uint32_t lower_rules(struct lower *l, uint32_t *by_id)
{
	struct fw_rule_rec *recs = xalloc(l->n_rules, sizeof(*recs));
	uint32_t off;

	for (uint32_t i = 0; i < l->n_rules; i++) {
		const struct rule *r = l->rules[i];

		recs[i] = (struct fw_rule_rec){
			.id = l->r->ids[l->index[i]],
			.action = r->action,
			.flags = r->log ? FW_RULE_LOG : 0,
		};
		if (r->action == ACTION_RATE_LIMIT && !by_id[recs[i].id])
			by_id[recs[i].id] = lower_rate(l, r);
	}
	off = image_add(l->im, recs, l->n_rules * sizeof(*recs), 64);
	free(recs);
	return off;
}

/* Some packet of the direction could be denied. */
static bool can_deny(const struct policy *p, int direction)
{
	if (p->default_action[direction] == ACTION_DENY)
		return true;
	for (size_t i = 0; i < p->n_rules; i++)
		if (p->rules[i].directions & DIR_BIT(direction) && p->rules[i].action != ACTION_ALLOW)
			return true;
	return false;
}

static void lower_direction(struct lower *l, const struct context *c, struct fw_arena *head, int direction,
			    uint32_t *by_id)
{
	const struct policy *p = l->p;
	struct class shape;

	l->dir = &head->dir[direction];
	l->n_rules = 0;
	for (size_t i = 0; i < p->n_rules; i++) {
		if (!(p->rules[i].directions & DIR_BIT(direction)))
			continue;
		l->index[l->n_rules] = i;
		l->rules[l->n_rules++] = &p->rules[i];
	}
	class_init(&shape, &l->pool, l->n_rules);
	l->dir->n_rules = l->n_rules;
	l->dir->n_super = shape.n_super;
	l->dir->shift = shape.shift;
	class_free(&shape);
	l->dir->default_action = p->default_action[direction];
	l->dir->default_flows = p->stateful && p->default_action[direction] == ACTION_ALLOW &&
				(can_deny(p, !direction) || p->tcp_strict);
	l->dir->rules = lower_rules(l, by_id);
	lower_addresses(l);
	lower_services(l);
	lower_context(l, c);
}

static void lower_timeouts(const struct policy *p, const struct resolved *r, struct fw_arena *head)
{
#define TIMEOUT_OF(id, name, timeout, evictable) [FW_FLOW_##id] = timeout,
	static const enum fw_timeout of[FW_FLOW_STATE_COUNT] = { FW_FLOW_STATES(TIMEOUT_OF) };
#undef TIMEOUT_OF

	for (int i = 0; i < FW_FLOW_STATE_COUNT; i++) {
		uint64_t jiffies = of[i] == TMO_COUNT ? r->hz : (uint64_t)p->timeouts[of[i]] * r->hz;

		head->tmo[i] = jiffies > UINT32_MAX ? UINT32_MAX : jiffies;
	}
}

static void lower_header(const struct policy *p, const struct resolved *r, struct fw_arena *head)
{
	head->magic = FW_ARENA_MAGIC;
	head->abi = FW_ABI;
	head->generation = r->generation;
	head->netns = r->netns;
	head->cgroup = r->cgroup_id;
	head->cgroup_level = r->cgroup_level;
	head->jiffies_per_s = r->hz;
	lower_timeouts(p, r, head);
	head->flags = (p->stateful ? FW_ARENA_STATEFUL : 0) | (p->filter_loopback ? FW_ARENA_LOOPBACK : 0) |
		      (p->malformed_default ? FW_ARENA_MALFORMED_DEFAULT : 0) |
		      (p->log_default_deny ? FW_ARENA_LOG_DENY : 0) |
		      (p->log_default_allow ? FW_ARENA_LOG_ALLOW : 0) | (r->cgroup_id ? FW_ARENA_CGROUP : 0) |
		      (p->tcp_strict ? FW_ARENA_TCP_STRICT : 0) |
		      (p->on_full == ON_FULL_ALLOW_STATELESS ? FW_ARENA_FULL_ALLOW : 0);
	if (p->log_rate) {
		head->log_interval = gcra_interval(p->log_rate);
		head->log_tolerance = (p->log_burst - 1) * head->log_interval;
	}
	memcpy(head->digest, r->digest, sizeof(head->digest));
}

const char *tables_lower(const struct policy *p, const struct resolved *r, struct image *out)
{
	struct lower l = { .p = p, .r = r, .im = out, .pool = { .im = out } };
	struct fw_arena head = { 0 };
	struct context c = { 0 };
	uint32_t *by_id;

	memset(out, 0, sizeof(*out));
	image_add(out, NULL, sizeof(head), 64);
	lower_header(p, r, &head);
	for (size_t i = 0; i < p->n_rules; i++)
		if (r->ids[i] >= head.n_ids)
			head.n_ids = r->ids[i] + 1;
	by_id = xalloc(head.n_ids + 1, sizeof(*by_id));
	l.rules = xalloc(p->n_rules, sizeof(*l.rules));
	l.index = xalloc(p->n_rules, sizeof(*l.index));
	lower_ifaces(&l, &c, &head);
	for (int d = 0; d < DIR_COUNT && !l.error; d++)
		lower_direction(&l, &c, &head, d, by_id);
	head.by_id = image_add(out, by_id, (head.n_ids + 1) * sizeof(*by_id), 8);
	head.size = out->size;
	if (!l.error && out->size > FW_ARENA_MAX)
		l.error = "the tables would exceed 512 MiB";
	if (!l.error)
		memcpy(out->data, &head, sizeof(head));
	context_free(&c);
	free(by_id);
	free(l.rules);
	free(l.index);
	pool_free(&l.pool);
	return l.error;
}
