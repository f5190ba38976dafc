/* SPDX-License-Identifier: GPL-2.0-only */
/* bench_wire [-r ROUNDS] [-n FLOWS] SENDER NAMESPACE...: what a firewall adds to packets of established flows
 * on their way from a wire to a UDP socket.
 *
 * Each NAMESPACE has an eth0 whose other end is in SENDER and is called as NAMESPACE is; the first has no
 * firewall. There a UDP socket opens FLOWS (1,024) flows to as many ports of 10.88.0.2, and all that is sent
 * then are the answers: live frames (BPF_F_TEST_XDP_LIVE_FRAMES) that leave SENDER by XDP_TX, meet XDP, TC
 * and netfilter on the other end and end in that socket, whose filter discards them. All of it happens on one
 * CPU, in one call; namespaces by turns, so that slow drift of the machine hits all. Prints a line for each,
 * in ns a packet, the first's own and the others' over it: "NAMESPACE MEDIAN Q1 Q3 BEST".
 *
 * A firewall that lets a stranger's packets pass or loses those of a flow is measured in vain: exit 1. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <math.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench.h"
#include "bench.skel.h"

#define FRAME 64
#define SIDES 8
#define BATCH 64 /* a veth's ring has room for 256 */
#define PORT 9
#define PEER_PORT 10000
#define PEER "10.88.0.2"

static struct {
	int rounds;
	uint32_t flows;
} opt = {.rounds = 31, .flows = 1024};

static struct side {
	const char *name;
	int ns;
	int sender; /* ifindex of the other end */
	int socket;
	uint8_t mac[6]; /* of its eth0 */
	double *took;
} sides[SIDES];

static int n_sides, sender_ns;
static struct bench *skel;
static uint8_t *trace;

static int open_ns(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("cannot open", path);
	return fd;
}

static void enter(int ns)
{
	if (setns(ns, CLONE_NEWNET))
		fail("cannot enter", "namespace");
}

/* ---- set up ---- */

/* Only with GRO has an end of a veth the NAPI that frames without a socket buffer need. */
static void gro_on(int fd, struct ifreq *r)
{
	struct ethtool_value v = {ETHTOOL_SGRO, 1};

	r->ifr_data = (void *)&v;
	if (ioctl(fd, SIOCETHTOOL, r))
		fail("cannot turn on GRO of", r->ifr_name);
}

static void set_up_link(struct side *s)
{
	struct ifreq here = {.ifr_name = "eth0"}, there = {0};
	int fd;

	enter(sender_ns);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(there.ifr_name, sizeof(there.ifr_name), "%s", s->name);
	gro_on(fd, &there);
	s->sender = (int)if_nametoindex(s->name);
	close(fd);
	enter(s->ns);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	gro_on(fd, &here);
	if (ioctl(fd, SIOCGIFHWADDR, &here))
		fail("cannot ask about", "eth0");
	memcpy(s->mac, here.ifr_hwaddr.sa_data, sizeof(s->mac));
	close(fd);
}

/* The socket whose flows they are. */
static void open_flows(struct side *s)
{
	struct sock_filter none = {BPF_RET | BPF_K, 0, 0, 0};
	struct sock_fprog filter = {1, &none};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	enter(s->ns);
	s->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->socket < 0 || bind(s->socket, (struct sockaddr *)&a, sizeof(a)) ||
	    setsockopt(s->socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)))
		fail("cannot open", "socket");
	inet_pton(AF_INET, PEER, &a.sin_addr);
	for (uint32_t i = 0; i < opt.flows; i++) {
		a.sin_port = htons((uint16_t)(PEER_PORT + i));
		if (sendto(s->socket, "?", 1, 0, (struct sockaddr *)&a, sizeof(a)) != 1)
			fail("cannot send in", s->name);
	}
}

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

/* Frame number ${i}: from ${port} of the peer to the socket. 64 bytes, no UDP checksum. */
static void put_frame(uint32_t i, const uint8_t *mac, uint32_t port)
{
	uint8_t *b = trace + (size_t)i * FRAME;
	static const uint8_t head[] = {0,  0, 0, 0,    0, 0,  2,  0, 0, 0,  0,	2, 8, 0,  0x45, 0, 0,
				       50, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 88, 0, 2, 10, 88,	0, 1};
	uint32_t sum = 0;

	memset(b, 0, FRAME);
	memcpy(b, head, sizeof(head));
	memcpy(b, mac, 6);
	for (int at = 14; at < 34; at += 2)
		sum += (uint32_t)b[at] << 8 | b[at + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(b + 24, ~sum & 0xffff);
	put16(b + 34, port);
	put16(b + 36, PORT);
	put16(b + 38, 30);
}

static void load(void)
{
	skel = bench__open();
	if (!skel)
		fail("cannot open", "skeleton");
	bpf_map__set_max_entries(skel->maps.trace, opt.flows);
	if (bench__load(skel))
		fail("cannot load", "bench.bpf.o");
	trace = mmap(NULL, (size_t)opt.flows * FRAME, PROT_READ | PROT_WRITE, MAP_SHARED,
		     bpf_map__fd(skel->maps.trace), 0);
	if (trace == MAP_FAILED)
		fail("cannot map", "trace");
	skel->bss->mask = opt.flows - 1;
}

/* ---- packets ---- */

/* Packets that have come past the firewall so far. */
static uint64_t delivered(const struct side *s)
{
	char line[1024];
	unsigned long long n = 0;
	FILE *f;

	enter(s->ns);
	f = fopen("/proc/thread-self/net/snmp", "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Ip: %*d %*d %*u %*u %*u %*u %*u %*u %llu", &n);
	if (f)
		fclose(f);
	return n;
}

/* ns a packet: the kernel's own measure, without the time that others had the CPU. ${come}: the share that
 * came past the firewall. */
static double send_frames(const struct side *s, uint32_t n, double *come)
{
	uint8_t frame[FRAME] = {0};
	struct xdp_md ctx = {.data_end = FRAME, .ingress_ifindex = (uint32_t)s->sender};
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = FRAME, .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = (int)n, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = BATCH);
	uint64_t before = delivered(s);

	enter(sender_ns);
	if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.send_next), &o))
		fail("cannot send to", s->name);
	*come = (double)(delivered(s) - before) / n;
	return o.duration;
}

/* ${want}: which share of the frames from ${port} on must come past the firewall. */
static void check(const struct side *s, uint32_t port, double want)
{
	double come;

	for (uint32_t i = 0; i < opt.flows; i++)
		put_frame(i, s->mac, port + i);
	send_frames(s, opt.flows, &come);
	if (fabs(come - want) < 0.01)
		return;
	fprintf(stderr, "bench_wire: %s: %.3f of what is sent from port %u on comes, not %.0f\n", s->name,
		come, port, want);
	exit(1);
}

static void measure(void)
{
	uint32_t n[SIDES];
	double come;

	for (int i = 0; i < n_sides; i++) /* about 30 ms each */
		n[i] = (uint32_t)(3e7 / (1 + send_frames(&sides[i], 1 << 14, &come))) & ~(BATCH - 1u);
	for (int r = 0; r < opt.rounds; r++)
		for (int i = 0; i < n_sides; i++) {
			for (uint32_t k = 0; k < opt.flows; k++)
				put_frame(k, sides[i].mac, PEER_PORT + k);
			sides[i].took[r] = send_frames(&sides[i], n[i], &come);
			if (come < 0.999) {
				fprintf(stderr, "bench_wire: %s: only %.3f of the packets came\n",
					sides[i].name, come);
				exit(1);
			}
		}
}

static void print(const struct side *s)
{
	double *v = malloc((size_t)opt.rounds * sizeof(*v)), best[2] = {1e9, 1e9};

	for (int r = 0; r < opt.rounds; r++) {
		double base = s == sides ? 0 : sides[0].took[r];

		v[r] = s->took[r] - base;
		best[0] = base < best[0] ? base : best[0];
		best[1] = s->took[r] < best[1] ? s->took[r] : best[1];
	}
	qsort(v, (size_t)opt.rounds, sizeof(*v), by_size);
	printf("%s %.1f %.1f %.1f %.1f\n", s->name, quantile(v, opt.rounds, 0.5),
	       quantile(v, opt.rounds, 0.25), quantile(v, opt.rounds, 0.75), best[1] - best[0]);
	free(v);
}

int main(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "+r:n:")) != -1) {
		if (c == 'r')
			opt.rounds = atoi(optarg);
		else if (c == 'n')
			opt.flows = (uint32_t)strtoul(optarg, NULL, 10);
	}
	argc -= optind;
	argv += optind;
	if (argc < 2 || argc - 1 > SIDES || opt.rounds < 1 || !opt.flows || opt.flows & (opt.flows - 1) ||
	    opt.flows > 16384) {
		fprintf(stderr, "usage: bench_wire [-r ROUNDS] [-n FLOWS] SENDER NAMESPACE... (FLOWS: a "
				"power of two)\n");
		return 2;
	}
	pin_to(0);
	load();
	sender_ns = open_ns(argv[0]);
	for (n_sides = 0; n_sides < argc - 1; n_sides++) {
		struct side *s = &sides[n_sides];

		s->name = argv[1 + n_sides];
		s->ns = open_ns(s->name);
		s->took = calloc((size_t)opt.rounds, sizeof(*s->took));
		set_up_link(s);
		open_flows(s);
	}
	for (int i = 0; i < n_sides; i++) {
		check(&sides[i], PEER_PORT + 20000, i ? 0 : 1);
		check(&sides[i], PEER_PORT, 1);
	}
	measure();
	for (int i = 0; i < n_sides; i++)
		print(&sides[i]);
	return 0;
}
