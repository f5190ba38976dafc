/* SPDX-License-Identifier: GPL-2.0-only */
/* The connections that sockets of this network namespace have now, and who opened each: what a first load
 * finds already running. By sock_diag(7). Not seen: other network namespaces, forwarded connections, raw and
 * SCTP sockets, and UDP sockets that talk by sendto(2) without being connected. */
#ifndef FW_SOCK_LIST_H
#define FW_SOCK_LIST_H

#include <stddef.h>
#include <stdint.h>

enum sock_opener { SOCK_LOCAL, SOCK_REMOTE };

struct sock_conn {
	uint8_t local[16], remote[16];	  /* network byte order, IPv4 as ::ffff:a.b.c.d */
	uint16_t local_port, remote_port; /* host byte order */
	uint8_t protocol;		  /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE */
	uint8_t version;		  /* of the packets, so 4 for IPv6 sockets with mapped addresses */
	uint8_t state;			  /* TCP_... (netinet/tcp.h); of UDP TCP_ESTABLISHED */
	uint8_t opener;			  /* enum sock_opener */
	uint32_t uid;			  /* who created the socket; see inode */
	uint32_t ifindex;		  /* bound to it, or the scope of a link-local address; or 0 */
	uint32_t inode;			  /* 0: no process has it (yet, any more); uid may then be 0 */
	uint64_t cgroup;		  /* id of its cgroup v2; 0: not known (handshakes, Linux before 5.8) */
};

struct sock_list {
	struct sock_conn *socks;
	size_t n;
	uint8_t missing[3]; /* IP protocols that this kernel has but can't list (no udp_diag, say) */
	size_t n_missing;
};

/* sock_list(out): every TCP connection but those in TIME_WAIT and every connected UDP and UDP-Lite socket,
 * IPv4 and IPv6, in no order. Both ends are there when both are on this host, each as its own local end.
 *
 * opener is SOCK_REMOTE in state SYN_RECV, or when the local port has a listening TCP socket (an unconnected
 * UDP socket) whose address is ${local} or a wildcard that covers it; otherwise SOCK_LOCAL. That is a guess
 * after the fact: of a listener that was closed since, nothing is left, and its connections look as if opened
 * from here.
 *
 * The kernel gives no snapshot. In a table that is longer than one message a socket may come twice, or be
 * missed while others of its hash bucket go: a second list after the switch finds it, so inserting must be
 * idempotent.
 *
 * 0, to be freed by sock_list_free(); or -1 with errno (netlink_ask()'s) and nothing to free. */
int sock_list(struct sock_list *out);
void sock_list_free(struct sock_list *l); /* {0} is fine */

#endif
