/* SPDX-License-Identifier: GPL-2.0-only */
#include "load_seed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tables_build.h"

static int begin(struct load *l)
{
	struct seed *s = l->seed = xalloc(1, sizeof(*s));
	int err;

	judge_begin(&s->judge, l);
	if (l->o->dry_run)
		return 0;
	err = kern_flows_map(&l->kern, &s->flows);
	/* there is no active policy yet whose timeouts these could be */
	s->flows.tmo = judge_arena(l)->tmo;
	return err;
}

static int by_key(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct fw_tuple));
}

/* In place, of equal keys one. */
static void sort_settled(struct seed *s)
{
	size_t n = 0;

	if (s->n_settled)
		qsort(s->settled, s->n_settled, sizeof(*s->settled), by_key);
	for (size_t i = 0; i < s->n_settled; i++)
		if (!n || by_key(&s->settled[n - 1], &s->settled[i]))
			s->settled[n++] = s->settled[i];
	s->n_settled = s->n_sorted = n;
}

static void settle(struct seed *s, const struct seed_conn *o)
{
	s->settled = xgrow(s->settled, &s->room, s->n_settled + 1, sizeof(*s->settled));
	s->settled[s->n_settled++] = (struct seed_settled){
		.key = o->flow.key,
		.rule = o->flow.rule,
		.verdict = o->verdict,
		.remote = o->remote,
		.denied_now = o->denied_now,
	};
}

static void keep(struct load *l, const struct seed_conn *o)
{
	int added = l->o->dry_run ? 1 : flow_set_add(&l->seed->flows, &o->flow);

	if (added < 0)
		l->seed->full++;
	else
		l->seed->kept += added;
}

/* The second time around that is nearly all of them. */
static bool known(const struct load *l, const struct fw_tuple *key)
{
	const struct seed *s = l->seed;
	struct flow_entry there;

	if (s->n_sorted && bsearch(key, s->settled, s->n_sorted, sizeof(*s->settled), by_key))
		return true;
	return !l->o->dry_run && flow_set_find(&s->flows, key, &there) && !there.expired;
}

static void seed_one(struct load *l, const struct sock_conn *c)
{
	struct seed *s = l->seed;
	struct seed_conn o;

	seed_view(c, &o);
	if (known(l, &o.flow.key))
		return;
	seed_judge(l, c, &o);
	if (o.verdict == SEED_KEPT)
		keep(l, &o);
	if ((o.loopback && o.verdict != SEED_OUTSIDE) || o.verdict == SEED_DENIED || o.verdict == SEED_UNDECIDED)
		settle(s, &o);
}

/* What this host opened comes first: where both ends are here, the hook of the opener's end judges. */
static void seed_all(struct load *l, const struct sock_list *list)
{
	l->seed->full = 0; /* the same would be counted twice */
	for (int opener = SOCK_LOCAL; opener <= SOCK_REMOTE; opener++) {
		for (size_t i = 0; i < list->n; i++)
			if (list->socks[i].opener == opener)
				seed_one(l, &list->socks[i]);
		sort_settled(l->seed);
	}
}

static void say_missing(struct load *l, const struct sock_list *list)
{
	for (size_t i = 0; i < list->n_missing && l->o->verbose && !l->seed->said; i++)
		complain("this kernel can't list the open connections of IP protocol %u: the rules decide", list->missing[i]);
	l->seed->said = true;
}

int seed_flows(struct load *l)
{
	struct sock_list list;
	int err;

	/* A reload has the flows of all that it judged, also when their table was resized: kern_flows_move(). */
	if (l->kern.active || !l->p->stateful)
		return 0;
	err = l->seed ? 0 : begin(l);
	if (err)
		return err;
	if (sock_list(&list)) {
		if (!l->o->quiet && !l->seed->said)
			complain("cannot list the open connections (sock_diag: %s): the rules decide which go on",
				 strerror(errno));
		l->seed->said = true;
		return 0;
	}
	say_missing(l, &list);
	seed_all(l, &list);
	sock_list_free(&list);
	if (!l->o->quiet)
		seed_print(l);
	return 0;
}

static void say_counts(const struct load *l, const struct seed *s)
{
	size_t undecided = 0, denied = 0;

	for (size_t i = 0; i < s->n_settled; i++) {
		undecided += s->settled[i].verdict == SEED_UNDECIDED;
		denied += s->settled[i].verdict == SEED_DENIED;
	}
	if (s->full)
		complain("max_flows: %zu open connections that the policy allows found no room: the rules decide", s->full);
	if (!l->o->verbose)
		return;
	complain("open connections: %zu %s a flow, %zu denied", s->kept, l->o->dry_run ? "would get" : "got", denied);
	if (undecided)
		complain("open connections left to the rules, because their owner is not known: %zu", undecided);
}

void seed_end(struct load *l)
{
	struct seed *s = l->seed;

	if (!s)
		return;
	say_counts(l, s);
	flow_set_close(&s->flows);
	judge_end(&s->judge);
	free(s->settled);
	free(s);
	l->seed = NULL;
}
