/* SPDX-License-Identifier: GPL-2.0-only */
#include "netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tables_build.h"

#define BUFFER 65536 /* the kernel fills at most 32 KiB at a time */

struct reader {
	int fd;
	char *buf;
	uint32_t seq;
	bool changed; /* by somebody else, while we read: NLM_F_DUMP_INTR */
	netlink_each *each;
	void *arg;
};

/* The kernel says an error in a message of its own, or, when a dump had begun, in the one that ends it. */
static int last_error(const struct nlmsghdr *h)
{
	const int *error = netlink_body(h, sizeof(*error));

	return error && *error < 0 ? -*error : 0;
}

/* 1: the answer is complete; 0: more to come; -1. */
static int take_message(struct reader *r, const struct nlmsghdr *h)
{
	if (h->nlmsg_flags & NLM_F_DUMP_INTR)
		r->changed = true;
	if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
		errno = last_error(h);
		return errno ? -1 : 1;
	}
	if (h->nlmsg_type >= NLMSG_MIN_TYPE)
		r->each(h, r->arg);
	return h->nlmsg_flags & NLM_F_MULTI ? 0 : 1;
}

static int read_part(struct reader *r)
{
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { .iov_base = r->buf, .iov_len = BUFFER };
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1
	};
	ssize_t got = recvmsg(r->fd, &msg, 0);
	int done = 0;

	if (got < 0)
		return errno == EINTR ? 0 : -1;
	if (msg.msg_flags & MSG_TRUNC) {
		errno = EMSGSIZE;
		return -1;
	}
	if (from.nl_pid) /* not the kernel: other processes can send to us too */
		return 0;
	for (struct nlmsghdr *h = (struct nlmsghdr *)r->buf; !done && NLMSG_OK(h, got);
	     h = NLMSG_NEXT(h, got))
		if (h->nlmsg_seq == r->seq)
			done = take_message(r, h);
	return done;
}

static int ask_once(struct reader *r, struct nlmsghdr *ask)
{
	int done;

	r->changed = false;
	ask->nlmsg_seq = ++r->seq;
	r->each(NULL, r->arg);
	if (send(r->fd, ask, ask->nlmsg_len, 0) < 0) /* unconnected: to the kernel */
		return -1;
	do
		done = read_part(r);
	while (!done);
	return done < 0 ? -1 : 0;
}

int netlink_ask(int protocol, struct nlmsghdr *ask, netlink_each *each, void *arg)
{
	struct reader r = { .fd = -1, .each = each, .arg = arg };
	int ret = -1, error;

	r.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (r.fd < 0)
		return -1;
	r.buf = xalloc(1, BUFFER);
	for (int i = 0; i < NETLINK_TRIES; i++) {
		ret = ask_once(&r, ask);
		if (ret || !r.changed)
			break;
	}
	if (!ret && r.changed) {
		errno = EAGAIN;
		ret = -1;
	}
	error = errno;
	close(r.fd);
	free(r.buf);
	errno = error;
	return ret;
}

const void *netlink_body(const struct nlmsghdr *h, size_t size)
{
	return h->nlmsg_len >= NLMSG_LENGTH(size) ? NLMSG_DATA(h) : NULL;
}

const struct rtattr *netlink_attrs(const struct nlmsghdr *h, size_t size, int *len)
{
	*len = (int)h->nlmsg_len - (int)NLMSG_SPACE(size);
	return (const struct rtattr *)((const char *)h + NLMSG_SPACE(size));
}
