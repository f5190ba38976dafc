/* SPDX-License-Identifier: GPL-2.0-only */
/* What the reader of a ring did not get to see, per rule: its counts in the map log_limits (struct fw_log_limit). */
#ifndef FW_KERN_TALLY_H
#define FW_KERN_TALLY_H

#include <stdint.h>

#include "kern_view.h"

struct tally_map {
	struct fw_log_limit *limits; /* shared memory, by counter id; NULL: none */
	uint32_t ids, map_id;
};

/* A loader that needs more ids replaces the map; programs under way may still count in the one before. */
struct tally {
	int ring;
	struct tally_map now, before;
};

/* tally_open(t, v, ring): map the counts of ring ${ring}, of a view opened with VIEW_READER, and zero them: no program
 * may be writing to the ring. 0, or EXIT_SYSTEM after complaining; tally_close() in any case. */
int tally_open(struct tally *t, const struct view *v, int ring);

/* tally_follow(t, v): notice that a loader has replaced the map. Does nothing, silently, when the instance is gone. */
void tally_follow(struct tally *t, const struct view *v);

/* tally_fn(ctx, id, count): ${count} events of counter id ${id}; never 0. */
typedef void tally_fn(void *ctx, uint32_t id, uint64_t count);

/* tally_lost(t, fn, ctx), tally_suppressed(t, fn, ctx): take what was counted since the last time. Returns the sum. */
uint64_t tally_lost(struct tally *t, tally_fn *fn, void *ctx);
uint64_t tally_suppressed(struct tally *t, tally_fn *fn, void *ctx);

/* tally_give(t, id, count): ${count} events more that were not shown, for tally_suppressed(). */
void tally_give(struct tally *t, uint32_t id, uint64_t count);

/* tally_close(t): unmap; harmless when zeroed, and twice. */
void tally_close(struct tally *t);

#endif
