/* SPDX-License-Identifier: GPL-2.0-only */
#include "iface_list.h"

#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink.h"
#include "tables_build.h"

#define PARENT_DEV_NAME 56 /* IFLA_PARENT_DEV_NAME, Linux 5.14 */

struct links {
	struct res_iface *list;
	size_t n, room;
};

static void add_link(const struct nlmsghdr *h, struct links *l)
{
	const struct ifinfomsg *info = netlink_body(h, sizeof(*info));
	struct res_iface one = { 0 };
	const struct rtattr *a;
	int len;

	if (!info)
		return;
	one.ifindex = (uint32_t)info->ifi_index;
	one.type = info->ifi_type;
	for (a = netlink_attrs(h, sizeof(*info), &len); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		if (a->rta_type == IFLA_IFNAME && !one.name)
			one.name = strdup(RTA_DATA(a));
		else if (a->rta_type == PARENT_DEV_NAME)
			one.physical = 1;
	}
	if (!one.name)
		return;
	l->list = xgrow(l->list, &l->room, l->n + 1, sizeof(*l->list));
	l->list[l->n++] = one;
}

static void each(const struct nlmsghdr *h, void *arg)
{
	struct links *l = arg;

	if (!h)
		while (l->n)
			free((char *)l->list[--l->n].name);
	else if (h->nlmsg_type == RTM_NEWLINK)
		add_link(h, l);
}

int iface_list(struct res_iface **list, size_t *n)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg info;
	} ask = {
		.h = { .nlmsg_len = sizeof(ask),
		       .nlmsg_type = RTM_GETLINK,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
	};
	struct links l = { 0 };
	int ret = netlink_ask(NETLINK_ROUTE, &ask.h, each, &l);

	*list = l.list;
	*n = l.n;
	return ret;
}
