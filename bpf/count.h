/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters. Always atomic adds: connect programs run preemptibly and softirq programs interrupt them on the
 * same CPU, so that load, add, store would lose counts. */
#ifndef FW_COUNT_H
#define FW_COUNT_H

#include <bpf/bpf_helpers.h>

#include "maps.h"

enum counted { COUNT_ALLOWED, COUNT_DENIED, COUNT_LIMITED, COUNT_FLOW, COUNT_CALL, COUNT_LOST };

static __always_inline void count(__u32 id, enum counted what, __u32 bytes)
{
	struct fw_counter *c = bpf_map_lookup_elem(&counters, &id);

	if (!c)
		return;
	switch (what) {
	case COUNT_ALLOWED:
		__sync_fetch_and_add(&c->allowed, 1);
		__sync_fetch_and_add(&c->bytes_passed, bytes);
		break;
	case COUNT_FLOW:
		__sync_fetch_and_add(&c->flow, 1);
		__sync_fetch_and_add(&c->bytes_passed, bytes);
		break;
	case COUNT_DENIED:
		__sync_fetch_and_add(&c->denied, 1);
		__sync_fetch_and_add(&c->bytes_dropped, bytes);
		break;
	case COUNT_LIMITED:
		__sync_fetch_and_add(&c->limited, 1);
		__sync_fetch_and_add(&c->bytes_dropped, bytes);
		break;
	case COUNT_CALL:
		__sync_fetch_and_add(&c->calls, 1);
		break;
	case COUNT_LOST:
		__sync_fetch_and_add(&c->lost, bytes);
		break;
	}
}

/* One more of a field of struct fw_state_stats. */
#define STAT(field) __builtin_offsetof(struct fw_state_stats, field)
static __always_inline void state_stat(__u32 off)
{
	__u32 zero = 0;
	void *s = bpf_map_lookup_elem(&state_stats, &zero);

	if (s)
		__sync_fetch_and_add((__u64 *)(s + off), 1);
}

#endif
