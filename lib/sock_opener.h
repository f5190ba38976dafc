/* SPDX-License-Identifier: GPL-2.0-only */
/* Who opened a connection, from the sockets that wait for some now. Private to sock_*.c. */
#ifndef FW_SOCK_OPENER_H
#define FW_SOCK_OPENER_H

#include <stdbool.h>

#include "sock_list.h"

/* A listening TCP or unconnected UDP socket. */
struct sock_wait {
	uint8_t addr[16]; /* as in struct sock_conn; either family's wildcard is all zero after the prefix */
	uint16_t port;	  /* host byte order */
	uint8_t protocol;
	bool v6only;
};

/* sock_find_openers(l, waits, n): set opener in each of ${l}. Sorts ${waits}. */
void sock_find_openers(struct sock_list *l, struct sock_wait *waits, size_t n);

#endif
