/* SPDX-License-Identifier: GPL-2.0-only */
/* Datagrams in pieces. Only the first fragment has ports, so it is judged, and if it passes it leaves an entry in the
 * flow table by which the others follow it: each unit of 8 bytes once (overlapping fragments are what RFC 1858, RFC 3128
 * and RFC 5722 warn of), with up to three gaps when they come out of order. */
#ifndef FW_FRAGMENT_H
#define FW_FRAGMENT_H

#include "flow.h"

#define FRAG_BYTES_MAX 65535   /* of a datagram: IPv4 with its header, IPv6 without it and the fragment header */

/* Units [from, to) in ${f}'s ranges, which are ours: no two of them touch each other or ${done}. 0: they overlap, or
 * there are too many gaps. */
static __always_inline int frag_record(struct fw_flow *f, __u32 from, __u32 to, int last)
{
	__u32 end = last ? to : f->total;
	int placed;

	if (from < f->done || (f->total && (to > f->total || last)))
		return 0;
	for (int i = 0; i < 6; i += 2) {
		if (f->late[i + 1] && from < f->late[i + 1] && to > f->late[i])
			return 0;
		if (last && f->late[i + 1] > to)
			return 0;
	}
	for (int i = 0; i < 6; i += 2) {
		if (!f->late[i + 1])
			continue;
		if (f->late[i + 1] == from)
			from = f->late[i];
		else if (f->late[i] == to)
			to = f->late[i + 1];
		else
			continue;
		f->late[i] = f->late[i + 1] = 0;
	}
	placed = from == f->done;
	if (placed)
		f->done = to;
	for (int i = 0; i < 6 && !placed; i += 2) {
		if (f->late[i + 1])
			continue;
		f->late[i] = from;
		f->late[i + 1] = to;
		placed = 1;
	}
	if (placed)
		f->total = end;
	return placed;
}

/* From here on ${p} is found by its datagram. IPv6 tells those apart by addresses and identification alone (RFC 8200,
 * 4.5). ${ifindex}: 0 at hooks that see several network namespaces, where p->ifindex may have been forgotten. */
static __always_inline void frag_key(struct packet *p, __u32 hook, __u32 ifindex)
{
	p->sport = p->frag_id;
	p->dport = p->frag_id >> 16;
	if (p->ip_version == 6)
		p->proto = 44;
	p->tuple_hook = hook + 1;
	p->tuple_iface = ifindex;
}

/* A first fragment that is empty or leaves part of a unit to the next, which no sender does. */
static __always_inline int frag_first_odd(const struct packet *p)
{
	return p->frag && (p->frag_len & 7 || !p->frag_len);
}

/* A later fragment, whose datagram has the entry ${ref}. 0: no, and never for an odd first one; else 1 << 32 | the
 * counter id of what let the first one pass. */
__noinline __u64 fw_frag_later(const struct packet *p, __u64 ref, __u32 slot)
{
	__u32 from, to, way, ok = 0, last, bytes;
	struct fw_flow_bucket *b;
	const struct fw_arena *a;
	__u64 word, id;

	if (!p)
		return 0;
	a = arena_in(slot);
	from = p->frag_at;
	to = from + (p->frag_len + 7) / 8;
	last = p->frag_last;
	bytes = from * 8 + p->length - (p->ip_version == 6 ? 48 : 0);
	if (!a || to == from || bytes > FRAG_BYTES_MAX || (!last && p->frag_len & 7))
		return 0;
	b = flow_at(ref, &way);
	if (!b)
		return 0;
	id = 1ULL << 32 | FW_FLOW_RULE(flow_in(b, way)->stamp);
	FW_NO_UNROLL
	for (int i = 0; i < 16; i++) {
		word = flow_word(b, way);
		if (FW_FLOW_STATE(word) != FW_FLOW_FRAGMENT || flow_expired(word, bpf_jiffies64(), a->tmo) ||
		    FW_FLOW_VERSION(word) != FLOW_REF_VERSION(ref))
			return 0;
		if (!(word & FW_FLOW_LOCKED) && flow_swap(b, way, word, word | FW_FLOW_LOCKED)) {
			ok = frag_record(flow_in(b, way), from, to, last);
			if (ok && flow_in(b, way)->total && flow_in(b, way)->done == flow_in(b, way)->total)
				flow_release(b, way, word | FW_FLOW_LOCKED);
			else /* unless it has been taken meanwhile */
				flow_swap(b, way, word | FW_FLOW_LOCKED, word);
			return ok ? id : 0;
		}
	}
	return id; /* another CPU is at it all the time: the receiver sees to overlaps, too */
}

#endif
