/* SPDX-License-Identifier: GPL-2.0-only */
/* The network connections over which somebody runs this process: ssh's, telnet's, that of a shell on a socket. */
#ifndef FW_SESSION_H
#define FW_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "sock_list.h"

struct session {
	/* remote: the peer. Unless ${live}, what can't be known without the socket is 0: cgroup, uid, inode, and ifindex
	 * but for link-local addresses. */
	struct sock_conn conn;
	bool live; /* is in the list of this network namespace's connections */
};
#define SESSIONS_MAX 4

/* session_find(out): each connection once, the most likely first; how many, often 0.
 *
 * SSH_CONNECTION, whether or not there is such a connection now: in a terminal multiplexer it may be the name of an earlier
 * one, from where one may come again. Then, of this process and each ancestor but process 1, the lowest file descriptor
 * that is an established TCP socket: one that the remote opened, unless the process has others on the same local port; or,
 * as standard input, output or error, any. So the session is found where sudo(8) has cleaned the environment. Then the
 * ancestors' SSH_CONNECTION, for where descriptors can't be read, but only if there is such a connection: daemons keep the
 * environment of the session that started them. The remote opened what sock_list.h says it has, and also what has a local
 * port that connect() does not choose (the listener may be gone).
 *
 * Not found: connections of other network namespaces but for SSH_CONNECTION, and what is joined to its terminal through
 * a daemon (tmux, screen, mosh, systemd-run). */
size_t session_find(struct session out[SESSIONS_MAX]);

/* ---- for session*.c ---- */

/* What a process and its ancestors hold, nearest first, by file descriptor. */
struct session_clues {
	struct session_clue {
		int process;	/* 0: this one, 1: its parent, ... */
		uint32_t inode; /* of a socket */
		int fd;
		char *text; /* or, not NULL, an SSH_CONNECTION */
	} *list;
	size_t n, room;
};

/* session_clues(out): from /proc, as far as it can be read; to be freed by session_clues_free(). */
void session_clues(struct session_clues *out);
void session_clues_free(struct session_clues *c);

/* session_parse(text, out): the value of SSH_CONNECTION, "CLIENT PORT SERVER PORT": addresses (with %ZONE where they are
 * link-local), ports, version, opener. false if it isn't one. */
bool session_parse(const char *text, struct sock_conn *out);

#endif
