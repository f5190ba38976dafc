/* SPDX-License-Identifier: GPL-2.0-only */
/* ICMP errors (RFC 792, RFC 4443): one passes because of a flow when the packet it carries is of that flow, was sent by
 * an end that has been heard, and the error goes to the very host that sent it. Without the last, whoever has
 * one flow through us could reach every host with crafted errors (Synacktiv, "ICMP reachable", 2019). */
#ifndef FW_RELATED_H
#define FW_RELATED_H

#include "flow.h"
#include "parse.h"

#define RELATED_EXT_MAX 4

/* States in which the other end has not been heard: it can't have sent what an error is about. */
#define FLOW_UNANSWERED                                                                                               \
	(1u << FW_FLOW_SYN_SENT | 1u << FW_FLOW_PICKED_UP | 1u << FW_FLOW_UDP_NEW | 1u << FW_FLOW_ICMP_NEW |          \
	 1u << FW_FLOW_NEW | 1u << FW_FLOW_FRAGMENT)

/* Addresses and protocol of the IP header at ${c->off} into ${k}; ${c->off} moves behind it. 0: cannot be told. */
static __always_inline int related_ip4(struct cursor *c, struct fw_tuple *k)
{
	struct ip4_header h;

	if (load(c, c->off, &h, sizeof(h)) || h.ihl_version >> 4 != 4 || (h.ihl_version & 15) < 5 ||
	    h.frag & fw_be16(0x1fff))
		return 0;
	fw_addr_set4((union fw_addr *)k->src, h.src);
	fw_addr_set4((union fw_addr *)k->dst, h.dst);
	k->proto = h.proto;
	c->off += (h.ihl_version & 15) * 4;
	return 1;
}

static __always_inline int related_ip6(struct cursor *c, struct fw_tuple *k)
{
	struct ext_header x;
	__u8 version, next;

	if (load(c, c->off, &version, 1) || version >> 4 != 6 || load(c, c->off + 6, &next, 1) ||
	    load(c, c->off + 8, k->src, sizeof(k->src)) || load(c, c->off + 24, k->dst, sizeof(k->dst)))
		return 0;
	c->off += 40;
	for (int i = 0; i < RELATED_EXT_MAX && ext_headers[next].add; i++) {
		if (load(c, c->off, &x, sizeof(x)) || (ext_headers[next].is_frag && x.frag & fw_be16(0xfff8)))
			return 0;
		c->off = (c->off + ext_headers[next].add + x.len * ext_headers[next].unit) & 0xffff;
		next = x.next;
	}
	k->proto = next;
	return 1;
}

/* The ports, of which 8 bytes are there by RFC 792. Which end can have sent this. */
static __always_inline enum flow_ends related_ports(const struct cursor *c, struct fw_tuple *k, int v6)
{
	__u8 h[8];

	if (load(c, c->off, h, sizeof(h)))
		return FLOW_NONE;
	if (fw_has_ports(k->proto)) {
		k->sport = h[0] << 8 | h[1];
		k->dport = h[2] << 8 | h[3];
		return FLOW_ANY;
	}
	if (k->proto != (v6 ? 58 : 1))
		return FLOW_ANY;
	if (h[0] == (v6 ? ICMP6_ECHO : ICMP_ECHO)) {
		__builtin_memcpy(&k->sport, h + 4, 2);
		return FLOW_REQUEST;
	}
	__builtin_memcpy(&k->dport, h + 4, 2);
	return h[0] == (v6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY) ? FLOW_REPLY : FLOW_NONE;
}

/* The tuple of the packet that the error ${p} carries into ${k}, and which end can have sent it. FLOW_NONE: there is no
 * such packet, or it was not sent by the host that the error goes to. */
static __always_inline int related(struct cursor *c, const struct packet *p, struct fw_tuple *k)
{
	int v6, ends;

	if (!p || !k)
		return FLOW_NONE;
	v6 = p->ip_version == 6;
	k->d[4] = 0;
	c->off = p->l4_at + 8;
	if (!(v6 ? related_ip6(c, k) : related_ip4(c, k)))
		return FLOW_NONE;
	ends = related_ports(c, k, v6);
	return p->dst.d[0] == k->d[0] && p->dst.d[1] == k->d[1] ? ends : FLOW_NONE;
}

/* Per kind of context, as fw_parse_*(). */
__noinline int fw_related_xdp(struct xdp_md *ctx, const struct packet *p, struct fw_tuple *k)
{
	struct cursor c = {
		.data = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end, .ctx = ctx, .is_xdp = 1,
	};

	return related(&c, p, k);
}

__noinline int fw_related_skb(struct __sk_buff *ctx, const struct packet *p, struct fw_tuple *k)
{
	struct cursor c = { .data = (void *)(long)ctx->data, .end = (void *)(long)ctx->data_end, .ctx = ctx };

	return related(&c, p, k);
}

/* The flow ${ref} of a packet that one of ${ends} has sent, or FLOW_NOWHERE if it isn't alive or didn't send it. */
__noinline __u64 fw_related_flow(__u64 ref, __u32 slot, __u32 ends)
{
	struct fw_flow_bucket *b;
	const struct fw_arena *a;
	__u32 way, state;
	__u64 word;

	a = arena_in(slot);
	b = flow_at(ref, &way); /* none for FLOW_NOWHERE */
	if (!a || !b)
		return FLOW_NOWHERE;
	word = flow_word(b, way);
	state = FW_FLOW_STATE(word) & (FW_FLOW_STATE_ROOM - 1);
	if (state <= FW_FLOW_BUSY || FW_FLOW_IS_CUT(state) || flow_expired(word, bpf_jiffies64(), a->tmo))
		return FLOW_NOWHERE;
	if (ends == (FLOW_REF_REPLY(ref) ? FLOW_REQUEST : FLOW_REPLY) ||
	    (FLOW_REF_REPLY(ref) && FLOW_UNANSWERED >> state & 1))
		return FLOW_NOWHERE;
	return ref;
}

#endif
