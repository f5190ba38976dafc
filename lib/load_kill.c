/* SPDX-License-Identifier: GPL-2.0-only */
#include "load_kill.h"

#include <stdio.h>

#include "diag.h"
#include "kern_flow_list.h"
#include "kern_inst.h"

/* A flow changes at most a few times per packet: who meets it so often changed is being led round in circles. */
#define TRIES 1000

/* end_flows(l): how many. The programs go on meanwhile: a flow that changed since it was read is read again. */
static size_t end_flows(struct flow_list *l, bool dry_run)
{
	struct flow_row r;
	unsigned int tries = 0;
	size_t n = 0;

	while (flow_list_next(l, &r)) {
		if (dry_run || flow_set_remove(l->set, &r.flow)) {
			n++;
			tries = 0;
		} else if (++tries < TRIES) {
			l->at--;
		} else {
			complain("flow %llu changes too fast to be ended", (unsigned long long)r.flow.id);
			tries = 0;
		}
	}
	return n;
}

static int end_in_view(const struct load_options *o, const struct view *v, const struct flow_filter *filter)
{
	struct flow_view f;
	struct flow_list l;
	int err = flow_view_open(&f, v, o->dry_run ? FLOW_LIST : FLOW_CHANGE);
	size_t n;

	if (!err) {
		l = flow_view_list(&f, filter);
		n = end_flows(&l, o->dry_run);
		printf("%zu flow%s %s\n", n, n == 1 ? "" : "s", o->dry_run ? "would end" : "ended");
		err = n ? EXIT_DONE : EXIT_JUDGED;
		if (fflush(stdout)) {
			complain("cannot write to standard output: %m");
			err = EXIT_SYSTEM;
		}
	}
	flow_view_close(&f);
	return err;
}

int load_kill_flows(const struct load_options *o, const struct flow_filter *filter)
{
	struct inst in = INST_NONE;
	struct view v = VIEW_NONE;
	int err = inst_open(&in, o->instance, false);

	if (err == EXIT_JUDGED)
		complain("instance %s is not loaded", o->instance);
	/* a load may be moving the flows to another table, from which they would come back */
	if (!err)
		err = inst_lock(&in, o->wait_ms);
	if (!err)
		err = view_open(&v, o->instance, VIEW_WATCH);
	if (!err)
		err = end_in_view(o, &v, filter);
	view_close(&v);
	inst_close(&in);
	return err;
}
