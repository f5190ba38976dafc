/* SPDX-License-Identifier: GPL-2.0-only */
/* Which events fwmon prints: values of one kind are alternatives, kinds must all hold. A field that an event
 * doesn't carry matches no value. Meta, trial and lost records always pass. */
#ifndef FW_EVENT_FILTER_H
#define FW_EVENT_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "event.h"

enum filter_kind {
	FILTER_VERDICT, /* allow, deny, rate_limited */
	FILTER_RULE,	/* rule name, exactly; in an audit also that of the candidate's rule */
	FILTER_REASON,
	FILTER_PROTO, /* as in the event's "proto" */
	FILTER_SRC,   /* CIDR */
	FILTER_DST,
	FILTER_PORT, /* source or destination port */
	FILTER_DIRECTION,
	FILTER_INTERFACE, /* name, exactly */
	FILTER_PID,
	FILTER_CGROUP, /* id, or path: that cgroup and those below it */
	FILTER_KINDS
};

struct filter_value;
struct event_filter {
	struct filter_value *values[FILTER_KINDS];
	size_t count[FILTER_KINDS];
	unsigned int used; /* bit per kind that has values */
};

/* filter_add(f, kind, text): one more value. NULL, or a static text saying what is wrong with ${text}. A
 * cgroup path may start with the mount point of cgroup v2. */
const char *filter_add(struct event_filter *f, enum filter_kind kind, const char *text);

/* filter_pass(f, ev): whether to print ${ev}. Meta, trial and lost records always pass; suppressed records need satisfy only
 * the rules and reasons. */
bool filter_pass(const struct event_filter *f, const struct event *ev);

void filter_free(struct event_filter *f);

#endif
