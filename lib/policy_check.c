/* SPDX-License-Identifier: GPL-2.0-only */
/* What keys say about each other, within a rule and among rules. */
#include <string.h>

#include "policy_reader.h"

/* The place to point at: the key, or the rule where the key is absent and its default is the matter. */
static const struct where *key_at(const struct rule *rule, enum rule_key key)
{
	return rule->keys[key].file ? &rule->keys[key] : &rule->where;
}

/* A rate without the action would look like a limit and be none. */
static void check_rate(struct diag *d, const struct rule *rule)
{
	static const enum rule_key keys[] = {RK_RATE_LIMIT_PPS, RK_RATE_LIMIT_BURST, RK_RATE_LIMIT_BY};
	static const char *const names[] = {"rate_limit_pps", "rate_limit_burst", "rate_limit_by"};

	if (rule->action == ACTION_RATE_LIMIT) {
		if (!rule->keys[RK_RATE_LIMIT_PPS].file)
			diag_error(d, key_at(rule, RK_ACTION), rule->name,
				   "action rate_limit needs \"rate_limit_pps\": packets per second");
		return;
	}
	for (int i = 0; i < 3; i++)
		if (rule->keys[keys[i]].file)
			diag_error(d, key_at(rule, keys[i]), rule->name, "\"%s\" needs action: rate_limit",
				   names[i]);
}

/* 136 is UDP-Lite. With any, ports mean these four. */
static void check_ports(struct diag *d, const struct rule *rule)
{
	const struct proto *p = &rule->proto;
	bool has_ports = p->kind == PROTO_ANY ||
			 (p->kind == PROTO_NUMBER &&
			  (p->number == 6 || p->number == 17 || p->number == 132 || p->number == 136));

	if (has_ports)
		return;
	if (rule->n_sports)
		diag_error(d, key_at(rule, RK_SOURCE_PORTS), rule->name,
			   "this protocol has no ports: \"source_ports\" needs tcp, udp, sctp, 136 or any");
	if (rule->n_dports)
		diag_error(
			d, key_at(rule, RK_DESTINATION_PORTS), rule->name,
			"this protocol has no ports: \"destination_ports\" needs tcp, udp, sctp, 136 or any");
}

/* A type of the wrong family would make a rule that never matches. */
static void check_icmp(struct diag *d, const struct rule *rule)
{
	const struct where *w = key_at(rule, RK_ICMP_TYPES);
	enum proto_kind kind = rule->proto.kind;

	if (!rule->n_icmp_types)
		return;
	if (kind != PROTO_ICMP && kind != PROTO_ICMPV4 && kind != PROTO_ICMPV6) {
		diag_error(d, w, rule->name, "\"icmp_types\" needs protocol: icmp, icmpv4 or icmpv6");
		return;
	}
	for (size_t i = 0; i < rule->n_icmp_types; i++) {
		const struct icmp_type *t = &rule->icmp_types[i];

		if (kind == PROTO_ICMPV4 && t->v4 < 0)
			diag_error(d, w, rule->name, "\"%s\" is a type of ICMPv6, not of ICMPv4", t->name);
		if (kind == PROTO_ICMPV6 && t->v6 < 0)
			diag_error(d, w, rule->name, "\"%s\" is a type of ICMPv4, not of ICMPv6", t->name);
	}
}

/* No ingress hook knows the socket a packet is for. */
static void check_socket(struct diag *d, const struct rule *rule)
{
	if (!(rule->directions & DIR_BIT(DIR_INGRESS)))
		return;
	if (rule->n_users)
		diag_error(d, key_at(rule, RK_USERS), rule->name,
			   "users are known only at egress: add direction: egress");
	if (rule->n_cgroups)
		diag_error(d, key_at(rule, RK_CGROUPS), rule->name,
			   "cgroups are known only at egress: add direction: egress");
}

enum { V4 = 1, V6 = 2 };

/* The IP versions that the addresses of a rule leave. */
static unsigned int families(const struct policy *p, const struct addr_item *items, size_t n)
{
	unsigned int found = 0;
	bool positive = false;

	for (size_t i = 0; i < n && found != (V4 | V6); i++) {
		const struct fw_set *set = items[i].set < 0 ? NULL : &p->sets[items[i].set];

		if (items[i].negate)
			continue;
		positive = true;
		if (!set)
			found |= items[i].cidr.family == 4 ? V4 : V6;
		else if (!set->n_cidrs)
			return V4 | V6; /* a set that could not be read */
		else
			found |= (set->has_v4 ? V4 : 0) | (set->has_v6 ? V6 : 0);
	}
	return positive ? found : V4 | V6;
}

static void check_families(struct diag *d, const struct policy *p, const struct rule *rule)
{
	unsigned int src = families(p, rule->src, rule->n_src), dst = families(p, rule->dst, rule->n_dst);
	unsigned int both = src & dst;

	if (!both)
		diag_warn(d, &rule->where, rule->name,
			  "never matches: the sources are IPv%d and the destinations IPv%d",
			  src == V4 ? 4 : 6, dst == V4 ? 4 : 6);
	else if ((rule->proto.kind == PROTO_ICMPV4 && both == V6) ||
		 (rule->proto.kind == PROTO_ICMPV6 && both == V4))
		diag_warn(d, key_at(rule, RK_PROTOCOL), rule->name,
			  "never matches: %s with IPv%d addresses only",
			  rule->proto.kind == PROTO_ICMPV4 ? "icmpv4" : "icmpv6", both == V4 ? 4 : 6);
}

#define BIT(key) (1u << (key))

void rule_check(struct diag *d, const struct policy *p, const struct rule *rule, uint32_t failed)
{
	if (!(failed & BIT(RK_ACTION)))
		check_rate(d, rule);
	if (!(failed & BIT(RK_PROTOCOL))) {
		check_ports(d, rule);
		check_icmp(d, rule);
	}
	if (!(failed & BIT(RK_DIRECTION)))
		check_socket(d, rule);
	if (!(failed & (BIT(RK_PROTOCOL) | BIT(RK_SOURCE_CIDRS) | BIT(RK_DESTINATION_CIDRS))))
		check_families(d, p, rule);
}

/* The file's order decides then, which is easily changed by accident. */
static void check_priorities(struct diag *d, const struct policy *p)
{
	for (size_t i = 1; i < p->n_rules; i++) {
		const struct rule *before = &p->rules[i - 1], *rule = &p->rules[i];

		if (rule->priority != before->priority || !rule->keys[RK_PRIORITY].file ||
		    !before->keys[RK_PRIORITY].file)
			continue;
		diag_warn(d, &rule->keys[RK_PRIORITY], rule->name,
			  "priority %u is also that of rule %s, which wins", rule->priority,
			  before->name ? before->name : "before");
	}
}

/* Without state a reply is judged like any packet. That nobody allows it is most likely an oversight. */
static void check_replies(struct diag *d, const struct policy *p)
{
	const struct rule *allowing[DIR_COUNT] = {NULL, NULL};

	if (p->stateful)
		return;
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct rule *rule = &p->rules[i];

		for (int dir = 0; dir < DIR_COUNT; dir++)
			if ((rule->directions & DIR_BIT(dir)) && !allowing[dir] &&
			    (rule->action == ACTION_ALLOW || rule->action == ACTION_RATE_LIMIT))
				allowing[dir] = rule;
	}
	for (int dir = 0; dir < DIR_COUNT; dir++) {
		const struct rule *other = allowing[!dir];

		if (p->default_action[dir] == ACTION_DENY && !allowing[dir] && other)
			diag_warn(d, &other->where, other->name,
				  "replies will be denied: with stateful: false they need a rule that allows "
				  "%s",
				  direction_name(DIR_BIT(dir)));
	}
}

void policy_check(struct diag *d, const struct policy *p)
{
	check_priorities(d, p);
	check_replies(d, p);
}
