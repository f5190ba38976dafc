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
#include "stat_word.h"

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

#define LOSING_MS 200
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
	uint64_t losing;     /* of the lost, those of the last LOSING_MS; only a check looks so long */
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
	bool unchecked;	  /* the caller may not look at the link; ${up} says nothing */
	char detail[160]; /* why not; or a note */
	unsigned int before; /* programs of others that are asked before it, and may let pass what it would not */
};

/* Something that is not as it was loaded. */
struct tamper_gauge {
	char text[160];
};
#define TAMPER_MAX 8

/* Which packets a count is about: rules for both directions don't say which it was. */
enum flow_side { SIDE_INGRESS, SIDE_EGRESS, SIDE_BOTH, SIDE_COUNT };
extern const char *const side_names[SIDE_COUNT]; /* "ingress", "egress", "both" */
extern const char *const verdict_names[FW_VERDICT_COUNT], *const reason_names[FW_REASON_COUNT];
extern const char *const ring_state_names[3]; /* "free", "read", "abandoned" */

struct gauges {
	char instance[GAUGE_NAME_MAX + 1];
	struct meta *meta;   /* of what decides; NULL: nothing does. Owned */
	uint64_t time;	     /* of the reading; CLOCK_REALTIME, ns */
	struct word_view word; /* slots */
	uint32_t generation; /* that decides; 0: none */
	uint32_t previous;   /* generation that the end of a trial, or --rollback, returns to; 0: none */
	uint32_t candidate;  /* generation that an audit compares with; 0: no audit */
	bool reverted;	     /* the last load was taken back, by the end of its trial or by --rollback, and none came after it */
	uint32_t reverted_generation;
	uint64_t reverted_at; /* CLOCK_REALTIME, ns */
	uint64_t memory;     /* all maps */
	bool damaged;	     /* with a failure to read: something is not there that a loaded instance has */

	/* arrays are owned */
	struct map_gauge *maps;
	struct slot_gauge slots[FW_SLOTS];
	struct ring_gauge rings[FW_RINGS];
	struct rule_gauge *rules; /* in priority order */
	struct hook_gauge *hooks;
	struct tamper_gauge tamper[TAMPER_MAX];
	size_t n_maps, n_slots, n_rings, n_rules, n_hooks, n_tamper;
	struct fw_counter unruled[FW_RULE_ID_FIRST]; /* what no rule decided, by FW_REASON_ID() */
	struct flow_gauges flows;
	struct limit_gauges limits;
	struct fw_state_stats state; /* over CPUs */
	struct fw_audit_stats audit; /* over CPUs; of the present audit, or of the last */

	/* filled by gauges_sum() */
	uint64_t packets[FW_REASON_COUNT][FW_VERDICT_COUNT][SIDE_COUNT];
	uint64_t verdicts[FW_VERDICT_COUNT];
	uint64_t bytes_passed, bytes_dropped, calls_denied;
};

/* gauges_sum(g): the totals, from ${rules} and ${unruled}. A rule's packets count as reason "rule", those of
 * its flows as reason "flow". */
void gauges_sum(struct gauges *g);

/* gauges_control(g, c, now_ms): what ${c} means at ${now_ms} of CLOCK_BOOTTIME, which is ${g->time}. */
void gauges_control(struct gauges *g, const struct fw_control *c, uint64_t now_ms);

/* gauges_generations(g): numbers of generations, from the word and ${slots}. */
void gauges_generations(struct gauges *g);

/* gauges_tamper(g, fmt, ...): one more finding; after TAMPER_MAX the last place holds the newest. */
void gauges_tamper(struct gauges *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* gauges_sound(g): it protects, and nothing is other than it was loaded. */
bool gauges_sound(const struct gauges *g);

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
