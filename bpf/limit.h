/* SPDX-License-Identifier: GPL-2.0-only */
/* Rate limits: the generic cell rate algorithm (ITU-T I.371, virtual scheduling): one theoretical arrival time
 * per key. A packet conforms when it is no earlier than that time less the tolerance, and then moves the time
 * on by one interval. */
#ifndef FW_LIMIT_H
#define FW_LIMIT_H

#include <bpf/bpf_helpers.h>

#include "count.h"
#include "maps.h"
#include "packet.h"

#define GCRA_RETRIES 4
#define GCRA_SLACK 1000000000ULL /* ns: clocks of two CPUs, and then some */

/* enum fw_rate_by of lib/policy.h */
#define RATE_BY_SOURCE 0
#define RATE_BY_RULE 2

/* 1: conforms. Compare-and-swap, so that two CPUs never spend one token; who loses every retry is refused,
 * because letting it pass would over-admit. */
static __always_inline int gcra(__u64 *arrival, __u64 now, __u64 interval, __u64 tolerance)
{
	for (int i = 0; i < GCRA_RETRIES; i++) {
		__u64 old = *(volatile __u64 *)arrival;
		__u64 at = old > now ? old : now;

		if (at - now > tolerance) {
			/* Further ahead than this limit ever gets: what a slower one has left behind is used up. */
			if (at - now <= tolerance + interval + GCRA_SLACK)
				return 0;
			at = now + tolerance;
		}
		if (__sync_val_compare_and_swap(arrival, old, at + interval) == old)
			return 1;
	}
	return 0;
}

enum limited { LIMIT_WITHIN, LIMIT_ABOVE, LIMIT_NO_MEMORY };

/* One packet of ${p} against the limit ${r} of rule ${id}. */
static __noinline enum limited limit_packet(const struct packet *p, const struct fw_rate *r, __u32 id)
{
	struct fw_limit_key key = { .rule = id };
	__u64 now = bpf_ktime_get_boot_ns(), first = now + r->interval, *arrival;

	if (r->by != RATE_BY_RULE) {
		const union fw_addr *a = r->by == RATE_BY_SOURCE ? &p->src : &p->dst;

		__builtin_memcpy(key.addr, a, sizeof(key.addr));
		/* a host owns its whole /64 (RFC 4291, 2.5.4): limiting single addresses limits nobody */
		if (!fw_addr_is4(a))
			__builtin_memset(key.addr + 8, 0, 8);
	}
	arrival = bpf_map_lookup_elem(&limits, &key);
	if (!arrival) {
		if (!bpf_map_update_elem(&limits, &key, &first, BPF_NOEXIST)) {
			state_stat(STAT(limits_created));
			return LIMIT_WITHIN;
		}
		arrival = bpf_map_lookup_elem(&limits, &key); /* another CPU was first */
		if (!arrival)
			return LIMIT_NO_MEMORY;
	}
	return gcra(arrival, now, r->interval, r->tolerance) ? LIMIT_WITHIN : LIMIT_ABOVE;
}

#endif
