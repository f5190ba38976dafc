/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>
#include <string.h>

#include "policy_stats.h"

static void count_ports(uint8_t *seen, const struct port_range *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memset(seen + r[i].lo, 1, r[i].hi - r[i].lo + 1u);
}

static unsigned int total(const uint8_t *seen, size_t n)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += seen[i];
	return sum;
}

static void print_rules(const struct policy *p, FILE *f)
{
	static const uint8_t directions[] = {DIR_BIT(DIR_INGRESS), DIR_BIT(DIR_EGRESS), DIR_BOTH};
	static const enum fw_action actions[] = {ACTION_ALLOW, ACTION_DENY, ACTION_REJECT, ACTION_RATE_LIMIT};

	fprintf(f, "%-10s %10s %10s %10s %10s\n", "rules", "allow", "deny", "reject", "rate_limit");
	for (int d = 0; d < 3; d++) {
		fprintf(f, "  %-8s", direction_name(directions[d]));
		for (int a = 0; a < 4; a++) {
			size_t n = 0;

			for (size_t i = 0; i < p->n_rules; i++)
				n += p->rules[i].directions == directions[d] &&
				     p->rules[i].action == actions[a];
			fprintf(f, " %10zu", n);
		}
		fputc('\n', f);
	}
}

static void print_fields(const struct policy *p, FILE *f)
{
	static uint8_t sports[65536], dports[65536], protocols[256 + PROTO_NUMBER];
	size_t addrs = 0, sports_rules = 0, dports_rules = 0;

	memset(sports, 0, sizeof(sports));
	memset(dports, 0, sizeof(dports));
	memset(protocols, 0, sizeof(protocols));
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct rule *r = &p->rules[i];

		addrs += r->n_src + r->n_dst;
		count_ports(sports, r->sports, r->n_sports);
		count_ports(dports, r->dports, r->n_dports);
		sports_rules += r->n_sports > 0;
		dports_rules += r->n_dports > 0;
		protocols[r->proto.kind == PROTO_NUMBER ? r->proto.number : 256 + r->proto.kind] = 1;
	}
	fprintf(f, "%-32s %10zu\n", "rules in all", p->n_rules);
	fprintf(f, "%-32s %10zu\n", "addresses and sets in rules", addrs);
	fprintf(f, "%-32s %10u in %zu rules\n", "distinct source ports", total(sports, 65536), sports_rules);
	fprintf(f, "%-32s %10u in %zu rules\n", "distinct destination ports", total(dports, 65536),
		dports_rules);
	fprintf(f, "%-32s %10u\n", "distinct protocols", total(protocols, sizeof(protocols)));
}

void policy_stats(const struct policy *p, FILE *f)
{
	print_rules(p, f);
	print_fields(p, f);
	for (size_t i = 0; i < p->n_sets; i++) {
		size_t v4 = 0;

		for (size_t j = 0; j < p->sets[i].n_cidrs; j++)
			v4 += p->sets[i].cidrs[j].family == 4;
		fprintf(f, "set %-28s %10zu (%zu IPv4, %zu IPv6)\n", p->sets[i].name, p->sets[i].n_cidrs, v4,
			p->sets[i].n_cidrs - v4);
	}
}
