/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows: the first packet that a rule allows makes one, and then both directions pass until it has been idle
 * for too long. Expiry is judged at the look-up. */
#ifndef FW_FLOW_H
#define FW_FLOW_H

#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "packet.h"

/* enum fw_action of lib/policy.h */
#define ACTION_DENY 0
#define ACTION_ALLOW 1
#define ACTION_REJECT 2
#define ACTION_RATE_LIMIT 3

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129

struct flow_ref {
	union {
		struct fw_flow_key4 k4;
		struct fw_flow_key6 k6;
	};
	__u8 is4;
	__u8 from_b; /* the packet's source is end b */
	__u8 ends;   /* FLOW_* */
	__u8 stale;  /* the opener's packet of a flow that an earlier generation allowed; it has: */
	__u32 id;
};
#define FLOW_NONE 0    /* this packet can't belong to a flow */
#define FLOW_ANY 1     /* either end may send it */
#define FLOW_REQUEST 2 /* ICMP: only the opener */
#define FLOW_REPLY 3   /* ICMP: only the other end; makes no flow */

static __always_inline __u8 flow_ends(const struct packet *p)
{
	int icmp = (p->ip_version == 4 && p->proto == 1) || (p->ip_version == 6 && p->proto == 58);

	if (p->frag == FW_FRAG_LATER)
		return FLOW_NONE;
	if (!icmp)
		return FLOW_ANY;
	if (p->icmp_type == (p->proto == 1 ? ICMP_ECHO : ICMP6_ECHO))
		return FLOW_REQUEST;
	if (p->icmp_type == (p->proto == 1 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY))
		return FLOW_REPLY;
	return FLOW_NONE;
}

/* ${zero} hides from the verifier what it would otherwise walk everything after for (empty_packet()). */
static __always_inline void flow_key(const struct packet *p, struct flow_ref *f, __u8 zero)
{
	int icmp = p->known & FW_EV_ICMP;
	__u16 sport = icmp ? p->echo_id : p->sport, dport = icmp ? p->echo_id : p->dport;
	__u64 s0 = p->src.d[0], s1 = p->src.d[1], d0 = p->dst.d[0], d1 = p->dst.d[1];

	__builtin_memset(f, 0, sizeof(*f));
	f->ends = flow_ends(p) + zero;
	f->is4 = (fw_addr_is4(&p->src) && fw_addr_is4(&p->dst)) + zero;
	f->stale = zero;
	f->from_b = (s0 > d0 || (s0 == d0 && (s1 > d1 || (s1 == d1 && sport > dport)))) + zero;
	if (f->is4) {
		*(__u32 *)f->k4.a_addr = f->from_b ? p->dst.w[3] : p->src.w[3];
		*(__u32 *)f->k4.b_addr = f->from_b ? p->src.w[3] : p->dst.w[3];
		f->k4.a_port = f->from_b ? dport : sport;
		f->k4.b_port = f->from_b ? sport : dport;
		f->k4.proto = p->proto;
		return;
	}
	__builtin_memcpy(f->k6.a_addr, f->from_b ? &p->dst : &p->src, 16);
	__builtin_memcpy(f->k6.b_addr, f->from_b ? &p->src : &p->dst, 16);
	f->k6.a_port = f->from_b ? dport : sport;
	f->k6.b_port = f->from_b ? sport : dport;
	f->k6.proto = p->proto;
}

static __always_inline __u64 flow_timeout(const struct fw_arena *a, __u8 proto)
{
	switch (proto) {
	case 6:
		return a->tmo_tcp;
	case 17:
	case 136:
		return a->tmo_udp;
	case 1:
	case 58:
		return a->tmo_icmp;
	}
	return a->tmo_generic;
}

/* 1 if the packet comes from the end that opened ${w}. */
static __always_inline int flow_from_opener(const struct flow_ref *f, const struct fw_flow *w)
{
	return f->from_b == (w->flags & FW_FLOW_OPENER_B);
}

/* The live flow of ${p}, or NULL. Fills ${f}, which flow_create() takes. */
static __always_inline struct fw_flow *flow_find(const struct fw_arena *a, const struct packet *p, struct flow_ref *f)
{
	struct fw_flow *w;
	__u64 now;

	flow_key(p, f, a->zero);
	if (f->ends == FLOW_NONE)
		return 0;
	w = f->is4 ? bpf_map_lookup_elem(&flows4, &f->k4) : bpf_map_lookup_elem(&flows6, &f->k6);
	if (!w)
		return 0;
	now = bpf_jiffies64(); /* inlined; the coarse clock is a helper call, 20 ns */
	if (now > w->seen && now - w->seen > flow_timeout(a, p->proto))
		return 0;
	if ((f->ends == FLOW_REQUEST && !flow_from_opener(f, w)) || (f->ends == FLOW_REPLY && flow_from_opener(f, w)))
		return 0;
	/* The opener's next packet shows whether the present policy allows the flow. Until then replies pass, but don't
	 * keep it alive. */
	if (w->generation != a->generation) {
		f->stale = f->from_b ^ (w->flags & FW_FLOW_OPENER_B) ^ 1;
		f->id = w->id;
		return w;
	}
	/* a write per packet would bounce the line between CPUs */
	if (now - w->seen > a->jiffies_per_s >> 3)
		w->seen = now;
	if (!flow_from_opener(f, w) && !(w->flags & FW_FLOW_REPLIED))
		w->flags |= FW_FLOW_REPLIED;
	return w;
}

/* Something to tell flows apart by: not unique, but cheaper than a random number (19 ns). */
static __always_inline __u32 flow_hash(const struct packet *p, __u64 now)
{
	__u64 h = (p->src.d[1] ^ (p->dst.d[1] << 1)) + ((__u64)p->sport << 16 | p->dport) + (now << 20);

	return (h * 0x9e3779b97f4a7c15ULL >> 32) | 1;
}

/* A flow for the packet that made ${f}. Returns its id, 0 when there is none. Not inlined, for the stack's sake. */
static __noinline __u64 flow_create(const struct packet *p, const struct flow_ref *f, const struct fw_rule_rec *r,
				    __u32 generation, __u32 direction)
{
	__u64 now = bpf_jiffies64();
	struct fw_flow w = {
		.seen = now,
		.cgroup_id = p->cgroup_id,
		.rule = r->id,
		.generation = generation,
		.ifindex = p->ifindex,
		.uid = p->known & FW_EV_UID ? p->uid : ~0u,
		.flags = (f->from_b ? FW_FLOW_OPENER_B : 0) | (r->action == ACTION_RATE_LIMIT ? FW_FLOW_LIMITED : 0),
		.direction = direction,
		.id = f->stale ? f->id : flow_hash(p, now),
	};

	if (f->ends == FLOW_NONE || f->ends == FLOW_REPLY)
		return 0;
	if (f->is4 ? bpf_map_update_elem(&flows4, &f->k4, &w, BPF_ANY)
		   : bpf_map_update_elem(&flows6, &f->k6, &w, BPF_ANY))
		return 0;
	return w.id;
}

/* The flow of the packet that made ${f} is not allowed any more. */
static __always_inline void flow_cut(const struct flow_ref *f)
{
	if (f->is4)
		bpf_map_delete_elem(&flows4, &f->k4);
	else
		bpf_map_delete_elem(&flows6, &f->k6);
}

#endif
