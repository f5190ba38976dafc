/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow table (bpf/flow_table.h) from user space, which works on the programs' memory beside them: list it, add and
 * remove flows. Knows no kernel interface; kern_flow_map.c maps the memory. */
#ifndef FW_FLOW_SET_H
#define FW_FLOW_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/fw_abi.h"

struct flow_set {
	struct fw_flow_bucket *buckets;
	struct fw_flow_head head;
	__u64 now;			       /* jiffies */
	const uint32_t *tmo;		       /* of the active tables: enum fw_flow_state to jiffies */
	size_t bytes;			       /* of the mapping; 0: not mapped */
};

/* A flow as read: a whole one, though the table changes while it is read. */
struct flow_entry {
	struct fw_tuple key; /* the opener's view */
	uint64_t word;	     /* FW_FLOW_STATE() and so on */
	uint64_t id;	     /* as in events */
	uint64_t idle;	     /* jiffies since its last packet, give or take 1/8 s */
	uint32_t rule, generation;
	uint64_t cgroup_id;  /* 0: unknown */
	uint32_t uid;	     /* ~0: unknown */
	uint32_t ifindex;    /* 0: unknown */
	bool expired;
	uint32_t bucket, way; /* for flow_set_remove() */
};

/* flow_set_next(s, at, out): the next entry from position ${*at} on, which begins with 0. false: there are no more.
 * Fragment entries and expired ones are given, too. */
bool flow_set_next(const struct flow_set *s, size_t *at, struct flow_entry *out);

/* flow_set_find(s, key, out): the flow of ${key}, in either direction, expired or not. */
bool flow_set_find(const struct flow_set *s, const struct fw_tuple *key, struct flow_entry *out);

/* flow_set_add(s, e): a flow with ${e}'s key, state and flags of the word, rule, generation, owner; seen ${e->idle} ago.
 * 1: added; 0: there is a live one of this key; -1: no room. */
int flow_set_add(const struct flow_set *s, const struct flow_entry *e);

/* flow_set_update(s, e): the flow in the place of ${e}, if still the same, gets the state of ${word} and is as old. */
bool flow_set_update(const struct flow_set *s, const struct flow_entry *e, uint64_t word);

/* flow_set_remove(s, e): the flow is gone. false if it was already, or has changed: look again. */
bool flow_set_remove(const struct flow_set *s, const struct flow_entry *e);

/* flow_set_close(s): unmap; harmless on {} and twice. */
void flow_set_close(struct flow_set *s);

/* flow_buckets_for(max_flows): how many buckets have room for them (filled to 60 %). */
uint32_t flow_buckets_for(uint32_t max_flows);

/* Names of the states, as people and metrics see them ("established"); states may share one. */
extern const char *const flow_state_names[FW_FLOW_STATE_COUNT];

#endif
