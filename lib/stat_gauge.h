/* SPDX-License-Identifier: GPL-2.0-only */
/* What can be measured of a loaded instance: the model between the kernel (kern_gauge.h) and the printers
 * (out_stat.h). It knows neither libbpf nor a format. Counts are totals since the maps were made; sizes in
 * bytes; strings without an owner below belong to ${meta} or are literals, and may hold any bytes. */
#ifndef FW_STAT_GAUGE_H
#define FW_STAT_GAUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/fw_abi.h"
#include "meta.h"

#define GAUGE_NAME_MAX 63

struct map_gauge {
	char name[GAUGE_NAME_MAX + 1];
	const char *type; /* "lru_hash" */
	uint64_t capacity, entries;
	uint64_t memory;
	bool counted;	 /* ${entries} says something */
	bool fills;	 /* a fill ratio says something */
	bool by_traffic; /* and it grows with traffic; the others are sized by the loader */
};

/* A resident policy image. */
struct slot_gauge {
	uint32_t slot, generation;
	uint64_t used, size, memory;
};

enum ring_state {
	RING_FREE,
	RING_READ,	/* claimed, and the reader is there */
	RING_ABANDONED, /* claimed by a reader that was killed: events are still written to it */
};
struct ring_gauge {
	uint32_t number;
	enum ring_state state;
	uint64_t size, used, memory;
	uint64_t sent, lost; /* events */
};

struct rule_gauge {
	char name[GAUGE_NAME_MAX + 1];
	const char *file; /* or NULL */
	uint32_t id, line;
	uint16_t priority;
	uint8_t action, directions; /* enum fw_action; DIR_BIT()s */
	struct fw_counter sum;	    /* over CPUs */
};

/* Live entries of the flow table: flows, and what fragments of datagrams follow. */
struct flow_gauges {
	uint64_t by_state[FW_FLOW_STATE_COUNT], entries;
	uint32_t capacity; /* max_flows: there is room for at least as many */
};

/* Keys of rate limits: sources, or what rate_limit_by says. */
struct limit_gauges {
	uint64_t entries;
	uint64_t above;	  /* those of which the next packet would be refused */
	uint64_t evicted; /* at least so many; filled by gauges_sum() */
};

struct hook_gauge {
	const char *hook, *target;
	const char *mode; /* "native", "generic", "tcx", "clsact", or "" */
	bool up;	  /* the program still judges what passes the target of that name */
	char detail[160]; /* why not; or a note */
};

/* Which packets a count is about: rules for both directions don't say which it was. */
enum flow_side { SIDE_INGRESS, SIDE_EGRESS, SIDE_BOTH, SIDE_COUNT };
extern const char *const side_names[SIDE_COUNT]; /* "ingress", "egress", "both" */
extern const char *const verdict_names[FW_VERDICT_COUNT], *const reason_names[FW_REASON_COUNT];
extern const char *const ring_state_names[3]; /* "free", "read", "abandoned" */

struct gauges {
	char instance[GAUGE_NAME_MAX + 1];
	struct meta *meta;   /* owned */
	uint64_t time;	     /* of the reading; CLOCK_REALTIME, ns */
	uint32_t active;     /* slot that decides now; 0: no policy, everything passes */
	uint32_t fallback;   /* slot; 0: none */
	uint64_t trial_ms;   /* until the fallback decides; 0: no trial, or it is over */
	bool reverted;	     /* a trial ran out: ${active} is the fallback */
	uint32_t generation; /* that decides; 0: none */
	uint64_t memory;     /* all maps */

	/* arrays are owned */
	struct map_gauge *maps;
	struct slot_gauge slots[FW_SLOTS];
	struct ring_gauge rings[FW_RINGS];
	struct rule_gauge *rules; /* in priority order */
	struct hook_gauge *hooks;
	size_t n_maps, n_slots, n_rings, n_rules, n_hooks;
	struct fw_counter unruled[FW_RULE_ID_FIRST]; /* what no rule decided, by FW_REASON_ID() */
	struct flow_gauges flows;
	struct limit_gauges limits;
	struct fw_state_stats state; /* over CPUs */

	/* filled by gauges_sum() */
	uint64_t packets[FW_REASON_COUNT][FW_VERDICT_COUNT][SIDE_COUNT];
	uint64_t verdicts[FW_VERDICT_COUNT];
	uint64_t bytes_passed, bytes_dropped, calls_denied;
};

/* gauges_sum(g): the totals, from ${rules} and ${unruled}. A rule's packets count as reason "rule", those of
 * its flows as reason "flow". */
void gauges_sum(struct gauges *g);

/* gauges_word(g, word, now_ms): what the control word ${word} means at ${now_ms} of CLOCK_BOOTTIME. */
void gauges_word(struct gauges *g, uint64_t word, uint64_t now_ms);

/* flows_in_state(g, state, n): flows in the states that share the name of ${state} (flow_state_names); false if a state
 * before it has the name already, or no flow can be in it. */
bool flows_in_state(const struct gauges *g, int state, uint64_t *n);

/* gauges_protect(g): a policy is active and every hook is up. */
bool gauges_protect(const struct gauges *g);

/* gauges_free(g): the contents; harmless on {} and twice. */
void gauges_free(struct gauges *g);

/* fill_ratio(used, size): 0 .. 1; 0 of 0 is 0. */
double fill_ratio(uint64_t used, uint64_t size);

#endif
