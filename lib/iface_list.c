/* SPDX-License-Identifier: GPL-2.0-only */
#include "iface_list.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tables_build.h"

#define PARENT_DEV_NAME 56 /* IFLA_PARENT_DEV_NAME, Linux 5.14 */
#define BUFFER 65536

static void add_link(const struct nlmsghdr *h, struct res_iface **list, size_t *n, size_t *room)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	struct rtattr *a = IFLA_RTA(info);
	int len = (int)IFLA_PAYLOAD(h);
	struct res_iface one = { .ifindex = (uint32_t)info->ifi_index, .type = info->ifi_type };

	for (; RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		if (a->rta_type == IFLA_IFNAME && !one.name)
			one.name = strdup(RTA_DATA(a));
		else if (a->rta_type == PARENT_DEV_NAME)
			one.physical = 1;
	}
	if (!one.name)
		return;
	*list = xgrow(*list, room, *n + 1, sizeof(**list));
	(*list)[(*n)++] = one;
}

/* 1: the dump is complete; 0: more to come; -1. */
static int read_part(int fd, char *buf, struct res_iface **list, size_t *n, size_t *room)
{
	ssize_t got = recv(fd, buf, BUFFER, 0);

	if (got < 0)
		return errno == EINTR ? 0 : -1;
	for (struct nlmsghdr *h = (struct nlmsghdr *)buf; NLMSG_OK(h, got); h = NLMSG_NEXT(h, got)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 1;
		if (h->nlmsg_type == NLMSG_ERROR) {
			errno = -((struct nlmsgerr *)NLMSG_DATA(h))->error;
			return -1;
		}
		if (h->nlmsg_type == RTM_NEWLINK)
			add_link(h, list, n, room);
	}
	return 0;
}

int iface_list(struct res_iface **list, size_t *n)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg info;
	} ask = {
		.h = { .nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), done = -1;
	char *buf = xalloc(1, BUFFER);
	size_t room = 0;

	*list = NULL;
	*n = 0;
	if (fd >= 0 && send(fd, &ask, sizeof(ask), 0) == sizeof(ask))
		do
			done = read_part(fd, buf, list, n, &room);
		while (!done);
	if (fd >= 0)
		close(fd);
	free(buf);
	return done == 1 ? 0 : -1;
}
