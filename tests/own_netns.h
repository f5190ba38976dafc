/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets on loopback in a network namespace of the test's own. What can't be set up ends the test. */
#ifndef FW_TESTS_OWN_NETNS_H
#define FW_TESTS_OWN_NETNS_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

union any {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static inline void fatal(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static inline union any at(const char *text, uint16_t port)
{
	union any a = { 0 };

	if (strchr(text, ':')) {
		a.v6.sin6_family = AF_INET6;
		a.v6.sin6_port = htons(port);
		if (inet_pton(AF_INET6, text, &a.v6.sin6_addr) != 1)
			fatal(text);
	} else {
		a.v4.sin_family = AF_INET;
		a.v4.sin_port = htons(port);
		if (inet_pton(AF_INET, text, &a.v4.sin_addr) != 1)
			fatal(text);
	}
	return a;
}

static inline socklen_t size_of(const union any *a)
{
	return a->sa.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

/* The 16 bytes of an address text. */
static inline const uint8_t *bytes(const char *text)
{
	static uint8_t out[2][16];
	static int turn;
	uint8_t *b = out[turn ^= 1];
	char mapped[64];

	snprintf(mapped, sizeof(mapped), strchr(text, ':') ? "%s" : "::ffff:%s", text);
	if (inet_pton(AF_INET6, mapped, b) != 1)
		fatal(text);
	return b;
}

static inline uint16_t port_of(int fd)
{
	union any any;
	socklen_t len = sizeof(any);

	if (getsockname(fd, &any.sa, &len))
		fatal("getsockname");
	return ntohs(any.sa.sa_family == AF_INET ? any.v4.sin_port : any.v6.sin6_port);
}

/* A socket bound to ${text} and ${port} (0: any) that others may share. */
static inline int bound(int type, int protocol, const char *text, uint16_t port, int v6only)
{
	union any a = at(text, port);
	int fd = socket(a.sa.sa_family, type | SOCK_CLOEXEC, protocol), one = 1;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    (a.sa.sa_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only))) ||
	    bind(fd, &a.sa, size_of(&a)))
		fatal("bind");
	return fd;
}

static inline int listener(const char *text, uint16_t port, int v6only, int backlog)
{
	int fd = bound(SOCK_STREAM, 0, text, port, v6only);

	if (listen(fd, backlog))
		fatal("listen");
	return fd;
}

static inline void to(int fd, const char *text, uint16_t port)
{
	union any a = at(text, port);

	if (connect(fd, &a.sa, size_of(&a)) && errno != EINPROGRESS)
		fatal("connect");
}

static inline int client(int type, int protocol, const char *text, uint16_t port)
{
	int fd = socket(strchr(text, ':') ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		fatal("socket");
	to(fd, text, port);
	return fd;
}

static inline int accepted(int listening)
{
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		fatal("accept");
	return fd;
}

/* A new network namespace with lo up; what needs root is skipped otherwise. */
static inline void own_netns(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (geteuid() || unshare(CLONE_NEWNET)) {
		puts("1..0 # SKIP needs root, for a network namespace");
		exit(0);
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr))
		fatal("lo up");
	close(fd);
}

static inline int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
