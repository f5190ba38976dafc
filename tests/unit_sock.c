/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of running connections: real sockets in a network namespace of our own. TAP. */
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <time.h>

#include "lib/resolve.h"
#include "lib/sock_list.h"
#include "own_netns.h"
#include "tap.h"

#define PAIRS 2500

/* ---- what is listed ---- */

static struct sock_list list;

static void look(void)
{
	sock_list_free(&list);
	if (sock_list(&list))
		fatal("sock_list");
}

/* The one with these ports, of either version (0); NULL when there is none or more than one. */
static const struct sock_conn *find_version(int version, int protocol, uint16_t local, uint16_t remote)
{
	const struct sock_conn *found = NULL;

	for (size_t i = 0; i < list.n; i++) {
		const struct sock_conn *s = &list.socks[i];

		if (s->protocol != protocol || s->local_port != local || s->remote_port != remote ||
		    (version && s->version != version))
			continue;
		if (found)
			return NULL;
		found = s;
	}
	return found;
}

static const struct sock_conn *find(int protocol, uint16_t local, uint16_t remote)
{
	return find_version(0, protocol, local, remote);
}

/* look() until the state is this (0: not listed), 10 s at most: a delayed ACK tells nobody. */
static const struct sock_conn *settled(uint16_t local, uint16_t remote, int state)
{
	const struct sock_conn *s;

	for (int i = 0; i < 10000; i++) {
		look();
		s = find(IPPROTO_TCP, local, remote);
		if (s ? s->state == state : !state)
			break;
		usleep(1000);
	}
	return s;
}

static bool is(const struct sock_conn *s, const char *local, const char *remote, int version, int state,
	       int opener)
{
	if (!s) {
		printf("# not listed, or twice\n");
		return false;
	}
	if (!memcmp(s->local, bytes(local), 16) && !memcmp(s->remote, bytes(remote), 16) &&
	    s->version == version && s->state == state && s->opener == opener)
		return true;
	printf("# version %d state %d opener %d\n", s->version, s->state, s->opener);
	return false;
}

/* Both ends of a connection on this host, opened from ${from}. */
static void ends(const char *what, int protocol, uint16_t from, uint16_t port, const char *addr, int version)
{
	look();
	ok(is(find(protocol, from, port), addr, addr, version, TCP_ESTABLISHED, SOCK_LOCAL),
	   "%s: opened here", what);
	ok(is(find(protocol, port, from), addr, addr, version, TCP_ESTABLISHED, SOCK_REMOTE),
	   "%s: opened there", what);
}

static void tcp(const char *what, const char *listen_at, const char *addr, const char *shown, int version)
{
	int l = listener(listen_at, 0, 0, 8), c = client(SOCK_STREAM, 0, addr, port_of(l)), a = accepted(l);
	uint16_t port = port_of(l), from = port_of(c);

	ends(what, IPPROTO_TCP, from, port, shown, version);
	close(l);
	look();
	ok(is(find(IPPROTO_TCP, port, from), shown, shown, version, TCP_ESTABLISHED, SOCK_LOCAL),
	   "%s: the listener is gone, so it looks opened here", what);
	close(a);
	close(c);
	ok(!settled(port, from, 0) && !settled(from, port, 0), "%s: closed, and TIME_WAIT is left out", what);
}

static void udp(const char *what, int protocol, const char *listen_at, const char *addr, const char *shown,
		int version)
{
	int w = bound(SOCK_DGRAM, protocol, listen_at, 0, 0), s, c;
	uint16_t port, from;

	if (w < 0 && errno == EPROTONOSUPPORT) {
		ok(true, "%s # SKIP this kernel has none", what);
		return;
	}
	port = port_of(w);
	c = client(SOCK_DGRAM, protocol, addr, port);
	from = port_of(c);
	look();
	ok(!find(protocol, port, from), "%s: what waits is no connection", what);
	s = bound(SOCK_DGRAM, protocol, listen_at, port, 0);
	to(s, addr, from);
	ends(what, protocol, from, port, shown, version);
	close(w);
	look();
	ok(is(find(protocol, port, from), shown, shown, version, TCP_ESTABLISHED, SOCK_LOCAL),
	   "%s: nobody waits any more, so it looks opened here", what);
	close(s);
	close(c);
}

/* A listener on the local port of a connection made from here is the opener's mark only when it covers the
 * address. */
static void covering(const char *what, const char *listen_at, int v6only, const char *from, int want)
{
	int l = listener("127.0.0.1", 0, 0, 8), other, c, one = 1;
	union any any = at(from, 0);
	uint16_t port, mine;

	/* The client binds while nobody listens there (SO_REUSEPORT: and lets the listener in). */
	c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (setsockopt(c, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) || bind(c, &any.sa, sizeof(any.v4)))
		fatal("bind");
	mine = port_of(c);
	port = port_of(l);
	to(c, "127.0.0.1", port);
	any = at(listen_at, mine);
	other = socket(any.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    (any.sa.sa_family == AF_INET6 &&
	     setsockopt(other, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only))) ||
	    bind(other, &any.sa, size_of(&any)) || listen(other, 8))
		fatal("listen");
	look();
	ok(is(find(IPPROTO_TCP, mine, port), from, "127.0.0.1", 4, TCP_ESTABLISHED, want), "%s", what);
	close(other);
	close(c);
	close(l);
}

static void covers(void)
{
	covering("a listener on the same address", "127.0.0.1", 0, "127.0.0.1", SOCK_REMOTE);
	covering("a listener on the same mapped address", "::ffff:127.0.0.1", 0, "127.0.0.1", SOCK_REMOTE);
	covering("a listener on another address", "127.0.0.2", 0, "127.0.0.1", SOCK_LOCAL);
	covering("the wildcard of IPv4", "0.0.0.0", 0, "127.0.0.3", SOCK_REMOTE);
	covering("the mapped wildcard of IPv4", "::ffff:0.0.0.0", 0, "127.0.0.3", SOCK_REMOTE);
	covering("the wildcard of IPv6 covers IPv4", "::", 0, "127.0.0.3", SOCK_REMOTE);
	covering("the wildcard of IPv6 alone does not", "::", 1, "127.0.0.3", SOCK_LOCAL);
}

/* ---- states of TCP ---- */

static void closing(void)
{
	int l = listener("::1", 0, 1, 8), c = client(SOCK_STREAM, 0, "::1", port_of(l)), a = accepted(l);
	uint16_t port = port_of(l), from = port_of(c);
	const struct sock_conn *s;

	shutdown(c, SHUT_WR);
	ok(is(settled(from, port, TCP_FIN_WAIT2), "::1", "::1", 6, TCP_FIN_WAIT2, SOCK_LOCAL), "FIN_WAIT2");
	ok(is(find(IPPROTO_TCP, port, from), "::1", "::1", 6, TCP_CLOSE_WAIT, SOCK_REMOTE), "CLOSE_WAIT");
	s = find(IPPROTO_TCP, from, port);
	ok(s && s->inode, "FIN_WAIT2 with a socket has an inode");
	close(c);
	look();
	s = find(IPPROTO_TCP, from, port);
	ok(is(s, "::1", "::1", 6, TCP_FIN_WAIT2, SOCK_LOCAL) && !s->inode,
	   "FIN_WAIT2 without a socket has none");
	close(a);
	close(l);
}

/* A handshake that rests: the listener waits for data (TCP_DEFER_ACCEPT) and keeps the request meanwhile. */
static void handshake(const char *what, const char *listen_at, const char *addr, const char *shown,
		      int version)
{
	int l = listener(listen_at, 0, 0, 8), seconds = 30, c;
	uint16_t port = port_of(l), from;
	const struct sock_conn *s;

	if (setsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)))
		fatal("TCP_DEFER_ACCEPT");
	c = client(SOCK_STREAM, 0, addr, port);
	from = port_of(c);
	look();
	ok(is(find(IPPROTO_TCP, port, from), shown, shown, version, TCP_SYN_RECV, SOCK_REMOTE),
	   "SYN_RECV, %s", what);
	close(l);
	look();
	s = find(IPPROTO_TCP, port, from); /* until its timer finds that nobody listens */
	ok(!s || is(s, shown, shown, version, TCP_SYN_RECV, SOCK_REMOTE), "SYN_RECV without a listener, %s",
	   what);
	close(c);
}

/* The accept queue is full, so a SYN finds no answer. */
static void unanswered(void)
{
	int l = listener("127.0.0.1", 0, 0, 0), c[4], waiting = 0;
	uint16_t port = port_of(l);

	for (int i = 0; i < 4; i++) {
		c[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		to(c[i], "127.0.0.1", port);
	}
	look();
	for (int i = 0; i < 4; i++) {
		const struct sock_conn *s = find(IPPROTO_TCP, port_of(c[i]), port);

		waiting += s && s->state == TCP_SYN_SENT && s->opener == SOCK_LOCAL;
		close(c[i]);
	}
	close(l);
	ok(waiting > 0, "SYN_SENT");
}

/* ---- whose it is ---- */

static void owner(void)
{
	int l = listener("127.0.0.1", 0, 0, 8), c, a;
	uint16_t port = port_of(l), from;
	char path[4096] = "";
	uint64_t id = 0;
	uint32_t level;
	const struct sock_conn *s;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (seteuid(4321))
		fatal("seteuid");
	c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (seteuid(0) || setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3))
		fatal("SO_BINDTODEVICE");
	to(c, "127.0.0.1", port);
	a = accepted(l);
	from = port_of(c);
	look();
	s = find(IPPROTO_TCP, from, port);
	ok(s && s->uid == 4321, "the user");
	ok(s && s->ifindex == if_nametoindex("lo"), "the interface it is bound to");
	ok(s && s->inode, "the inode");
	while (f && fgets(path, sizeof(path), f))
		if (!strncmp(path, "0::", 3))
			break;
	if (f)
		fclose(f);
	path[strcspn(path, "\n")] = 0;
	if (strncmp(path, "0::", 3) || cgroup_lookup(path + 3, &id, &level))
		ok(true, "the cgroup # SKIP it can't be found here");
	else if (!ok(s && s->cgroup == id, "the cgroup"))
		printf("# %s: got %llu, want %llu\n", path, s ? (unsigned long long)s->cgroup : 0,
		       (unsigned long long)id);
	s = find(IPPROTO_TCP, port, from);
	ok(s && s->uid == 0 && s->ifindex == 0 && (!id || s->cgroup == id), "and of the accepted end");
	close(a);
	close(c);
	close(l);
}

/* ---- many ---- */

static void many(void)
{
	static int fds[2 * PAIRS];
	static uint16_t from[PAIRS];
	int l = listener("::", 0, 0, 128), found = 0, before;
	uint16_t port = port_of(l);
	struct timespec t0, t1;

	for (int i = 0; i < PAIRS; i++) {
		fds[2 * i] = client(SOCK_STREAM, 0, i % 2 ? "::1" : "127.0.0.1", port);
		from[i] = port_of(fds[2 * i]);
		fds[2 * i + 1] = accepted(l);
	}
	before = open_fds();
	sock_list_free(&list);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	if (sock_list(&list))
		fatal("sock_list");
	clock_gettime(CLOCK_MONOTONIC, &t1);
	printf("# %zu sockets in %.1f ms\n", list.n,
	       (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6);
	for (int i = 0; i < PAIRS; i++) {
		const char *addr = i % 2 ? "::1" : "127.0.0.1";
		int version = i % 2 ? 6 : 4;

		found += is(find_version(version, IPPROTO_TCP, from[i], port), addr, addr, version,
			    TCP_ESTABLISHED, SOCK_LOCAL) &&
			 is(find_version(version, IPPROTO_TCP, port, from[i]), addr, addr, version,
			    TCP_ESTABLISHED, SOCK_REMOTE);
	}
	ok(found == PAIRS && list.n >= 2 * PAIRS, "each of %d is listed once, with its opener", 2 * PAIRS);
	ok(open_fds() == before, "no file descriptor is left open");
	for (int i = 0; i < 2 * PAIRS; i++)
		close(fds[i]);
	close(l);
}

int main(void)
{
	struct rlimit many_files = { 2 * PAIRS + 100, 2 * PAIRS + 100 };

	own_netns();
	if (setrlimit(RLIMIT_NOFILE, &many_files))
		fatal("setrlimit");
	look();
	ok(!list.n, "nothing in a new namespace");
	for (size_t i = 0; i < list.n_missing; i++)
		printf("# can't be listed here: protocol %d\n", list.missing[i]);
	ok(!list.n_missing || list.missing[0] != IPPROTO_TCP, "TCP can be listed");
	tcp("TCP over IPv4", "0.0.0.0", "127.0.0.1", "127.0.0.1", 4);
	tcp("TCP over IPv6", "::1", "::1", "::1", 6);
	tcp("TCP, mapped", "::", "::ffff:127.0.0.1", "127.0.0.1", 4);
	udp("UDP over IPv4", IPPROTO_UDP, "127.0.0.1", "127.0.0.1", "127.0.0.1", 4);
	udp("UDP over IPv6", IPPROTO_UDP, "::", "::1", "::1", 6);
	udp("UDP, mapped", IPPROTO_UDP, "::", "::ffff:127.0.0.1", "127.0.0.1", 4);
	udp("UDP-Lite", IPPROTO_UDPLITE, "0.0.0.0", "127.0.0.1", "127.0.0.1", 4);
	covers();
	closing();
	handshake("IPv4", "127.0.0.1", "127.0.0.1", "127.0.0.1", 4);
	handshake("IPv6", "::1", "::1", "::1", 6);
	handshake("mapped", "::", "127.0.0.1", "127.0.0.1", 4);
	unanswered();
	owner();
	many();
	sock_list_free(&list);
	return done();
}
