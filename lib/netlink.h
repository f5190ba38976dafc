/* SPDX-License-Identifier: GPL-2.0-only */
/* One question to the kernel over netlink(7), and the whole of its answer. */
#ifndef FW_NETLINK_H
#define FW_NETLINK_H

#include <linux/netlink.h>
#include <stddef.h>

#define NETLINK_TRIES 20 /* of a dump that changes while it is read */

/* Called with each message of the answer, good during the call; and with NULL before the first one, which may
 * happen again: what was dumped changed meanwhile, so forget what was collected. */
typedef void netlink_each(const struct nlmsghdr *h, void *arg);

/* netlink_ask(protocol, ask, each, arg): send ${ask} (nlmsg_len, nlmsg_type and nlmsg_flags set by the
 * caller, nlmsg_seq by us) on a new socket of NETLINK_${protocol} in this network namespace, and pass what is
 * answered to ${each}: one message, or with NLM_F_DUMP all of them. 0, or -1 with errno: the error that the
 * kernel answered, EAGAIN when a dump was interrupted NETLINK_TRIES times, EMSGSIZE when a message did not
 * fit, or that of socket(2), send(2), recvmsg(2). After an error ${each} may have seen a part. */
int netlink_ask(int protocol, struct nlmsghdr *ask, netlink_each *each, void *arg);

/* netlink_body(h, size): what follows the header, or NULL when that is shorter than ${size}. */
const void *netlink_body(const struct nlmsghdr *h, size_t size);

struct rtattr; /* linux/rtnetlink.h */

/* netlink_attrs(h, size, len): the first attribute after a body of ${size} bytes (which is there) and the
 * bytes left from it on, for RTA_OK() and RTA_NEXT(). */
const struct rtattr *netlink_attrs(const struct nlmsghdr *h, size_t size, int *len);

#endif
