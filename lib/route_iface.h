/* SPDX-License-Identifier: GPL-2.0-only */
/* Over which interface a host is reached, asked of the routing tables of this network namespace
 * (rtnetlink(7)). */
#ifndef FW_ROUTE_IFACE_H
#define FW_ROUTE_IFACE_H

#include <stdint.h>

/* route_iface(to, from, ifindex): the interface over which packets leave now for ${to} in ${ifindex}: lo for
 * an address of this host. ${from} is their source where it is known, as rules may route by it (several
 * uplinks), or NULL. The addresses are 16 bytes in network byte order, IPv4 as ::ffff:a.b.c.d. Marks, users
 * and ports are not considered; of a multipath route it is one of the ways. Where a connection's packets come
 * in is not known to the kernel; taking this interface for it is right unless routing is asymmetric. A
 * link-local ${to} needs the interface to be known: ask the socket (ifindex in sock_list.h), not us. 0, or -1
 * with errno: ENETUNREACH, EHOSTUNREACH when there is no way, EACCES, EINVAL where a prohibit or blackhole
 * route says so, or netlink_ask()'s. */
int route_iface(const uint8_t to[16], const uint8_t from[16], uint32_t *ifindex);

#endif
