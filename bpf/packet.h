/* SPDX-License-Identifier: GPL-2.0-only */
/* What every hook makes of its context before the one decision. Plain data, the same in the kernel and in
 * user space. */
#ifndef FW_PACKET_H
#define FW_PACKET_H

#include "fw_abi.h"

union fw_addr {
	__u8 b[16]; /* network byte order; IPv4 as ::ffff:a.b.c.d */
	__u32 w[4];
	__u64 d[2];
};

enum fw_frag { FW_FRAG_NONE, FW_FRAG_FIRST, FW_FRAG_LATER };

struct packet {
	/* struct fw_tuple: how the packet's flow is found */
	union fw_addr src, dst;
	__u16 sport, dport; /* host byte order; ICMP echo: the asking end's is the identifier as it stands */
	__u8 proto;
	__u8 tuple_hook;   /* 0 */
	__u16 tuple_iface; /* 0 */

	__u32 ifindex; /* 0: unknown */
	__u32 length;  /* IP bytes */
	__u32 uid;
	__u16 known; /* FW_EV_*: what of this is known */
	__u16 vlan;
	__u64 cgroup_id;
	__u8 ip_version; /* of the header: 4 or 6 */
	__u8 icmp_type, icmp_code;
	__u8 tcp_flags;
	__u8 frag;	 /* enum fw_frag */
	__u8 frag_last;	 /* no more fragments follow */
	__u8 favoured;	 /* neighbour discovery or MLD as RFC 4861, RFC 2710 and RFC 3810 have it */
	__u8 icmp_error; /* carries the packet that it is about */
	__u32 frag_id;	 /* network byte order */
	__u16 frag_at;	 /* offset in units of 8 bytes */
	__u16 frag_len;	 /* bytes of the datagram in this fragment */
	__u16 l4_at;	 /* offset of the transport header in what the hook's context holds */
	__u8 limited; /* was above its rate limit */
	__u8 pad;
	__u32 by; /* counter id of what decided, once something has */
};

#ifdef __BPF__
#define FW_INLINE static __always_inline
#define FW_NOINLINE static __noinline
#define FW_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define FW_INLINE static inline
#define FW_NOINLINE static inline
#define FW_NO_UNROLL
#endif

FW_INLINE __u32 fw_be32(__u32 v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap32(v);
#else
	return v;
#endif
}

FW_INLINE __u16 fw_be16(__u16 v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap16(v);
#else
	return v;
#endif
}

FW_INLINE __u64 fw_be64(__u64 v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap64(v);
#else
	return v;
#endif
}

/* fw_addr_is4(a): IPv4, or IPv6 that maps to it; both are judged as IPv4. */
FW_INLINE int fw_addr_is4(const union fw_addr *a)
{
	return a->d[0] == 0 && a->w[2] == fw_be32(0xffff);
}

FW_INLINE void fw_addr_set4(union fw_addr *a, __u32 be)
{
	a->d[0] = 0;
	a->w[2] = fw_be32(0xffff);
	a->w[3] = be;
}

FW_INLINE int fw_has_ports(__u8 proto)
{
	return proto == 6 || proto == 17 || proto == 132 || proto == 136;
}

FW_ASSERT_SIZE(struct packet, 88);

#endif
