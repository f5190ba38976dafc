// SPDX-License-Identifier: GPL-2.0-only
/* The programs: each makes of its hook's context a struct packet and asks decide(). */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "parse.h"

#define LOOPBACK_IFINDEX 1 /* in every network namespace */
#define TCX_NEXT (-1)	   /* also TC_ACT_UNSPEC: what a clsact filter returns to go on */
#define IPPROTO_MPTCP 262
#define ECONNREFUSED 111

/* Bytes of the packet: directly where they are in the linear part, else by the helper of the context's kind. */
static __always_inline int load(const struct cursor *c, __u32 off, void *to, __u32 len)
{
	void *from = c->data + (off & 0x7fff);

	if (from + len <= c->end) {
		__builtin_memcpy(to, from, len);
		return 0;
	}
	return c->is_xdp ? bpf_xdp_load_bytes(c->ctx, off, to, len) : bpf_skb_load_bytes(c->ctx, off, to, len);
}

static __always_inline __u32 full_length(const struct cursor *c)
{
	return c->is_xdp ? bpf_xdp_get_buff_len(c->ctx) : c->total;
}

#include "decide.h"
#include "syscall.h"

/* All that parse_fast() leaves over goes to a global function per kind of context: the verifier checks it once by
 * itself and then knows nothing of what it left in ${p}, which keeps the states of parsing from multiplying with
 * those of classifying. (A call costs 9 ns where returns are guarded.) */
__noinline int fw_parse_xdp(struct xdp_md *ctx, struct packet *p)
{
	struct cursor c = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.ctx = ctx,
		.total = ctx->data_end - ctx->data,
		.is_xdp = 1,
	};

	if (!p)
		return PARSED_MALFORMED;
	return parse_ip(&c, p, parse_link(&c, p, 0));
}

static __always_inline int parse_skb(struct __sk_buff *ctx, struct packet *p, int has_link)
{
	struct cursor c = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.ctx = ctx,
		.total = ctx->len,
		.gso = ctx->gso_size != 0,
	};
	int tags = 0;

	if (!p)
		return PARSED_MALFORMED;
	if (!has_link)
		return parse_ip(&c, p, fw_be16(ctx->protocol));
	if (ctx->vlan_present) {
		tags = 1;
		p->vlan = ctx->vlan_tci & 0xfff;
		p->known |= FW_EV_VLAN;
	}
	return parse_ip(&c, p, parse_link(&c, p, tags));
}

__noinline int fw_parse_link(struct __sk_buff *ctx, struct packet *p)
{
	return parse_skb(ctx, p, 1);
}

__noinline int fw_parse_network(struct __sk_buff *ctx, struct packet *p)
{
	return parse_skb(ctx, p, 0);
}

/* 1 if the plain case it was. ${link}: bytes before the IP header; ${type}: ethertype, network byte order. */
static __always_inline int parse_fast(const struct setting *s, void *data, void *end, struct packet *p, int link,
				      __u16 type)
{
	struct cursor c = { .data = data, .end = end };
	__u16 known = p->known;
	int done = 0;

	if (type == fw_be16(ETHERTYPE_IP))
		done = parse_fast4(&c, p, data + link, ARENA(s)->zero);
	else if (type == fw_be16(ETHERTYPE_IP6))
		done = parse_fast6(&c, p, data + link, ARENA(s)->zero);
	p->known = done ? p->known | known : known;
	return done;
}

/* An empty packet, by zeros that the verifier doesn't know to be zeros: it tells known zero bytes on the stack from
 * others, and so would walk all that follows for each way in which some of them were filled. */
static __always_inline void empty_packet(const struct setting *s, struct packet *p)
{
	__u32 zero = ARENA(s)->zero, *w = (__u32 *)p;

#pragma clang loop unroll(full)
	for (int i = 0; i < (int)(sizeof(*p) / 4); i++)
		((volatile __u32 *)w)[i] = zero;
}

static __always_inline __u32 iface_value(const struct setting *s, __u32 ifindex)
{
	return FW_LEAF_VALUE(t_walk(&s->t, ARENA(s)->iface, ifindex));
}

/* The policy that decides on this hook; 0 when there is none, or it has no say here. ${ifindex}: 0 for calls. */
static __always_inline int begin(struct setting *s, const struct hook *h, __u32 ifindex)
{
	__u64 word = word_now();

	s->slot = FW_WORD_ACTIVE(word);
	s->t.base = s->slot ? (const __u8 *)arena_in(s->slot) : 0;
	if (!s->t.base)
		return 0;
	s->trial = word >> 4 & 1;
	s->candidate = FW_WORD_CANDIDATE(word);
	s->owner = 1;
	if (ifindex == LOOPBACK_IFINDEX && !(ARENA(s)->flags & FW_ARENA_LOOPBACK))
		return 0;
	if (!(ARENA(s)->flags & FW_ARENA_PARTIAL))
		return 1;
	if (h->id <= FW_HOOK_TC_EGRESS)
		return iface_value(s, ifindex) >> (17 + h->id) & 1;
	return ARENA(s)->flags & FW_ARENA_CGROUP &&
	       cgroup_ancestor_id(sk_cgroup(s->sk), ARENA(s)->cgroup_level) == ARENA(s)->cgroup;
}

static __always_inline void set_iface(struct setting *s, struct packet *p, __u32 ifindex)
{
	p->ifindex = ifindex;
	p->known |= FW_EV_IFACE;
	if (ARENA(s)->flags & FW_ARENA_IFACES)
		s->iface_row = FW_IFACE_ROW(iface_value(s, ifindex));
}

/* ---- XDP ---- */

SEC("xdp.frags")
int fw_xdp(struct xdp_md *ctx)
{
	static const struct hook hook = { .id = FW_HOOK_XDP, .direction = FW_INGRESS };
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	enum parsed parsed = PARSED;
	struct setting s = {};
	struct packet p;

	if (!begin(&s, &hook, ctx->ingress_ifindex))
		return XDP_PASS;
	empty_packet(&s, &p);
	set_iface(&s, &p, ctx->ingress_ifindex);
	if (data + 14 > end || !parse_fast(&s, data, end, &p, 14, *(__u16 *)(data + 12)))
		parsed = fw_parse_xdp(ctx, &p);
	return decide(ctx, &s, &p, &hook, parsed) == PASS ? XDP_PASS : XDP_DROP;
}

/* ---- TC ---- */

static __always_inline int tc(struct __sk_buff *ctx, const struct hook *hook, int has_link)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	enum parsed parsed = PARSED;
	struct setting s = {};
	struct packet p;

	if (!begin(&s, hook, ctx->ifindex))
		return TCX_NEXT;
	empty_packet(&s, &p);
	set_iface(&s, &p, ctx->ifindex);
	/* What a socket below the attached cgroup sends, the cgroup hook has judged and counted. */
	if (hook->direction == FW_EGRESS) {
		__u8 judged = ARENA(&s)->zero;

		if (ARENA(&s)->flags & FW_ARENA_CGROUP && ctx->sk &&
		    bpf_skb_ancestor_cgroup_id(ctx, ARENA(&s)->cgroup_level) == ARENA(&s)->cgroup)
			judged = ARENA(&s)->zero ^ 1;
		s.judged = judged;
		s.owner = judged ^ 1;
	}
	if (!has_link) {
		if (!parse_fast(&s, data, end, &p, 0, ctx->protocol))
			parsed = fw_parse_network(ctx, &p);
	} else if (ctx->vlan_present || data + 14 > end || !parse_fast(&s, data, end, &p, 14, *(__u16 *)(data + 12))) {
		parsed = fw_parse_link(ctx, &p);
	}
	return decide(ctx, &s, &p, hook, parsed) == PASS ? TCX_NEXT : TC_ACT_SHOT;
}

static const struct hook tc_ingress = { .id = FW_HOOK_TC_INGRESS, .direction = FW_INGRESS };
static const struct hook tc_egress = { .id = FW_HOOK_TC_EGRESS, .direction = FW_EGRESS };

SEC("tc")
int fw_tc_ingress(struct __sk_buff *ctx)
{
	return tc(ctx, &tc_ingress, 1);
}

SEC("tc")
int fw_tc_egress(struct __sk_buff *ctx)
{
	return tc(ctx, &tc_egress, 1);
}

/* Devices without a link header (tun, WireGuard): the packet starts with the IP header. */
SEC("tc")
int fw_tc_ingress3(struct __sk_buff *ctx)
{
	return tc(ctx, &tc_ingress, 0);
}

SEC("tc")
int fw_tc_egress3(struct __sk_buff *ctx)
{
	return tc(ctx, &tc_egress, 0);
}

/* ---- cgroup skb ---- */

static __always_inline int cgroup_skb(struct __sk_buff *ctx, const struct hook *hook)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	enum parsed parsed = PARSED;
	struct setting s = { .sk = ctx->sk };
	struct packet p;

	if (!s.sk || !begin(&s, hook, ctx->ifindex))
		return 1;
	empty_packet(&s, &p);
	s.iface_row = ARENA(&s)->zero;
	if (hook->direction == FW_INGRESS)
		s.owner = ARENA(&s)->zero ^ 1;
	p.ifindex = ctx->ifindex;
	/* Sockets of other network namespaces have other interfaces of the same number. */
	if (ARENA(&s)->flags & FW_ARENA_IFACES && sk_netns(s.sk) == ARENA(&s)->netns) {
		__u32 v = iface_value(&s, ctx->ifindex);

		s.iface_row = FW_IFACE_ROW(v);
		if (hook->direction == FW_INGRESS)
			s.owner = (v / FW_IFACE_INGRESS_OWNED & 1) ^ 1;
	}
	if (!parse_fast(&s, data, end, &p, 0, ctx->protocol))
		parsed = fw_parse_network(ctx, &p);
	return decide(ctx, &s, &p, hook, parsed) == PASS;
}

SEC("cgroup_skb/ingress")
int fw_cg_ingress(struct __sk_buff *ctx)
{
	static const struct hook hook = { .id = FW_HOOK_CGROUP_INGRESS, .direction = FW_INGRESS, .any_netns = 1 };

	return cgroup_skb(ctx, &hook);
}

SEC("cgroup_skb/egress")
int fw_cg_egress(struct __sk_buff *ctx)
{
	static const struct hook hook = { 
		.id = FW_HOOK_CGROUP_EGRESS, .direction = FW_EGRESS, .has_sk = 1, .any_netns = 1,
	};

	return cgroup_skb(ctx, &hook);
}

/* ---- connect and sendmsg ---- */

/* 127.0.0.0/8 and ::1, and the unspecified address, which connects to this host. */
static __always_inline int is_loopback(const union fw_addr *a)
{
	if (fw_addr_is4(a))
		return a->b[12] == 127 || !a->w[3];
	return !a->d[0] && !a->w[2] && (a->w[3] == fw_be32(1) || !a->w[3]);
}

/* Addresses are in ${p}. The rest that is known before there is a packet. */
static __always_inline int call(struct bpf_sock_addr *ctx, struct packet *p, const struct hook *hook)
{
	struct setting s = { .sk = ctx->sk };
	__u32 sport = 0;
	enum answer answer;

	if (!s.sk || !begin(&s, hook, 0) || (is_loopback(&p->dst) && !(ARENA(&s)->flags & FW_ARENA_LOOPBACK)))
		return 1;
	p->ip_version = fw_addr_is4(&p->dst) ? 4 : 6;
	p->proto = ctx->protocol == IPPROTO_MPTCP ? 6 : ctx->protocol;
	p->known |= FW_EV_ADDRS;
	if (fw_has_ports(p->proto)) {
		p->dport = fw_be16(ctx->user_port);
		p->known |= FW_EV_DPORT;
		sport = ctx->sk->src_port;
	}
	if (sport) {
		p->sport = sport;
		p->known |= FW_EV_SPORT;
	}
	answer = decide(ctx, &s, p, hook, PARSED);
	if (answer == REJECT && (hook->id == FW_HOOK_CONNECT4 || hook->id == FW_HOOK_CONNECT6))
		bpf_set_retval(-ECONNREFUSED);
	return answer == PASS;
}

static __always_inline int call4(struct bpf_sock_addr *ctx, const struct hook *hook, __u32 src)
{
	struct packet p = {};

	fw_addr_set4(&p.dst, ctx->user_ip4);
	if (src) {
		fw_addr_set4(&p.src, src);
		p.known = FW_EV_SADDR;
	}
	return call(ctx, &p, hook);
}

static __always_inline int call6(struct bpf_sock_addr *ctx, const struct hook *hook, const union fw_addr *src)
{
	struct packet p = {};

	p.dst.w[0] = ctx->user_ip6[0];
	p.dst.w[1] = ctx->user_ip6[1];
	p.dst.w[2] = ctx->user_ip6[2];
	p.dst.w[3] = ctx->user_ip6[3];
	if (src->d[0] || src->d[1]) {
		p.src = *src;
		p.known = FW_EV_SADDR;
	}
	return call(ctx, &p, hook);
}

SEC("cgroup/connect4")
int fw_connect4(struct bpf_sock_addr *ctx)
{
	static const struct hook hook = { .id = FW_HOOK_CONNECT4, .direction = FW_EGRESS, .is_call = 1, .has_sk = 1 };
	struct bpf_sock *sk = ctx->sk;

	return call4(ctx, &hook, sk ? sk->src_ip4 : 0);
}

SEC("cgroup/sendmsg4")
int fw_sendmsg4(struct bpf_sock_addr *ctx)
{
	static const struct hook hook = { .id = FW_HOOK_SENDMSG4, .direction = FW_EGRESS, .is_call = 1, .has_sk = 1 };

	return call4(ctx, &hook, ctx->msg_src_ip4);
}

SEC("cgroup/connect6")
int fw_connect6(struct bpf_sock_addr *ctx)
{
	static const struct hook hook = { .id = FW_HOOK_CONNECT6, .direction = FW_EGRESS, .is_call = 1, .has_sk = 1 };
	struct bpf_sock *sk = ctx->sk;
	union fw_addr src = {};

	if (sk) {
		src.w[0] = sk->src_ip6[0];
		src.w[1] = sk->src_ip6[1];
		src.w[2] = sk->src_ip6[2];
		src.w[3] = sk->src_ip6[3];
	}
	return call6(ctx, &hook, &src);
}

SEC("cgroup/sendmsg6")
int fw_sendmsg6(struct bpf_sock_addr *ctx)
{
	static const struct hook hook = { .id = FW_HOOK_SENDMSG6, .direction = FW_EGRESS, .is_call = 1, .has_sk = 1 };
	union fw_addr src;

	src.w[0] = ctx->msg_src_ip6[0];
	src.w[1] = ctx->msg_src_ip6[1];
	src.w[2] = ctx->msg_src_ip6[2];
	src.w[3] = ctx->msg_src_ip6[3];
	return call6(ctx, &hook, &src);
}

char _license[] SEC("license") = "GPL";
