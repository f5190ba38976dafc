/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>
#include <string.h>

#include "policy_reader.h"

/* Everything else defaults to zero: deny, false, none. */
static void set_defaults(struct policy *p)
{
	p->stateful = true;
	p->log_default_deny = true;
	p->max_flows = POLICY_MAX_FLOWS_DEFAULT;
	p->log_rate = POLICY_LOG_RATE_DEFAULT;
	p->log_burst = POLICY_LOG_BURST_DEFAULT;
	memcpy(p->timeouts, timeout_defaults, sizeof(p->timeouts));
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* By priority, equal ones as they came. A rule is big, so numbers are sorted and each rule moves once. */
static void sort_rules(struct arena *a, struct policy *p)
{
	struct rule *sorted;
	uint64_t *order;
	size_t i;

	for (i = 1; i < p->n_rules && p->rules[i - 1].priority <= p->rules[i].priority; i++)
		;
	if (i >= p->n_rules)
		return;
	order = arena_resize(a, NULL, p->n_rules * sizeof(*order));
	for (i = 0; i < p->n_rules; i++)
		order[i] = (uint64_t)p->rules[i].priority << 32 | i;
	qsort(order, p->n_rules, sizeof(*order), by_value);
	sorted = arena_resize(a, NULL, p->n_rules * sizeof(*sorted));
	for (i = 0; i < p->n_rules; i++)
		sorted[i] = p->rules[(uint32_t)order[i]];
	p->rules = sorted;
}

struct policy *policy_read(struct diag *d, struct arena *a, const struct policy_input *in)
{
	struct policy *p = arena_alloc(a, sizeof(*p));
	struct reader r = {.d = d, .a = a, .in = in, .p = p, .typed = in->lang == LANG_IR};
	unsigned int before = d->errors;

	set_defaults(p);
	r.ir = r.typed || node_get(in->root, "ir_version");
	collect_files(&r);
	/* sets first and of all files, because any rule may use any of them */
	read_sets(&r, NULL);
	for (size_t i = 0; i < r.n_files; i++)
		read_sets(&r, r.files[i]);
	for (size_t i = 0; i < r.n_files; i++)
		read_file(&r, r.files[i]);
	sort_rules(a, p);
	names_free(&r.sets);
	names_free(&r.rules);
	if (d->errors == before) {
		p->arena = a;
		return p;
	}
	policy_check(d, p);
	return NULL;
}

void policy_free(struct policy *p)
{
	if (p)
		arena_free(p->arena);
}
