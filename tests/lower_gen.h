/* SPDX-License-Identifier: GPL-2.0-only */
/* Random policies, as text of the IR. */
#ifndef FW_LOWER_GEN_H
#define FW_LOWER_GEN_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t rnd_state;

/* splitmix64 (Steele, Lea, Flood, OOPSLA 2014) */
static uint64_t rnd64(void)
{
	uint64_t x = rnd_state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static uint32_t rnd(uint32_t n)
{
	return rnd64() % n;
}

/* Percentages say how often a rule has the field. */
struct shape {
	const char *name;
	unsigned int share, packets; /* share of all policies in percent; 0: one policy */
	unsigned int rules_min, rules_max, sets, members;
	unsigned int addrs, ports, sports, icmp, context;
	bool nested; /* prefixes of one address, of all lengths, and their neighbours */
	bool sparse; /* rules that leave room for each other, so that late ones are reached; few distinct ports */
};

static const struct shape shapes[] = {
	{"few rules", 30, 3000, 1, 8, 2, 12, 60, 50, 20, 20, 25, false, false},
	{"everything", 25, 3000, 10, 60, 4, 30, 70, 50, 25, 25, 30, false, false},
	{"addresses only", 10, 3000, 1, 120, 6, 60, 100, 0, 0, 0, 0, false, false},
	{"nested prefixes", 10, 3000, 30, 200, 3, 150, 100, 15, 0, 5, 0, true, false},
	{"ports", 10, 3000, 20, 150, 1, 3, 20, 95, 50, 0, 0, false, false},
	{"who and where", 8, 3000, 5, 80, 1, 3, 20, 20, 5, 10, 90, false, false},
	{"big sets", 5, 3000, 3, 30, 4, 4000, 90, 30, 10, 10, 10, false, false},
	{"hundreds of rules", 6, 3000, 300, 900, 4, 100, 80, 60, 15, 10, 5, false, false},
	{"4,096 rules", 0, 3000, 4096, 4096, 4, 100, 95, 70, 5, 5, 0, false, false},
	{"4,097 rules", 0, 3000, 4097, 4097, 4, 100, 95, 70, 5, 5, 2, false, false},
	{"9,000 rules", 0, 3000, 9000, 9000, 0, 0, 100, 90, 10, 0, 0, false, true},
	{"32,769 rules", 0, 1500, 32769, 32769, 0, 0, 100, 80, 3, 1, 0, false, true},
	{"70,000 rules", 0, 600, 70000, 70000, 0, 0, 100, 90, 0, 0, 0, false, true},
};

/* Addresses that rules and sets share, so that prefixes overlap, nest and touch. */
static uint8_t pool4[8][4], pool6[8][16];

static void gen_pools(void)
{
	for (int i = 0; i < 8; i++) {
		for (int k = 0; k < 4; k++)
			pool4[i][k] = rnd(256);
		for (int k = 0; k < 16; k++)
			pool6[i][k] = rnd(3) ? rnd(256) : 0;
	}
	memset(pool4[0], 0xff, 4);
	memset(pool6[0], 0xff, 16);
	memset(pool4[1], 0, 4);
	memset(pool6[1], 0, 16);
	/* most of the address in common, also within the low 64 bits */
	memcpy(pool6[3], pool6[2], 8);
	memcpy(pool6[4], pool6[2], 15);
	memcpy(pool6[5], pool6[2], 7);
}

/* One prefix, as text: from the pool, its last bits changed now and then; or anywhere. */
static void gen_cidr(FILE *f, bool nested, bool narrow)
{
	bool four = rnd(2);
	unsigned int bits = four ? 32 : 128, len = narrow ? bits - rnd(bits / 2) : rnd(bits + 1);
	uint8_t a[16];
	char text[64];

	memcpy(a, four ? pool4[rnd(nested ? 3 : 8)] : pool6[rnd(nested ? 5 : 8)], four ? 4 : 16);
	if (narrow || (!nested && !rnd(3)))
		for (unsigned int i = narrow ? 0 : rnd(bits / 8); i < bits / 8; i++)
			a[i] = rnd(256);
	if (len && !rnd(3)) /* the neighbour of the same length */
		a[(len - 1) / 8] ^= 0x80 >> (len - 1) % 8;
	if (!nested && len < bits / 8 && rnd(10)) /* few that cover nearly everything */
		len += bits / 4;
	for (unsigned int i = len; i < bits; i++)
		a[i / 8] &= ~(0x80 >> i % 8);
	inet_ntop(four ? AF_INET : AF_INET6, a, text, sizeof(text));
	if (four && !rnd(10))
		fprintf(f, "\"::ffff:%s/%u\"", text, len + 96);
	else
		fprintf(f, "\"%s/%u\"", text, len);
}

static void gen_addrs(FILE *f, const struct shape *s, const char *key)
{
	unsigned int n = 1 + rnd(4);

	if (rnd(100) >= s->addrs)
		return;
	fprintf(f, ",\"%s\":[", key);
	for (unsigned int i = 0; i < n; i++) {
		bool negate = !s->sparse && !rnd(5);

		fputs(i ? "," : "", f);
		if (s->sets && !rnd(3)) {
			fprintf(f, "\"%s@s%u\"", negate ? "!" : "", rnd(s->sets));
		} else {
			char *text = NULL;
			size_t len;
			FILE *m = open_memstream(&text, &len);

			gen_cidr(m, s->nested, s->sparse);
			fclose(m);
			fprintf(f, "\"%s%s", negate ? "!" : "", text + 1);
			free(text);
		}
	}
	fputc(']', f);
}

static unsigned int gen_port(bool few)
{
	static const uint16_t usual[] = {1, 22, 53, 80, 443, 1023, 1024, 8080, 32768, 65534, 65535};

	return few || rnd(2) ? usual[rnd(sizeof(usual) / sizeof(usual[0]))] : 1 + rnd(65535);
}

static void gen_ports(FILE *f, const char *key, bool few)
{
	unsigned int n = 1 + rnd(4);

	fprintf(f, ",\"%s\":[", key);
	for (unsigned int i = 0; i < n; i++) {
		unsigned int lo = gen_port(few), hi = gen_port(few);

		if (rnd(2))
			fprintf(f, "%s%u", i ? "," : "", lo);
		else
			fprintf(f, "%s\"%u-%u\"", i ? "," : "", lo < hi ? lo : hi, lo < hi ? hi : lo);
	}
	fputc(']', f);
}

static void gen_service(FILE *f, const struct shape *s)
{
	static const char *const with_ports[] = {"\"tcp\"", "\"udp\"", "\"sctp\"", "136", "\"any\""};
	static const char *const icmps[] = {"\"icmp\"", "\"icmpv4\"", "\"icmpv6\""};
	static const char *const types[] = {"\"echo-request\"", "\"redirect\"", "\"router-solicitation\"", "135", "143",
					    "8", "255", "0", "130"};
	static const char *const bare[] = {"\"any\"", "\"tcp\"", "\"udp\"", "47", "0", "255", "1", "58", "\"icmp\"",
					   "\"icmpv6\""};
	bool dports = rnd(100) < s->ports, sports = rnd(100) < s->sports;

	if (rnd(100) < s->icmp) {
		fprintf(f, ",\"protocol\":%s", icmps[rnd(3)]);
		if (rnd(3))
			fprintf(f, ",\"icmp_types\":[%s,%s]", types[rnd(9)], types[rnd(9)]);
		return;
	}
	if (!dports && !sports) {
		if (rnd(3))
			fprintf(f, ",\"protocol\":%s", bare[rnd(10)]);
		return;
	}
	fprintf(f, ",\"protocol\":%s", with_ports[rnd(5)]);
	if (dports)
		gen_ports(f, "destination_ports", s->sparse);
	if (sports)
		gen_ports(f, "source_ports", s->sparse);
}

static void gen_context(FILE *f, const struct shape *s)
{
	static const char *const directions[] = {"ingress", "egress", "both"};
	static const char *const interfaces[] = {"eth0", "eth*", "veth?", "veth1", "*", "wlan0", "[el]*0"};
	static const char *const who[] = {"root", "alice", "1000", "4294967294"};
	static const char *const where[] = {"/", "/a", "/a/b", "/ab", "/gone", "/c/d/e"};
	bool socket = rnd(100) < s->context;

	fprintf(f, ",\"direction\":\"%s\"", socket ? "egress" : directions[rnd(3)]);
	if (socket && rnd(2))
		fprintf(f, ",\"users\":[\"%s\"%s]", who[rnd(4)], rnd(2) ? "" : ",\"root\"");
	if (socket && rnd(2))
		fprintf(f, ",\"cgroups\":[\"%s\"]", where[rnd(6)]);
	if (rnd(100) < s->context)
		fprintf(f, ",\"interfaces\":[\"%s\"%s]", interfaces[rnd(7)], rnd(2) ? "" : ",\"lo\"");
}

/* The text; the caller frees it. */
static char *gen_policy(const struct shape *s, size_t *len)
{
	unsigned int n = s->rules_min + rnd(s->rules_max - s->rules_min + 1);
	static const char *const actions[] = {"allow", "deny", "reject", "rate_limit"};
	char *text = NULL;
	FILE *f = open_memstream(&text, len);

	gen_pools();
	fprintf(f, "{\"ir_version\":1,\"sets\":{");
	for (unsigned int i = 0; i < s->sets; i++) {
		unsigned int members = 1 + rnd(s->members);

		fprintf(f, "%s\"s%u\":[", i ? ",\n" : "", i);
		for (unsigned int k = 0; k < members; k++) {
			fputs(k ? "," : "", f);
			gen_cidr(f, s->nested, s->sparse);
		}
		fputc(']', f);
	}
	fprintf(f, "},\n\"rules\":[");
	for (unsigned int i = 0; i < n; i++) {
		unsigned int action = rnd(4);

		fprintf(f, "%s\n{\"name\":\"r%u\",\"priority\":%u,\"action\":\"%s\"", i ? "," : "", i,
			i < 65535 ? i : 65535, actions[action]);
		if (action == 3)
			fprintf(f, ",\"rate_limit_pps\":5");
		gen_context(f, s);
		if (!s->sparse || i & 1)
			gen_addrs(f, s, "source_cidrs");
		if (!s->sparse || !(i & 1))
			gen_addrs(f, s, "destination_cidrs");
		gen_service(f, s);
		fputc('}', f);
	}
	fprintf(f, "]}\n");
	fclose(f);
	return text;
}

#endif
