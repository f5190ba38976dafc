/* SPDX-License-Identifier: GPL-2.0-only */
#include "sock_list.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netlink.h"
#include "sock_opener.h"
#include "tables_build.h"

#define BIT(state) (1u << (state))
#define TCP_CONNECTIONS                                                                                      \
	(BIT(TCP_ESTABLISHED) | BIT(TCP_SYN_SENT) | BIT(TCP_SYN_RECV) | BIT(TCP_FIN_WAIT1) |                 \
	 BIT(TCP_FIN_WAIT2) | BIT(TCP_CLOSE_WAIT) | BIT(TCP_LAST_ACK) | BIT(TCP_CLOSING))

/* What is asked of each protocol. Connections come first: those in the first list whose listener is in the
 * second are then all that were accepted by a listener that stays, even one that began a moment ago. */
static const struct {
	uint8_t protocol;
	uint32_t connected, waiting; /* states */
} protocols[] = {
	{ IPPROTO_TCP, TCP_CONNECTIONS, BIT(TCP_LISTEN) },
	{ IPPROTO_UDP, BIT(TCP_ESTABLISHED), BIT(TCP_CLOSE) },
	{ IPPROTO_UDPLITE, BIT(TCP_ESTABLISHED), BIT(TCP_CLOSE) },
};
#define N_PROTOCOLS (sizeof(protocols) / sizeof(protocols[0]))
_Static_assert(N_PROTOCOLS <= sizeof((struct sock_list){ 0 }.missing), "room for all that may be missing");

struct dump {
	struct sock_list *out;
	size_t room;
	struct sock_wait *waits;
	size_t n_waits, room_waits;
	/* the part being read: where it begins, in case that it must be read again */
	size_t first, first_wait;
	uint8_t protocol;
	bool waiting;
};

static void copy_addr(uint8_t to[16], uint8_t family, const __be32 from[4])
{
	memset(to, 0, 16);
	if (family == AF_INET) {
		to[10] = to[11] = 0xff;
		memcpy(to + 12, from, 4);
	} else {
		memcpy(to, from, 16);
	}
}

static void add_wait(struct dump *d, const struct inet_diag_msg *m, const struct nlmsghdr *h)
{
	struct sock_wait w = { .protocol = d->protocol, .port = ntohs(m->id.idiag_sport) };
	const struct rtattr *a;
	int len;

	copy_addr(w.addr, m->idiag_family, m->id.idiag_src);
	for (a = netlink_attrs(h, sizeof(*m), &len); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == INET_DIAG_SKV6ONLY && RTA_PAYLOAD(a) == 1)
			w.v6only = *(const uint8_t *)RTA_DATA(a);
	d->waits = xgrow(d->waits, &d->room_waits, d->n_waits + 1, sizeof(*d->waits));
	d->waits[d->n_waits++] = w;
}

static void add_conn(struct dump *d, const struct inet_diag_msg *m, const struct nlmsghdr *h)
{
	struct sock_conn s = {
		.local_port = ntohs(m->id.idiag_sport),
		.remote_port = ntohs(m->id.idiag_dport),
		.protocol = d->protocol,
		.state = m->idiag_state,
		.uid = m->idiag_uid,
		.ifindex = m->id.idiag_if,
		.inode = m->idiag_inode,
	};
	const struct rtattr *a;
	int len;

	copy_addr(s.local, m->idiag_family, m->id.idiag_src);
	copy_addr(s.remote, m->idiag_family, m->id.idiag_dst);
	s.version = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)s.remote) ? 4 : 6;
	for (a = netlink_attrs(h, sizeof(*m), &len); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == INET_DIAG_CGROUP_ID && RTA_PAYLOAD(a) == sizeof(s.cgroup))
			memcpy(&s.cgroup, RTA_DATA(a), sizeof(s.cgroup));
	d->out->socks = xgrow(d->out->socks, &d->room, d->out->n + 1, sizeof(*d->out->socks));
	d->out->socks[d->out->n++] = s;
}

static void each(const struct nlmsghdr *h, void *arg)
{
	struct dump *d = arg;
	const struct inet_diag_msg *m;

	if (!h) {
		d->out->n = d->first;
		d->n_waits = d->first_wait;
		return;
	}
	m = netlink_body(h, sizeof(*m));
	if (!m || h->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return;
	if (d->waiting)
		add_wait(d, m, h);
	else
		add_conn(d, m, h);
}

static int dump_family(struct dump *d, uint8_t family, uint32_t states)
{
	/* There is no bit to ask for the cgroup: it always comes, as does v6only for those that wait. */
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 req;
	} ask = {
		.h = { .nlmsg_len = sizeof(ask),
		       .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.req = { .sdiag_family = family, .sdiag_protocol = d->protocol, .idiag_states = states },
	};

	d->first = d->out->n;
	d->first_wait = d->n_waits;
	return netlink_ask(NETLINK_SOCK_DIAG, &ask.h, each, d);
}

/* 0; 1: the kernel can't list this protocol; -1. */
static int dump_protocol(struct dump *d, uint32_t states)
{
	if (dump_family(d, AF_INET, states))
		return errno == ENOENT || errno == EPROTONOSUPPORT ? 1 : -1;
	/* A protocol is listed for both families or for none: this ENOENT is a kernel without IPv6. */
	if (dump_family(d, AF_INET6, states) && errno != ENOENT)
		return -1;
	return 0;
}

/* A kernel that can't make such sockets (UDP-Lite is going away) has none to list. */
static bool can_exist(uint8_t protocol)
{
	int fd = socket(AF_INET, (protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, protocol);
	bool unknown = fd < 0 && errno == EPROTONOSUPPORT;

	if (fd >= 0)
		close(fd);
	return !unknown;
}

int sock_list(struct sock_list *out)
{
	struct dump d = { .out = out };
	int ret = 0;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < N_PROTOCOLS && ret >= 0; i++) {
		d.protocol = protocols[i].protocol;
		d.waiting = false;
		ret = dump_protocol(&d, protocols[i].connected);
		d.waiting = true;
		if (!ret)
			ret = dump_protocol(&d, protocols[i].waiting);
		if (ret > 0 && can_exist(d.protocol))
			out->missing[out->n_missing++] = d.protocol;
	}
	if (ret < 0)
		sock_list_free(out);
	else
		sock_find_openers(out, d.waits, d.n_waits);
	free(d.waits);
	return ret < 0 ? -1 : 0;
}

void sock_list_free(struct sock_list *l)
{
	free(l->socks);
	memset(l, 0, sizeof(*l));
}
