/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading the gauges of a loaded instance. Nothing is changed, locked or marked as used: the entries of LRU
 * maps are counted by batches, which don't touch their age. */
#ifndef FW_KERN_GAUGE_H
#define FW_KERN_GAUGE_H

#include "kern_view.h"
#include "stat_gauge.h"

enum gauge_depth {
	GAUGE_SHOW,
	GAUGE_CHECK, /* also whether the tables are those that were loaded, and whether events are being lost: takes LOSING_MS
		      * and more; up to WRITER_WAIT_MS when a loader is at work */
};
#define WRITER_WAIT_MS 3000

/* gauges_read(g, instance, depth): everything in struct gauges, sums included. 0, or an exit status after complaining;
 * ${g} is to be freed in any case. */
int gauges_read(struct gauges *g, const char *instance, enum gauge_depth depth);

/* The parts of it, for kern_gauge*.c. Each returns 0, or -1 after complaining. */

/* gauge_maps(g, v): every map pinned in maps/ but the rings, after the gauges of flows and limits. */
int gauge_maps(struct gauges *g, const struct view *v);

/* gauge_state(g, v): what happened to flows and limits. Before gauge_limits(), so that what is lost of a key between the
 * two makes the evictions fewer. */
int gauge_state(struct gauges *g, const struct view *v);

/* gauge_flows(g, v): the flow table. */
int gauge_flows(struct gauges *g, const struct view *v);

/* gauge_audit(g, v): what the present audit, or the last, has found. */
int gauge_audit(struct gauges *g, const struct view *v);

/* gauge_limits(g, v): the keys of rate limits, after gauges_control(). */
int gauge_limits(struct gauges *g, const struct view *v);

/* gauge_slots(g, v): the resident images, after gauges_control(). */
int gauge_slots(struct gauges *g, const struct view *v);

/* gauge_tables(g, v, depth): whether the tables in the slots that the word names are those that were loaded. */
int gauge_tables(struct gauges *g, const struct view *v, enum gauge_depth depth);

/* gauge_rings(g, v): the rings and who reads them. */
int gauge_rings(struct gauges *g, const struct view *v);

/* gauge_losing(g, v): after gauge_rings(): which of those that are read lose events at present. Takes LOSING_MS if one is
 * read. */
void gauge_losing(struct gauges *g, const struct view *v);

/* lock_held(parent, name): somebody has flock()ed the directory ${name} (not through a symbolic link) in ${parent}. Asked of
 * /proc/locks, because trying the lock would make others believe that it is taken. Locks of processes in other pid
 * namespaces are not listed there. -1: nobody knows. */
int lock_held(int parent, const char *name);

/* gauge_rules(g, v): the counters, after g->meta. */
int gauge_rules(struct gauges *g, const struct view *v);

/* gauge_hooks(g, v): what the meta says was attached, against what is. */
int gauge_hooks(struct gauges *g, const struct view *v);

/* map_memory(fd): bytes the kernel charges for a map; 0 when it doesn't say. */
uint64_t map_memory(int fd);

/* map_visit(fd, facts, visit, ctx, n): the entries of a hash map or trie: visit(ctx, keys, values, count) of some at a time,
 * and in ${*n} how many there are. A count of 0 says that it begins, perhaps again. ${visit} may be NULL; where the kernel
 * reads no batches it is not called. 0, or -1 with errno. */
typedef void map_visitor(void *ctx, const void *keys, const void *values, uint32_t count);
int map_visit(int fd, const struct map_facts *facts, map_visitor *visit, void *ctx, uint64_t *n);

#endif
