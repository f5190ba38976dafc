/* SPDX-License-Identifier: GPL-2.0-only */
/* Events: one record to every claimed ring. Without a reader this is one load and a branch. */
#ifndef FW_EMIT_H
#define FW_EMIT_H

#include <bpf/bpf_helpers.h>

#include "count.h"
#include "limit.h"
#include "maps.h"
#include "packet.h"

/* A hook, constant where it calls decide(), so that what doesn't concern it is compiled away. */
struct hook {
	__u8 id;	/* enum fw_hook */
	__u8 direction; /* of the packets it sees */
	__u8 is_call;	/* connect or sendmsg: no packet yet; source and interface may be unknown */
	__u8 has_sk;	/* the full socket that sends (or calls) is known */
	__u8 any_netns; /* sockets of every network namespace: interface numbers mean nothing by themselves */
};

struct judged {
	__u32 id; /* counter id */
	__u32 generation;
	__u64 flow_id;
	__u8 verdict, reason;
	__u8 hook, direction;
	__u8 unlimited; /* the log limit does not hold */
};

static __always_inline void fill_event(struct fw_event *e, const struct packet *p, const struct judged *j)
{
	__builtin_memcpy(e->src, &p->src, 16);
	__builtin_memcpy(e->dst, &p->dst, 16);
	e->cgroup_id = p->cgroup_id;
	e->flow_id = j->flow_id;
	e->rule = j->id;
	e->generation = j->generation;
	e->ifindex = p->ifindex;
	e->length = p->length;
	e->uid = p->uid;
	e->known = p->known;
	e->sport = p->known & FW_EV_SPORT ? p->sport : 0;
	e->dport = p->known & FW_EV_DPORT ? p->dport : 0;
	e->vlan = p->vlan;
	e->hook = j->hook;
	e->direction = j->direction;
	e->verdict = j->verdict;
	e->reason = j->reason;
	e->proto = p->proto;
	e->ip_version = p->ip_version;
	e->icmp_type = p->icmp_type;
	e->icmp_code = p->icmp_code;
	e->tcp_flags = p->tcp_flags;
}

/* Per-rule limit on events, so that a flood of denials can't flood the log. 1: show. */
static __always_inline int log_allowed(const struct fw_arena *a, struct fw_event *e)
{
	struct fw_log_limit *l;

	if (!a->log_interval)
		return 1;
	l = bpf_map_lookup_elem(&log_limits, &e->rule);
	if (!l)
		return 1;
	if (!gcra(&l->arrival, e->time, a->log_interval, a->log_tolerance)) {
		__sync_fetch_and_add(&l->suppressed, 1);
		return 0;
	}
	if (l->suppressed)
		e->suppressed = __sync_lock_test_and_set(&l->suppressed, 0);
	return 1;
}

static __always_inline void send_event(struct fw_readers *r, struct fw_event *e)
{
	for (__u32 i = 0; i < FW_RINGS; i++) {
		__u32 n = i;
		void *ring;

		if (!(r->claimed >> i & 1))
			continue;
		ring = bpf_map_lookup_elem(&rings, &n);
		if (!ring)
			continue;
		/* a wake-up costs microseconds: the reader polls, and only every so many events push it */
		__u64 flags = (r->sent[i] + 1) % FW_WAKE_EVERY ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP;

		if (bpf_ringbuf_output(ring, e, sizeof(*e), flags)) {
			__sync_fetch_and_add(&r->lost[i], 1);
			count(e->rule, COUNT_LOST, 1);
		} else {
			__sync_fetch_and_add(&r->sent[i], 1);
		}
	}
}

static __always_inline void emit_from(const struct fw_arena *a, const struct packet *p, const struct judged *j,
				      int is_call)
{
	__u32 zero = 0;
	struct fw_readers *r = bpf_map_lookup_elem(&readers, &zero);
	struct fw_event e = {};

	if (!r || !r->claimed)
		return;
	fill_event(&e, p, j);
	e.time = bpf_ktime_get_boot_ns();
	if (!j->unlimited && !log_allowed(a, &e))
		return;
	if (is_call) {
		e.pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(e.comm, sizeof(e.comm));
		e.known |= FW_EV_TASK;
	}
	send_event(r, &e);
}

/* Functions of their own, so that the record doesn't add to the stack of decide() (512 bytes in all). */
static __noinline int emit_packet(const struct fw_arena *a, const struct packet *p, const struct judged *j)
{
	emit_from(a, p, j, 0);
	return 0;
}

/* A call runs in the task that makes it; a packet may be sent from anywhere. */
static __noinline int emit_call(const struct fw_arena *a, const struct packet *p, const struct judged *j)
{
	emit_from(a, p, j, 1);
	return 0;
}

static __always_inline void emit(const struct fw_arena *a, const struct hook *h, const struct packet *p,
				 struct judged *j)
{
	j->hook = h->id;
	j->direction = h->direction;
	if (h->is_call)
		emit_call(a, p, j);
	else
		emit_packet(a, p, j);
}

#endif
