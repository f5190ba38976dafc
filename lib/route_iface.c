/* SPDX-License-Identifier: GPL-2.0-only */
#include "route_iface.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink.h"

struct question {
	struct nlmsghdr h;
	struct rtmsg rt;
	uint8_t attrs[2 * RTA_SPACE(16)];
};

struct answer {
	uint8_t type; /* RTN_... */
	uint32_t ifindex;
};

static void each(const struct nlmsghdr *h, void *arg)
{
	struct answer *out = arg;
	const struct rtmsg *rt = h ? netlink_body(h, sizeof(*rt)) : NULL;
	const struct rtattr *a;
	int len;

	if (!rt || h->nlmsg_type != RTM_NEWROUTE)
		return;
	out->type = rt->rtm_type;
	for (a = netlink_attrs(h, sizeof(*rt), &len); RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) == sizeof(out->ifindex))
			memcpy(&out->ifindex, RTA_DATA(a), sizeof(out->ifindex));
}

static void add_addr(struct question *q, unsigned short type, const uint8_t addr[16])
{
	size_t skip = q->rt.rtm_family == AF_INET ? 12 : 0, len = 16 - skip;
	struct rtattr *a = (struct rtattr *)((char *)q + q->h.nlmsg_len);

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), addr + skip, len);
	q->h.nlmsg_len += RTA_SPACE(len);
}

static int ask_route(const uint8_t to[16], const uint8_t from[16], struct answer *out)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)to);
	struct question q = {
		.h = { .nlmsg_len = offsetof(struct question, attrs),
		       .nlmsg_type = RTM_GETROUTE,
		       .nlmsg_flags = NLM_F_REQUEST },
		.rt = { .rtm_family = v4 ? AF_INET : AF_INET6 },
	};

	q.rt.rtm_dst_len = v4 ? 32 : 128;
	add_addr(&q, RTA_DST, to);
	if (from) {
		q.rt.rtm_src_len = q.rt.rtm_dst_len;
		add_addr(&q, RTA_SRC, from);
	}
	return netlink_ask(NETLINK_ROUTE, &q.h, each, out);
}

/* An address of this host, as far as routing knows. */
static bool own(const uint8_t addr[16])
{
	struct answer a = { 0 };

	return !ask_route(addr, NULL, &a) && a.type == RTN_LOCAL;
}

int route_iface(const uint8_t to[16], const uint8_t from[16], uint32_t *ifindex)
{
	struct answer a = { 0 };

	/* IPv4 has no route from a source that is not the host's; transparent proxies have such sockets. */
	if (ask_route(to, from, &a)) {
		int error = errno;

		if (!from || own(from)) {
			errno = error;
			return -1;
		}
		if (ask_route(to, NULL, &a))
			return -1;
	}
	if (!a.ifindex) {
		errno = ENETUNREACH;
		return -1;
	}
	*ifindex = a.ifindex;
	return 0;
}
