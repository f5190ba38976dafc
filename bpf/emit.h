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
	__u8 type; /* FW_EVENT_*; and of a disagreement: */
	__u8 other_verdict;
	__u32 other_rule, other_generation;
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
	e->type = j->type;
	e->other_verdict = j->other_verdict;
	e->other_rule = j->other_rule;
	e->other_generation = j->other_generation;
}

/* Per-rule limit on events, so that a flood of denials can't flood the log. 1: show. */
static __always_inline int log_allowed(const struct fw_arena *a, struct fw_log_limit *l, __u64 now)
{
	return !a->log_interval || gcra(&l->arrival, now, a->log_interval, a->log_tolerance);
}

static __always_inline void suppress(struct fw_log_limit *l, __u64 claimed)
{
	for (__u32 i = 0; i < FW_RINGS; i++)
		if (claimed >> i & 1)
			__sync_fetch_and_add(&l->suppressed[i], 1);
}

/* The record to ring ${i}, with what was suppressed for its reader since the last one. What the record doesn't take
 * there goes back, so that for each reader nothing is ever told twice or not at all. */
static __always_inline void send_to(struct fw_readers *r, struct fw_log_limit *l, struct fw_event *e, __u32 i)
{
	/* a wake-up costs microseconds: the reader polls, and only every so many events push it */
	__u64 flags = (r->sent[i] + 1) % FW_WAKE_EVERY ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP, left = 0;
	__u32 key = i; /* of its own: the verifier forgets what a key was */
	void *ring = bpf_map_lookup_elem(&rings, &key);

	if (*(volatile __u64 *)&l->suppressed[i])
		left = __sync_lock_test_and_set(&l->suppressed[i], 0);
	e->suppressed = left > ~0u ? ~0u : left;
	if (ring && !bpf_ringbuf_output(ring, e, sizeof(*e), flags)) {
		__sync_fetch_and_add(&r->sent[i], 1);
		left -= e->suppressed;
	} else {
		__sync_fetch_and_add(&l->lost[i], 1);
		__sync_fetch_and_add(&r->lost[i], 1);
		count(e->rule, COUNT_LOST, 1);
	}
	if (left)
		__sync_fetch_and_add(&l->suppressed[i], left);
}

static __always_inline void emit_from(const struct fw_arena *a, const struct packet *p, const struct judged *j,
				      int is_call)
{
	__u32 key = 0;
	struct fw_readers *r = bpf_map_lookup_elem(&readers, &key);
	struct fw_log_limit *l;
	struct fw_event e = {};
	__u64 claimed, now;

	if (!r)
		return;
	/* once: an event belongs to a reader or it doesn't */
	claimed = *(volatile __u64 *)&r->claimed;
	if (!claimed)
		return;
	key = j->id;
	l = bpf_map_lookup_elem(&log_limits, &key);
	if (!l) /* nor is it counted */
		return;
	now = bpf_ktime_get_boot_ns();
	if (!j->unlimited && !log_allowed(a, l, now)) {
		suppress(l, claimed);
		return;
	}
	fill_event(&e, p, j);
	e.time = now;
	if (is_call) {
		e.pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(e.comm, sizeof(e.comm));
		e.known |= FW_EV_TASK;
	}
	for (__u32 i = 0; i < FW_RINGS; i++)
		if (claimed >> i & 1)
			send_to(r, l, &e, i);
}

/* Functions of their own, so that the record doesn't add to the stack of decide() (512 bytes in all). */
static __noinline int emit_packet(const struct fw_arena *a, const struct packet *p, const struct judged *j)
{
	emit_from(a, p, j, 0);
	return j->id;
}

/* A call runs in the task that makes it; a packet may be sent from anywhere. */
static __noinline int emit_call(const struct fw_arena *a, const struct packet *p, const struct judged *j)
{
	emit_from(a, p, j, 1);
	return j->id;
}

static __always_inline void emit(const struct fw_arena *a, const struct hook *h, const struct packet *p,
				 struct judged *j)
{
	j->hook = h->id;
	j->direction = h->direction;
	/* A result that is constant or not used is left out by clang; then verifiers see what happens to be in its register. */
	asm volatile("" : : "r"(h->is_call ? emit_call(a, p, j) : emit_packet(a, p, j)));
}

#endif
