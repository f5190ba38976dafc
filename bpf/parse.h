/* SPDX-License-Identifier: GPL-2.0-only */
/* Frame to struct packet: Ethernet, up to two VLAN tags (IEEE 802.1Q, 802.1ad), IPv4 (RFC 791), IPv6 and its
 * extension headers (RFC 8200, RFC 4302 for AH), ports and ICMP type. Pure: the bytes come through load(),
 * which each hook brings along:
 *	int load(const struct cursor *c, __u32 off, void *to, __u32 len)   0, or -1 when they are not there
 *	__u32 full_length(const struct cursor *c)   bytes of the packet, from ${c->data} on */
#ifndef FW_PARSE_H
#define FW_PARSE_H

#include "packet.h"

enum parsed { PARSED, PARSED_NOT_IP, PARSED_MALFORMED };

#define ETHERTYPE_IP 0x0800
#define ETHERTYPE_IP6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define VLAN_TAGS_MAX 2
#define EXT_HEADERS_MAX 8

struct cursor {
	void *data, *end; /* what can be read directly */
	void *ctx;
	__u32 off;   /* of the next header */
	__u32 total; /* bytes of the packet that are known to be there, from ${data} on */
	__u32 l4len; /* bytes from the transport header to the end of the IP packet */
	__u8 gso;    /* a segment train: IP lengths may be 0 (BIG TCP) */
	__u8 is_xdp; /* for load() */
};

static __always_inline int load(const struct cursor *c, __u32 off, void *to, __u32 len);
static __always_inline __u32 full_length(const struct cursor *c);

/* The packet has ${end} bytes. The whole length is asked for only when the part at hand is too short: for XDP that
 * takes a helper call, and nearly every packet is in one piece. */
FW_INLINE int reaches(struct cursor *c, __u32 end)
{
	if (end > c->total)
		c->total = full_length(c);
	return end <= c->total;
}

/* Ethernet header and tags. ${tags}: tags already taken off by the kernel. Gives the ethertype or, negative,
 * -PARSED_MALFORMED. */
FW_INLINE int parse_link(struct cursor *c, struct packet *p, int tags)
{
	__u16 type, tag[2];
	__u32 off = c->off + 12;

	if (load(c, off, &type, 2))
		return -PARSED_MALFORMED;
	for (int i = 0; i <= VLAN_TAGS_MAX; i++) {
		type = fw_be16(type);
		off += 2;
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ)
			break;
		if (++tags > VLAN_TAGS_MAX || load(c, off, tag, 4))
			return -PARSED_MALFORMED;
		if (!(p->known & FW_EV_VLAN))
			p->vlan = fw_be16(tag[0]) & 0xfff;
		p->known |= FW_EV_VLAN;
		type = tag[1];
		off += 2;
	}
	c->off = off;
	return type;
}

struct ip4_header {
	__u8 ihl_version, tos;
	__u16 total, id, frag;
	__u8 ttl, proto;
	__u16 check;
	__u32 src, dst;
};

FW_INLINE enum parsed parse_ip4(struct cursor *c, struct packet *p)
{
	struct ip4_header h;
	__u32 ihl, total;

	if (load(c, c->off, &h, sizeof(h)) || h.ihl_version >> 4 != 4)
		return PARSED_MALFORMED;
	ihl = (h.ihl_version & 15) * 4;
	total = fw_be16(h.total);
	if (!total && c->gso)
		total = c->total - c->off;
	if (ihl < sizeof(h) || ihl > total || !reaches(c, c->off + total))
		return PARSED_MALFORMED;
	fw_addr_set4(&p->src, h.src);
	fw_addr_set4(&p->dst, h.dst);
	p->ip_version = 4;
	p->proto = h.proto;
	p->length = total;
	p->known |= FW_EV_ADDRS | FW_EV_SADDR | FW_EV_LENGTH;
	h.frag = fw_be16(h.frag);
	if (h.frag & 0x1fff)
		p->frag = FW_FRAG_LATER;
	else if (h.frag & 0x2000)
		p->frag = FW_FRAG_FIRST;
	p->frag_at = h.frag & 0x1fff;
	p->frag_last = !(h.frag & 0x2000);
	p->frag_id = h.id;
	p->frag_len = total - ihl;
	c->off += ihl;
	c->l4len = total - ihl;
	return PARSED;
}

struct ip6_header {
	__u8 version, flow[3];
	__u16 payload;
	__u8 next, hop;
	union fw_addr src, dst;
};

struct ext_header {
	__u8 next, len;
	__u16 frag; /* of a fragment header */
	__u32 id;   /* likewise */
};

/* Extension headers that are walked: length = add + len * unit. A table and no comparisons, because each branch in
 * the loop multiplies what the verifier has to walk. */
static const struct {
	__u8 add, unit, is_frag, pad;
} ext_headers[256] = {
	[0] = { 8, 8, 0, 0 },  /* hop-by-hop options */
	[43] = { 8, 8, 0, 0 }, /* routing */
	[44] = { 8, 0, 1, 0 }, /* fragment */
	[51] = { 8, 4, 0, 0 }, /* authentication, in units of 4 bytes (RFC 4302) */
	[60] = { 8, 8, 0, 0 }, /* destination options */
};

/* The chain of extension headers. An unknown one ends it and is the protocol. */
FW_INLINE enum parsed parse_ext(struct cursor *c, struct packet *p, __u32 left)
{
	struct ext_header x;
	__u32 off = c->off, size, frag;
	__u8 next = p->proto, this;

	for (int i = 0; i <= EXT_HEADERS_MAX; i++) {
		if (!ext_headers[next].add)
			break;
		if (i == EXT_HEADERS_MAX || left < 8 || load(c, off, &x, sizeof(x)))
			return PARSED_MALFORMED;
		this = next;
		size = ext_headers[next].add + x.len * ext_headers[next].unit;
		if (size > left)
			return PARSED_MALFORMED;
		left -= size;
		off = (off + size) & 0xffff;
		frag = fw_be16(x.frag) * ext_headers[next].is_frag;
		next = x.next;
		if (frag & 1)
			p->frag = FW_FRAG_FIRST;
		if (ext_headers[this].is_frag) {
			p->frag_id = x.id;
			p->frag_at = frag >> 3;
			p->frag_last = !(frag & 1);
			p->frag_len = left;
		}
		if (frag & 0xfff8) {
			p->frag = FW_FRAG_LATER;
			break;
		}
	}
	p->proto = next;
	c->off = off;
	c->l4len = left;
	return PARSED;
}

FW_INLINE enum parsed parse_ip6(struct cursor *c, struct packet *p, __u8 *hop)
{
	struct ip6_header h;
	__u32 payload;

	if (load(c, c->off, &h, sizeof(h)) || h.version >> 4 != 6)
		return PARSED_MALFORMED;
	payload = fw_be16(h.payload);
	if (!payload && c->gso)
		payload = c->total - c->off - sizeof(h);
	if (!reaches(c, c->off + sizeof(h) + payload))
		return PARSED_MALFORMED;
	p->src = h.src;
	p->dst = h.dst;
	p->ip_version = 6;
	p->proto = h.next;
	p->length = payload + sizeof(h);
	p->known |= FW_EV_ADDRS | FW_EV_SADDR | FW_EV_LENGTH;
	*hop = h.hop;
	c->off += sizeof(h);
	return parse_ext(c, p, payload);
}

/* Bytes of transport header without which a packet is truncated; 0: nothing of it is read. */
FW_INLINE __u32 l4_min(const struct packet *p)
{
	switch (p->proto) {
	case 6:
		return 20;
	case 17:
	case 136:
		return 8;
	case 132:
		return 12;
	case 1:
		return p->ip_version == 4 ? 8 : 0;
	case 58:
		return p->ip_version == 6 ? 8 : 0;
	}
	return 0;
}

/* Neighbour discovery (RFC 4861: hop limit 255) and multicast listener discovery (RFC 2710, RFC 3810: hop
 * limit 1, link-local or unspecified source). Routers would have changed the hop limit. */
FW_INLINE int is_favoured(const struct packet *p, __u8 hop)
{
	if (p->icmp_type >= 133 && p->icmp_type <= 136)
		return hop == 255;
	if ((p->icmp_type >= 130 && p->icmp_type <= 132) || p->icmp_type == 143)
		return hop == 1 && ((p->src.b[0] == 0xfe && (p->src.b[1] & 0xc0) == 0x80) ||
				    (!p->src.d[0] && !p->src.d[1]));
	return 0;
}

/* ICMP errors: unreachable, source quench, time exceeded, parameter problem (RFC 792); all of ICMPv6 below 128 that RFC
 * 4443 defines. A redirect is none: it asks for something. */
FW_INLINE int is_icmp_error(const struct packet *p)
{
	if (p->ip_version == 4)
		return p->icmp_type < 32 && (1u << 3 | 1u << 4 | 1u << 11 | 1u << 12) >> p->icmp_type & 1;
	return p->icmp_type >= 1 && p->icmp_type <= 4;
}

FW_INLINE enum parsed parse_l4(struct cursor *c, struct packet *p, __u8 hop)
{
	__u8 h[14];
	__u32 min = l4_min(p);

	p->l4_at = c->off;
	if (p->frag == FW_FRAG_LATER || !min)
		return PARSED;
	if (c->l4len < min)
		return PARSED_MALFORMED;
	if (p->proto == 6) {
		if (load(c, c->off, h, 14))
			return PARSED_MALFORMED;
		p->tcp_flags = h[13];
		p->known |= FW_EV_TCP;
	} else if (load(c, c->off, h, 8)) {
		return PARSED_MALFORMED;
	}
	if (fw_has_ports(p->proto)) {
		p->sport = h[0] << 8 | h[1];
		p->dport = h[2] << 8 | h[3];
		p->known |= FW_EV_SPORT | FW_EV_DPORT;
		return PARSED;
	}
	p->icmp_type = h[0];
	p->icmp_code = h[1];
	/* an echo's identifier is the asking end's port */
	if (p->icmp_type == (p->proto == 1 ? 0 : 129))
		__builtin_memcpy(&p->dport, h + 4, 2);
	else
		__builtin_memcpy(&p->sport, h + 4, 2);
	p->known |= FW_EV_ICMP;
	p->icmp_error = p->frag == FW_FRAG_NONE && is_icmp_error(p);
	p->favoured = p->ip_version == 6 && p->frag == FW_FRAG_NONE && is_favoured(p, hop);
	return PARSED;
}

/* The plain case, which nearly every packet is: TCP or UDP, no tags, options, fragments or extension headers, all
 * of it in the linear part at ${at}, which is ${c->end - at} long. 1 if that was it and ${p} is filled. ${zero}
 * is 0 and the volatile loads are what was loaded before, but the verifier doesn't know: constants would make
 * it walk everything that follows once for each combination. */
FW_INLINE int fast_l4(const struct cursor *c, struct packet *p, const __u8 *h, __u32 bytes, __u32 zero)
{
	if (p->proto == 17) {
		p->known = (FW_EV_ADDRS | FW_EV_SADDR | FW_EV_LENGTH | FW_EV_SPORT | FW_EV_DPORT) + zero;
	} else {
		if ((void *)(h + 20) > c->end || bytes < 20)
			return 0;
		p->tcp_flags = h[13];
		p->known = (FW_EV_ADDRS | FW_EV_SADDR | FW_EV_LENGTH | FW_EV_SPORT | FW_EV_DPORT | FW_EV_TCP) + zero;
	}
	p->sport = h[0] << 8 | h[1];
	p->dport = h[2] << 8 | h[3];
	return 1;
}

FW_INLINE int parse_fast4(const struct cursor *c, struct packet *p, void *at, __u32 zero)
{
	const struct ip4_header *h = at;
	__u32 total;

	if (at + sizeof(*h) + 8 > c->end || h->ihl_version != 0x45 || h->frag & fw_be16(0x3fff))
		return 0;
	p->proto = h->proto;
	total = fw_be16(h->total);
	if ((p->proto != 6 && p->proto != 17) || total < sizeof(*h) + 8 || total > (__u64)(c->end - at))
		return 0;
	fw_addr_set4(&p->src, h->src);
	fw_addr_set4(&p->dst, h->dst);
	p->length = total;
	p->ip_version = 4 + zero;
	if (!fast_l4(c, p, at + sizeof(*h), total - sizeof(*h), zero))
		return 0;
	p->proto = *(const volatile __u8 *)&h->proto;
	return 1;
}

FW_INLINE int parse_fast6(const struct cursor *c, struct packet *p, void *at, __u32 zero)
{
	const struct ip6_header *h = at;
	__u32 payload;

	if (at + sizeof(*h) + 8 > c->end || h->version >> 4 != 6)
		return 0;
	p->proto = h->next;
	payload = fw_be16(h->payload);
	if ((p->proto != 6 && p->proto != 17) || payload < 8 || payload + sizeof(*h) > (__u64)(c->end - at))
		return 0;
	p->src = h->src;
	p->dst = h->dst;
	p->length = payload + sizeof(*h);
	p->ip_version = 6 + zero;
	if (!fast_l4(c, p, at + sizeof(*h), payload, zero))
		return 0;
	p->proto = *(const volatile __u8 *)&h->next;
	return 1;
}

/* parse_ip(c, p, ethertype): the IP packet at ${c->off}. */
FW_INLINE enum parsed parse_ip(struct cursor *c, struct packet *p, int ethertype)
{
	enum parsed r;
	__u8 hop = 0;

	if (ethertype == ETHERTYPE_IP)
		r = parse_ip4(c, p);
	else if (ethertype == ETHERTYPE_IP6)
		r = parse_ip6(c, p, &hop);
	else
		return ethertype < 0 ? PARSED_MALFORMED : PARSED_NOT_IP;
	return r == PARSED ? parse_l4(c, p, hop) : r;
}

#endif
