/* SPDX-License-Identifier: GPL-2.0-only */
/* One BPF ring buffer and its consumer (layout: Documentation/bpf/ringbuf.rst). Our own reader instead of
 * libbpf's because ring_buffer__poll() doesn't return while the producers keep up, and because it writes the
 * consumer position once per record; here a round is bounded and the position is written once per round. */
#ifndef FW_KERN_RING_H
#define FW_KERN_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kern_tally.h"
#include "kern_view.h"

#define RING_BUSY (1u << 31)	/* in a record's length: reserved, not yet submitted */
#define RING_DISCARD (1u << 30) /* to be skipped */
#define RING_HEADER 8		/* bytes before a record: u32 length and bits, u32 page offset */
#define RING_RECORD_MAX 1024	/* bytes; larger records are skipped and counted as bad */

/* The shared memory of a ring; plain memory in tests. Positions are in bytes and only grow. */
struct ring {
	uint64_t *consumer;	       /* written by us alone */
	const uint64_t *producer;      /* written by the kernel */
	const uint8_t *data;	       /* size bytes, mapped once */
	uint64_t size;		       /* power of two */
	uint64_t bad;		       /* records too large to be ours */
	uint8_t copy[RING_RECORD_MAX]; /* a record that wraps is put together here */
};

/* ring_fn(ctx, record, len): one record, valid during the call, aligned to 8. True: stop after this one. */
typedef bool ring_fn(void *ctx, const void *record, size_t len);

/* ring_drain(r, max, fn, ctx): give at most ${max} submitted records to ${fn}, oldest first, and release
 * their space. Returns how many were taken (0: nothing there, or the oldest is still being written), or -1
 * when the memory makes no sense as a ring. */
int ring_drain(struct ring *r, unsigned int max, ring_fn *fn, void *ctx);

/* ring_empty(r): forget everything submitted so far. */
void ring_empty(struct ring *r);

/* A ring claimed for this process. */
struct claim {
	int dir;       /* directory maps/ringN, flock()ed */
	int map;       /* for epoll */
	int number;    /* N */
	uint64_t lost; /* claim_lost() when it was claimed */
	struct ring ring;
	struct tally tally;
	struct fw_readers *readers; /* of the view, which must outlive the claim */
	void *pages[2];		    /* what to unmap, with lengths */
	size_t lengths[2];
};
#define CLAIM_NONE                                                                                           \
	{                                                                                                    \
		.dir = -1, .map = -1, .number = -1                                                           \
	}

/* claim_ring(c, v): take the first ring nobody reads, empty it, zero its tally, and set its bit, so that programs
 * start to write to it. From then on each event is a record in the ring or counted in the tally. ${v} was opened with
 * VIEW_READER. 0; EXIT_BUSY when all are taken; EXIT_SYSTEM; both after complaining. */
int claim_ring(struct claim *c, const struct view *v);

/* claim_mute(c): clear the bit, and wait until no program writes any more, a few hundredths of a second. What is in the
 * ring and in the tally is then final and can still be taken. */
void claim_mute(struct claim *c);

/* claim_lost(c): events that did not fit into the ring since it was made. */
uint64_t claim_lost(const struct claim *c);

/* claim_drop(c): mute, unmap, unlock; harmless on CLAIM_NONE and twice. */
void claim_drop(struct claim *c);

#endif
