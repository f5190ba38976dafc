/* SPDX-License-Identifier: GPL-2.0-only */
/* Answers of the kernel over netlink, also bad ones, and the routes read that way. TAP. */
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <sys/syscall.h>

#include "lib/iface_list.h"
#include "lib/netlink.h"
#include "lib/route_iface.h"
#include "lib/sock_list.h"
#include "own_netns.h"
#include "tap.h"

/* ---- the kernel's answers, made worse on demand ---- */

static enum { PLAIN, INTERRUPT_ONCE, INTERRUPT_ALWAYS, FOREIGN, CUT, NO_UDP } meddle;
static int n_reads;

/* In place of the C library's. */
ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t got;
	int left;

	n_reads++;
	if (meddle == FOREIGN) { /* a whole answer of somebody else, before the kernel's */
		meddle = PLAIN;
		((struct sockaddr_nl *)msg->msg_name)->nl_pid = 1;
		*(struct nlmsghdr *)msg->msg_iov->iov_base =
			(struct nlmsghdr){ NLMSG_HDRLEN, SOCK_DIAG_BY_FAMILY, 0, 1, 1 };
		return NLMSG_HDRLEN;
	}
	got = syscall(SYS_recvmsg, fd, msg, flags);
	left = (int)got;
	if (meddle == CUT)
		msg->msg_flags |= MSG_TRUNC;
	if (meddle != INTERRUPT_ONCE && meddle != INTERRUPT_ALWAYS)
		return got;
	for (struct nlmsghdr *h = msg->msg_iov->iov_base; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		h->nlmsg_flags |= NLM_F_DUMP_INTR;
		if (h->nlmsg_type == NLMSG_DONE && meddle == INTERRUPT_ONCE)
			meddle = PLAIN;
	}
	return got;
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 req;
	} ask;

	if (meddle != NO_UDP || len != sizeof(ask))
		return syscall(SYS_sendto, fd, buf, len, flags, NULL, 0);
	memcpy(&ask, buf, len);
	if (ask.req.sdiag_protocol != IPPROTO_TCP)
		ask.req.sdiag_protocol = IPPROTO_GRE; /* which nobody can list */
	return syscall(SYS_sendto, fd, &ask, len, flags, NULL, 0);
}

/* ---- what becomes of them ---- */

static struct sock_list list;

static void look(void)
{
	sock_list_free(&list);
	if (sock_list(&list))
		fatal("sock_list");
}

static size_t n_messages;

static void count(const struct nlmsghdr *h, void *arg)
{
	n_messages = h ? n_messages + 1 : 0;
}

static int ask_protocol(uint8_t protocol)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 req;
	} ask = { .h = { sizeof(ask), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0 },
		  .req = { .sdiag_family = AF_INET, .sdiag_protocol = protocol, .idiag_states = ~0u } };

	errno = 0;
	return netlink_ask(NETLINK_SOCK_DIAG, &ask.h, count, NULL);
}

static void answers(void)
{
	struct res_iface *ifaces = NULL;
	size_t n = 0, plain, all;
	int fds = open_fds(), l = listener("127.0.0.1", 0, 0, 8);
	int c = client(SOCK_STREAM, 0, "127.0.0.1", port_of(l)), a = accepted(l), udplite;

	look();
	plain = list.n;
	meddle = INTERRUPT_ONCE;
	look();
	ok(meddle == PLAIN && plain >= 2 && list.n == plain,
	   "a list that changed is read again, and not added to");
	meddle = INTERRUPT_ALWAYS;
	ok(ask_protocol(IPPROTO_TCP) == -1 && errno == EAGAIN, "not for ever");
	meddle = CUT;
	ok(ask_protocol(IPPROTO_TCP) == -1 && errno == EMSGSIZE, "a message that doesn't fit is an error");
	meddle = PLAIN;
	all = ask_protocol(IPPROTO_TCP) ? 0 : n_messages;
	meddle = FOREIGN;
	ok(!ask_protocol(IPPROTO_TCP) && meddle == PLAIN && all >= 3 && n_messages == all,
	   "who isn't the kernel isn't believed");
	meddle = NO_UDP;
	look();
	udplite = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDPLITE);
	ok(list.n == plain && list.n_missing == 1u + (udplite >= 0) && list.missing[0] == IPPROTO_UDP &&
		   (udplite < 0 || list.missing[1] == IPPROTO_UDPLITE),
	   "what can't be listed is missing, the rest is there");
	if (udplite >= 0)
		close(udplite);
	meddle = PLAIN;
	ok(ask_protocol(IPPROTO_GRE) == -1 && errno == ENOENT, "a protocol that can't be listed is ENOENT");
	meddle = INTERRUPT_ONCE;
	ok(!iface_list(&ifaces, &n) && n == 1 && !strcmp(ifaces[0].name, "lo"),
	   "interfaces are read again too");
	while (n)
		free((char *)ifaces[--n].name);
	free(ifaces);
	meddle = PLAIN;
	close(a);
	close(c);
	close(l);
	ok(open_fds() == fds, "no file descriptor is left open");
}

/* ---- routes ---- */

static int run(const char *command)
{
	return system(command); /* NOLINT: ours, and a test */
}

static void routes(void)
{
	uint32_t ifindex = 0, there, other;

	ok(!route_iface(bytes("127.0.0.1"), NULL, &ifindex) && ifindex == 1, "lo for IPv4");
	ok(!route_iface(bytes("::1"), NULL, &ifindex) && ifindex == 1, "lo for IPv6");
	ok(route_iface(bytes("192.0.2.1"), NULL, &ifindex) == -1 && errno == ENETUNREACH,
	   "no route for IPv4");
	ok(route_iface(bytes("2001:db8::1"), NULL, &ifindex) == -1 && errno == ENETUNREACH,
	   "no route for IPv6");
	if (run("ip link add fwr0 type veth peer name fwr1 && ip link set fwr0 up && ip link set fwr1 up && "
		"ip addr add 192.0.2.1/24 dev fwr0 && ip route add default via 192.0.2.254 && "
		"ip route add prohibit 203.0.113.0/24 && ip route add blackhole 203.0.114.0/24")) {
		ok(true, "routes # SKIP ip(8) can't make interfaces here");
		return;
	}
	if (run("ip addr add 198.51.100.1/24 dev fwr1 && ip rule add from 198.51.100.1 table 7 && "
		"ip route add default via 198.51.100.254 table 7 && ip route add prohibit 203.0.115.0/24 "
		"table 7 && "
		"ip addr add 2001:db8::1/64 dev fwr1 nodad && ip -6 route add unreachable 2001:db8:1::/48 && "
		"ip -6 route add prohibit 2001:db8:2::/48 && ip -6 route add blackhole 2001:db8:3::/48"))
		fatal("ip");
	there = if_nametoindex("fwr0");
	other = if_nametoindex("fwr1");
	ok(!route_iface(bytes("192.0.2.77"), NULL, &ifindex) && ifindex == there, "a neighbour");
	ok(!route_iface(bytes("192.0.2.1"), NULL, &ifindex) && ifindex == 1, "an address of this host");
	ok(!route_iface(bytes("8.8.8.8"), NULL, &ifindex) && ifindex == there, "the default route");
	ok(!route_iface(bytes("8.8.8.8"), bytes("198.51.100.1"), &ifindex) && ifindex == other,
	   "a route by source");
	ok(!route_iface(bytes("8.8.8.8"), bytes("9.9.9.9"), &ifindex) && ifindex == there,
	   "a source not of this host");
	ok(!route_iface(bytes("2001:db8::77"), bytes("2001:db8::1"), &ifindex) && ifindex == other, "IPv6");
	ifindex = 99;
	ok(route_iface(bytes("203.0.113.1"), NULL, &ifindex) == -1 && errno == EACCES, "prohibited");
	ok(route_iface(bytes("203.0.115.1"), bytes("198.51.100.1"), &ifindex) == -1 && errno == EACCES,
	   "prohibited by source");
	ok(route_iface(bytes("203.0.114.1"), NULL, &ifindex) == -1 && errno == EINVAL, "a blackhole");
	ok(route_iface(bytes("2001:db8:2::1"), NULL, &ifindex) == -1 && errno == EACCES, "prohibited, IPv6");
	ok(route_iface(bytes("2001:db8:1::1"), NULL, &ifindex) == -1 && errno == EHOSTUNREACH,
	   "unreachable, IPv6");
	ok(route_iface(bytes("2001:db8:3::1"), NULL, &ifindex) == -1 && errno == EINVAL, "a blackhole, IPv6");
	ok(ifindex == 99, "what failed left the answer alone");
}

int main(void)
{
	own_netns();
	answers();
	routes();
	sock_list_free(&list);
	return done();
}
