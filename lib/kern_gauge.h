/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading the gauges of a loaded instance. Nothing is changed, locked or marked as used: the entries of LRU
 * maps are counted by batches, which don't touch their age. */
#ifndef FW_KERN_GAUGE_H
#define FW_KERN_GAUGE_H

#include "kern_view.h"
#include "stat_gauge.h"

/* gauges_read(g, instance): everything in struct gauges, sums included. 0, or an exit status after
 * complaining;
 * ${g} is to be freed in any case. */
int gauges_read(struct gauges *g, const char *instance);

/* The parts of it, for kern_gauge*.c. Each returns 0, or -1 after complaining. */

/* gauge_maps(g, v): every map pinned in maps/ but the rings. */
int gauge_maps(struct gauges *g, const struct view *v);

/* gauge_slots(g, v): the resident images, after gauges_word(). */
int gauge_slots(struct gauges *g, const struct view *v);

/* gauge_rings(g, v): the rings and who reads them. */
int gauge_rings(struct gauges *g, const struct view *v);

/* gauge_rules(g, v): the counters, after g->meta. */
int gauge_rules(struct gauges *g, const struct view *v);

/* gauge_hooks(g, v): what the meta says was attached, against what is. */
int gauge_hooks(struct gauges *g, const struct view *v);

/* map_memory(fd): bytes the kernel charges for a map; 0 when it doesn't say. */
uint64_t map_memory(int fd);

/* map_entries(fd, facts, n): how many keys a hash map or trie has. 0, or -1 with errno. */
int map_entries(int fd, const struct map_facts *facts, uint64_t *n);

#endif
