/* SPDX-License-Identifier: GPL-2.0-only */
/* traffic FROM-NS TO-NS ADDRESS ALLOWED-PORT DENIED-PORT PPS
 * UDP from one network namespace to another, to an allowed and a denied port by turns, until standard input ends.
 * Then waits for what is still on its way and prints what arrived:
 *	allowed SENT RECEIVED overflow N
 *	denied SENT RECEIVED
 * "overflow": datagrams that the receiving socket had no room for, which are not the firewall's. Links nothing. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RECEIVE_BUFFER (32 << 20)
#define IDLE_MS 300

static void fail(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(3);
}

static void enter(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		fail(path);
	close(fd);
}

static int receiver(const char *address, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = RECEIVE_BUFFER, on = 1;

	inet_pton(AF_INET, address, &a.sin_addr);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)))
		fail("bind");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
	return fd;
}

static int sender(const char *address, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, address, &a.sin_addr);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		fail("connect");
	return fd;
}

/* Everything there is to read. */
static uint64_t take(int fd, uint32_t *overflow)
{
	char data[64], control[64];
	struct iovec iov = { data, sizeof(data) };
	uint64_t n = 0;

	for (;;) {
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				    .msg_controllen = sizeof(control) };
		struct cmsghdr *c;

		if (recvmsg(fd, &m, MSG_DONTWAIT) < 0)
			return n;
		n++;
		for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
				memcpy(overflow, CMSG_DATA(c), sizeof(*overflow));
	}
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static bool input_ended(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	char c;

	return poll(&p, 1, 0) > 0 && read(0, &c, 1) <= 0;
}

int main(int argc, char **argv)
{
	uint64_t sent[2] = { 0 }, got[2] = { 0 }, start, interval;
	int in[2], out[2];
	uint32_t overflow[2] = { 0 };

	if (argc != 7)
		return fprintf(stderr, "usage: traffic FROM TO ADDRESS ALLOWED DENIED PPS\n"), 2;
	enter(argv[2]);
	for (int i = 0; i < 2; i++)
		in[i] = receiver(argv[3], atoi(argv[4 + i]));
	enter(argv[1]);
	for (int i = 0; i < 2; i++)
		out[i] = sender(argv[3], atoi(argv[4 + i]));
	interval = 1000000000ULL / strtoull(argv[6], NULL, 10);
	start = now_ns();
	for (uint64_t n = 0; !input_ended(); n++) {
		while (now_ns() < start + n * interval)
			;
		if (send(out[n & 1], &n, sizeof(n), 0) == sizeof(n))
			sent[n & 1]++;
		for (int i = 0; i < 2; i++)
			got[i] += take(in[i], &overflow[i]);
	}
	for (struct pollfd p[2] = { { in[0], POLLIN, 0 }, { in[1], POLLIN, 0 } }; poll(p, 2, IDLE_MS) > 0;)
		for (int i = 0; i < 2; i++)
			got[i] += take(in[i], &overflow[i]);
	printf("allowed %llu %llu overflow %u\n", (unsigned long long)sent[0], (unsigned long long)got[0], overflow[0]);
	printf("denied %llu %llu\n", (unsigned long long)sent[1], (unsigned long long)got[1]);
	return 0;
}
