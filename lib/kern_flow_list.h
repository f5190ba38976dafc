/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow table of a loaded instance as its readers map it, beside the programs that work on it; with the names that a list
 * of flows needs. (The loader's own mapping: kern_load.h.) */
#ifndef FW_KERN_FLOW_LIST_H
#define FW_KERN_FLOW_LIST_H

#include "flow_list.h"
#include "kern_view.h"

struct flow_view {
	struct flow_set set;		  /* shared memory; its tmo is the one below, so ${f} must not be copied */
	uint32_t tmo[FW_FLOW_STATE_ROOM]; /* of the tables that decide; without any nothing expires */
	uint32_t jiffies_per_s;		  /* 0: nobody knows */
	struct event_names *names;
};

enum flow_view_use {
	FLOW_COUNT,  /* no names, read-only */
	FLOW_LIST,   /* names, read-only */
	FLOW_CHANGE, /* names; flows may be removed, by who holds the lock of the instance */
};

/* flow_view_open(f, v, use): the table and the clock of this moment. 0, or an exit status after complaining; ${f} can be
 * closed in any case. */
int flow_view_open(struct flow_view *f, const struct view *v, enum flow_view_use use);

/* flow_view_close(f): harmless on {} and twice. */
void flow_view_close(struct flow_view *f);

/* flow_view_list(f, filter): its flows from the beginning. Both must outlive the list. */
struct flow_list flow_view_list(const struct flow_view *f, const struct flow_filter *filter);

#endif
