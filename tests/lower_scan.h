/* SPDX-License-Identifier: GPL-2.0-only */
/* What a policy says about a packet, found slowly: every rule in order, every field one of no, maybe, yes. Written
 * from the semantics of fw-policy(5); shares no code with the lowering. */
#ifndef FW_LOWER_SCAN_H
#define FW_LOWER_SCAN_H

#include <fnmatch.h>
#include <string.h>

#include "bpf/classify.h"
#include "lib/tables.h"

#define FW_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- the world that names resolve in ---- */

static struct res_iface ifaces[] = {
	{.name = "lo", .ifindex = 1},
	{.name = "eth0", .ifindex = 2, .ingress_owned = 1},
	{.name = "eth1", .ifindex = 3},
	{.name = "veth0", .ifindex = 70000, .ingress_owned = 1},
	{.name = "veth1", .ifindex = 4294967295u},
};
static struct res_user users[] = {{"root", 0}, {"alice", 1000}, {"1000", 1000}, {"4294967294", 4294967294u}};
static struct res_cgroup cgroups[] = {
	{"/", 1, 0},   {"/a", 100, 1},	{"/a/b", 0x7ffffffffffffffe, 2},
	{"/ab", 102, 1}, {"/gone", 0, 1}, {"/c/d/e", 9, 3},
};
/* What existed below them when the policy was loaded; ids beside those of others among them. */
static struct res_member members[] = {
	{77, 2}, {8, 0}, {88, 0}, {101, 1}, {0x7ffffffffffffffd, 3}, {10, 5},
};
/* Where sockets live: their path, and the ids from the root down. "/z" and what it holds came after the load. */
static const struct home {
	const char *path;
	uint64_t ids[4];
} homes[] = {
	{"/", {1}}, {"/a", {1, 100}}, {"/a/b", {1, 100, 0x7ffffffffffffffe}}, {"/ab", {1, 102}}, {"/z", {1, 55}},
	{"/a/b/x", {1, 100, 0x7ffffffffffffffe, 77}}, {"/c", {1, 8}}, {"/c/d/e", {1, 8, 88, 9}},
	{"/c/d", {1, 8, 88}}, {"/a/y", {1, 100, 101}}, {"/ab/y", {1, 102, 0x7ffffffffffffffd}}, {"/a/z", {1, 100, 99}},
};
static const uint32_t uids[] = {0, 1, 999, 1000, 1001, 4294967294u, 4294967295u};

/* ---- three values ---- */

enum truth { NO, MAYBE, YES };

static enum truth both(enum truth a, enum truth b)
{
	return a < b ? a : b;
}

static enum truth either(enum truth a, enum truth b)
{
	return a > b ? a : b;
}

/* ---- what a hook sees ---- */

enum view { PACKET, SOCKET, CALL, AFTER_CGROUP, N_VIEWS };

struct seen {
	struct packet p;
	enum view view;
	int direction;
	uint32_t iface; /* of ifaces[], or past it: one that no rule can name */
	uint32_t uid;
	const struct home *home;
	bool by_id; /* of the cgroup only the id is known: that of a stored flow */
};

/* ---- the scan ---- */

static bool in_cidr(const struct cidr *c, const union fw_addr *a)
{
	bool v4 = fw_addr_is4(a);
	const uint8_t *b = v4 ? a->b + 12 : a->b;

	if ((c->family == 4) != v4)
		return false;
	for (unsigned int i = 0; i < c->len; i++)
		if ((b[i / 8] ^ c->addr[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

/* One prefix and an address of which only the family is known: somewhere in it, everywhere, or nowhere. */
static enum truth cidr_holds(const struct cidr *c, const union fw_addr *a, bool known)
{
	if (known)
		return in_cidr(c, a) ? YES : NO;
	if ((c->family == 4) != fw_addr_is4(a))
		return NO;
	return c->len ? MAYBE : YES;
}

static enum truth item_holds(const struct policy *p, const struct addr_item *it, const union fw_addr *a, bool known)
{
	const struct fw_set *set = it->set < 0 ? NULL : &p->sets[it->set];
	enum truth t = NO;

	if (!set)
		return cidr_holds(&it->cidr, a, known);
	for (size_t i = 0; i < set->n_cidrs && t != YES; i++)
		t = either(t, cidr_holds(&set->cidrs[i], a, known));
	/* of a set's members nobody but the classifier's builder could say that they cover everything */
	return known ? t : both(t, MAYBE);
}

static enum truth addrs_hold(const struct policy *p, const struct addr_item *items, size_t n,
			     const union fw_addr *a, bool known)
{
	enum truth in = NO, out = NO;
	bool includes = false;

	for (size_t i = 0; i < n; i++) {
		enum truth t = item_holds(p, &items[i], a, known);

		if (items[i].negate) {
			out = either(out, t);
		} else {
			includes = true;
			in = either(in, t);
		}
	}
	return both(includes ? in : YES, YES - out);
}

static enum truth ports_hold(const struct port_range *r, size_t n, uint16_t port, bool known, bool is_call)
{
	if (!n)
		return YES;
	if (!known)
		return is_call ? MAYBE : NO;
	for (size_t i = 0; i < n; i++)
		if (r[i].lo <= port && port <= r[i].hi)
			return YES;
	return NO;
}

static bool is_icmp(const struct packet *p)
{
	return p->proto == (p->ip_version == 4 ? 1 : 58);
}

static bool proto_holds(const struct rule *r, const struct packet *p)
{
	switch (r->proto.kind) {
	case PROTO_ANY:
		return true;
	case PROTO_ICMP:
		return is_icmp(p);
	case PROTO_ICMPV4:
		return is_icmp(p) && p->ip_version == 4;
	case PROTO_ICMPV6:
		return is_icmp(p) && p->ip_version == 6;
	default:
		return r->proto.number == p->proto;
	}
}

static enum truth icmp_holds(const struct rule *r, const struct seen *s)
{
	if (!r->n_icmp_types)
		return s->p.favoured && r->action != ACTION_ALLOW ? NO : YES;
	if (!is_icmp(&s->p))
		return NO;
	if (!(s->p.known & FW_EV_ICMP))
		return s->view == CALL ? MAYBE : NO;
	for (size_t i = 0; i < r->n_icmp_types; i++)
		if ((s->p.ip_version == 4 ? r->icmp_types[i].v4 : r->icmp_types[i].v6) == s->p.icmp_type)
			return YES;
	return NO;
}

/* Who sent it, and where it passes. */
static enum truth context_holds(const struct rule *r, const struct seen *s)
{
	enum truth iface = NO, user = NO, group = NO;

	for (size_t i = 0; i < r->n_interfaces; i++)
		if (s->iface < FW_COUNT(ifaces) && !fnmatch(r->interfaces[i], ifaces[s->iface].name, 0))
			iface = YES;
	for (size_t i = 0; i < r->n_users; i++)
		for (size_t k = 0; k < FW_COUNT(users); k++)
			if (!strcmp(users[k].name, r->users[i]) && users[k].uid == s->uid)
				user = YES;
	for (size_t i = 0; i < r->n_cgroups; i++) {
		size_t n = strlen(r->cgroups[i]);

		if (n == 1 || (!strncmp(r->cgroups[i], s->home->path, n) &&
			       (s->home->path[n] == '/' || !s->home->path[n])))
			group = YES;
	}
	if (s->view == CALL)
		iface = MAYBE;
	if (s->view == AFTER_CGROUP)
		user = group = MAYBE;
	if (s->view == PACKET)
		user = group = NO;
	return both(r->n_interfaces ? iface : YES, both(r->n_users ? user : YES, r->n_cgroups ? group : YES));
}

#define UNDECIDED (FW_NO_RULE - 1)

/* The rule, as its number among those of the direction; FW_NO_RULE or UNDECIDED. */
static uint32_t scan(const struct policy *p, const struct seen *s)
{
	bool call = s->view == CALL, saddr = !call || s->p.known & FW_EV_SADDR;
	uint32_t n = 0;

	for (size_t i = 0; i < p->n_rules; i++) {
		const struct rule *r = &p->rules[i];
		const union fw_addr *src = saddr ? &s->p.src : &s->p.dst; /* unknown: same family */
		enum truth t;

		if (!(r->directions & DIR_BIT(s->direction)))
			continue;
		t = proto_holds(r, &s->p) ? YES : NO;
		if (t && (r->n_sports || r->n_dports) && !fw_has_ports(s->p.proto))
			t = NO;
		t = t ? both(t, ports_hold(r->sports, r->n_sports, s->p.sport, s->p.known & FW_EV_SPORT, call)) : NO;
		t = t ? both(t, ports_hold(r->dports, r->n_dports, s->p.dport, s->p.known & FW_EV_DPORT, false)) : NO;
		t = t ? both(t, icmp_holds(r, s)) : NO;
		t = t ? both(t, context_holds(r, s)) : NO;
		t = t ? both(t, addrs_hold(p, r->src, r->n_src, src, saddr)) : NO;
		t = t ? both(t, addrs_hold(p, r->dst, r->n_dst, &s->p.dst, true)) : NO;
		if (t)
			return t == YES ? n : UNDECIDED;
		n++;
	}
	return FW_NO_RULE;
}

#endif
