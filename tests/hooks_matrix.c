/* SPDX-License-Identifier: GPL-2.0-only */
/* hooks_matrix: reach 192.0.2.N or 2001:db8::N in one of the ways a program can, and print what the kernel
 * said: "ok", an errno name, or "SKIP why". hooks_matrix -l                            the ways, each with
 * the hook that must see it ("-": none does) hooks_matrix WAY N [CGROUP]                CGROUP: where "left"
 * moves itself before it connects hooks_matrix -e FD WAY N                   use the already made socket FD
 * (inherited across the cgroup's edge) Nothing has to answer: every socket is non-blocking and a hook's EPERM
 * comes before any packet. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define PORT 7777

enum action { CONNECT, SENDTO, FASTOPEN, FASTOPEN_CONNECT, URING, SELF, LEFT, CONNECT_SEND, PACKET, PASSED };
enum target { V4, UNSPEC4, MAPPED, V6 };

static const struct way {
	const char *name;
	int family, type, protocol;
	enum target target;
	enum action action;
	const char *hook;
} ways[] = {
	{"tcp4", AF_INET, SOCK_STREAM, 0, V4, CONNECT, "connect4"},
	{"tcp4-fastopen-sendto", AF_INET, SOCK_STREAM, 0, V4, FASTOPEN, "connect4"},
	{"tcp4-fastopen-connect", AF_INET, SOCK_STREAM, 0, V4, FASTOPEN_CONNECT, "connect4"},
	{"tcp4-io_uring", AF_INET, SOCK_STREAM, 0, V4, URING, "connect4"},
	{"mptcp4", AF_INET, SOCK_STREAM, IPPROTO_MPTCP, V4, CONNECT, "connect4"},
	{"tcp4-self", AF_INET, SOCK_STREAM, 0, V4, SELF, "connect4"},
	{"tcp4-left-cgroup", AF_INET, SOCK_STREAM, 0, V4, LEFT, "connect4"},
	{"ping4-connect", AF_INET, SOCK_DGRAM, IPPROTO_ICMP, V4, CONNECT, "connect4"},
	{"udp4-connect", AF_INET, SOCK_DGRAM, 0, V4, CONNECT, "connect4"},
	{"tcp6", AF_INET6, SOCK_STREAM, 0, V6, CONNECT, "connect6"},
	{"tcp6-fastopen-sendto", AF_INET6, SOCK_STREAM, 0, V6, FASTOPEN, "connect6"},
	{"tcp6-io_uring", AF_INET6, SOCK_STREAM, 0, V6, URING, "connect6"},
	{"tcp-mapped", AF_INET6, SOCK_STREAM, 0, MAPPED, CONNECT, "connect6"},
	{"tcp-mapped-fastopen-sendto", AF_INET6, SOCK_STREAM, 0, MAPPED, FASTOPEN, "connect6"},
	{"udp-mapped-connect", AF_INET6, SOCK_DGRAM, 0, MAPPED, CONNECT, "connect6"},
	{"udp4-sendto", AF_INET, SOCK_DGRAM, 0, V4, SENDTO, "sendmsg4"},
	{"udplite4-sendto", AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, V4, SENDTO, "sendmsg4"},
	{"udp4-sendto-unspec", AF_INET, SOCK_DGRAM, 0, UNSPEC4, SENDTO, "sendmsg4"},
	{"udp6-sendto-inet", AF_INET6, SOCK_DGRAM, 0, V4, SENDTO, "sendmsg4"},
	{"udp-mapped-sendto", AF_INET6, SOCK_DGRAM, 0, MAPPED, SENDTO, "sendmsg4"},
	{"udp6-sendto", AF_INET6, SOCK_DGRAM, 0, V6, SENDTO, "sendmsg6"},
	{"ping4-sendto", AF_INET, SOCK_DGRAM, IPPROTO_ICMP, V4, SENDTO, "cgroup_egress"},
	{"raw4-sendto", AF_INET, SOCK_RAW, 253, V4, SENDTO, "cgroup_egress"},
	{"raw6-sendto", AF_INET6, SOCK_RAW, 253, V6, SENDTO, "cgroup_egress"},
	{"raw4-connect-send", AF_INET, SOCK_RAW, 253, V4, CONNECT_SEND, "cgroup_egress"},
	{"packet-socket", AF_PACKET, SOCK_RAW, 0, V4, PACKET, "-"},
	{"passed-socket", AF_INET, SOCK_STREAM, 0, V4, PASSED, "-"},
};
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static int report(int rc)
{
	puts(rc < 0 ? strerrorname_np(errno) : "ok");
	return 0;
}

static int skip(const char *what)
{
	printf("SKIP %s: %s\n", what, strerrorname_np(errno));
	return 0;
}

static socklen_t address(enum target t, int n, struct sockaddr_storage *to)
{
	struct sockaddr_in *in = (struct sockaddr_in *)to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
	char text[64];

	memset(to, 0, sizeof(*to));
	if (t == V4 || t == UNSPEC4) {
		in->sin_family = t == V4 ? AF_INET : AF_UNSPEC;
		in->sin_port = htons(PORT);
		in->sin_addr.s_addr = htonl(0xc0000200 | n);
		return sizeof(*in);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(PORT);
	snprintf(text, sizeof(text), t == MAPPED ? "::ffff:192.0.2.%d" : "2001:db8::%d", n);
	inet_pton(AF_INET6, text, &in6->sin6_addr);
	return sizeof(*in6);
}

/* Connects through io_uring, by the bare system calls: liburing is one more package to install. */
static int uring_connect(int fd, const struct sockaddr *to, socklen_t len)
{
	struct io_uring_params p = {0};
	int ring = syscall(SYS_io_uring_setup, 1, &p);
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	char *sq, *cq;

	if (ring < 0)
		exit(skip("io_uring_setup"));
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		  IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*cqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		  IORING_OFF_CQ_RING);
	sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		   IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqe == MAP_FAILED)
		exit(skip("io_uring mmap"));
	sqe->opcode = IORING_OP_CONNECT;
	sqe->fd = fd;
	sqe->addr = (__u64)(unsigned long)to;
	sqe->off = len;
	*(__u32 *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((__u32 *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -1;
	cqe = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
	errno = cqe->res < 0 ? -cqe->res : 0;
	return cqe->res < 0 ? -1 : 0;
}

static int packet_send(int fd, int n)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_halen = 6};
	unsigned char frame[60] = {
		[12] = 8, [14] = 0x45, [17] = 46, [22] = 64, [23] = 253, [30] = 192, [32] = 2, [33] = n};

	to.sll_ifindex = if_nametoindex("out0");
	return sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to));
}

static int self_connect(int fd, struct sockaddr *to, socklen_t len)
{
	if (bind(fd, to, len))
		exit(skip("bind"));
	return connect(fd, to, len);
}

static int left_connect(int fd, const char *cgroup, const struct sockaddr *to, socklen_t len)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%d", getpid()) < 0 || fclose(f))
		exit(skip(path));
	return connect(fd, to, len);
}

static int go(const struct way *w, int fd, int n, const char *cgroup)
{
	static const char ping[16] = {8}; /* an echo request; to anything else just bytes */
	struct sockaddr_storage to;
	socklen_t len = address(w->target, n, &to);
	struct sockaddr *sa = (struct sockaddr *)&to;
	int one = 1;

	switch (w->action) {
	case SENDTO:
		if (w->type == SOCK_RAW && w->family == AF_INET6) /* there the port would be a protocol */
			((struct sockaddr_in6 *)sa)->sin6_port = 0;
		return sendto(fd, ping, sizeof(ping), 0, sa, len);
	case FASTOPEN:
		return sendto(fd, ping, sizeof(ping), MSG_FASTOPEN, sa, len);
	case FASTOPEN_CONNECT:
		if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)))
			exit(skip("TCP_FASTOPEN_CONNECT"));
		return connect(fd, sa, len);
	case URING:
		return uring_connect(fd, sa, len);
	case SELF:
		return self_connect(fd, sa, len);
	case LEFT:
		return left_connect(fd, cgroup, sa, len);
	case CONNECT_SEND:
		return connect(fd, sa, len) ? -1 : send(fd, ping, sizeof(ping), 0);
	case PACKET:
		return packet_send(fd, n);
	default:
		return connect(fd, sa, len);
	}
}

int main(int argc, char **argv)
{
	int fd = -1;

	for (size_t i = 0; argc == 2 && !strcmp(argv[1], "-l") && i < N_WAYS; i++)
		printf("%s %s %d\n", ways[i].name, ways[i].hook, ways[i].target == V6 ? 6 : 4);
	if (argc == 2)
		return 0;
	if (argc > 4 && !strcmp(argv[1], "-e")) {
		fd = atoi(argv[2]);
		argv += 2;
		argc -= 2;
	}
	for (size_t i = 0; argc > 2 && i < N_WAYS; i++) {
		if (strcmp(ways[i].name, argv[1]))
			continue;
		if (fd < 0)
			fd = socket(ways[i].family, ways[i].type | SOCK_NONBLOCK, ways[i].protocol);
		if (fd < 0)
			return skip("socket");
		return report(go(&ways[i], fd, atoi(argv[2]), argc > 3 ? argv[3] : ""));
	}
	fprintf(stderr, "usage: hooks_matrix -l | [-e FD] WAY N [CGROUP]\n");
	return 2;
}
