/* SPDX-License-Identifier: GPL-2.0-only */
/* Live flows with their names, and which of them are meant: what fwstat --flows lists and fwload --kill-flows ends. Filters
 * are fwmon's (event_filter.h), asked as if the flow were the event of its first packet, and the state. */
#ifndef FW_FLOW_LIST_H
#define FW_FLOW_LIST_H

#include "event_filter.h"
#include "event_names.h"
#include "flow_set.h"

struct flow_filter {
	struct event_filter event;
	uint32_t states; /* bit per enum fw_flow_state; 0: any */
};

/* The keys of filters, as options and in FILTER texts; ends with NULL. */
extern const char *const flow_filter_keys[];

/* flow_filter_add(f, key, value): one more value; of one key any may hold, of several keys each must. NULL, or a static
 * text saying what is wrong with ${value}; or that ${key} is none of flow_filter_keys. */
const char *flow_filter_add(struct flow_filter *f, const char *key, const char *value);

/* flow_filter_parse(f, text, why, size): "all", or KEY=VALUE separated by blanks or commas. 0, or -1 with a message in
 * ${why}. The text is not kept. */
int flow_filter_parse(struct flow_filter *f, const char *text, char *why, size_t size);

void flow_filter_free(struct flow_filter *f);

/* One flow. ${ev} is its first packet as an event: what is unknown of it is not in e.known; its time means nothing. */
struct flow_row {
	struct flow_entry flow;
	struct fw_event e;
	struct event ev;	       /* the names in it hold until the next row */
	const char *state;
	bool icmp, timed;	       /* the ports are an echo identifier; the two below say something: */
	uint64_t idle_ds, expires_ds; /* tenths of a second */
	uint16_t icmp_id;
};

struct flow_list {
	const struct flow_set *set;
	struct event_names *names;
	const struct flow_filter *filter; /* NULL: all */
	uint32_t jiffies_per_s;		  /* 0: not known */
	size_t at;			  /* 0: from the beginning */
};

/* flow_list_next(l, row): the next live flow that passes the filter. No expired ones, no entries of fragments; those an
 * earlier generation allowed are live: their next packet has them judged again. false: there are no more. */
bool flow_list_next(struct flow_list *l, struct flow_row *row);

#endif
