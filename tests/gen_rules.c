/* SPDX-License-Identifier: GPL-2.0-only */
/* gen_rules: policies and packet traces for measuring, the same at each run.
 *   gen_rules policy SHAPE N [OPTION]...   YAML. Options: stateful, allow, limit=PPS, nolog, nologlimit
 *   gen_rules cidrs N                      a set file: N disjoint IPv4 prefixes of five lengths, /22 to /32
 *   gen_rules trace SHAPE N KIND K         K frames of 64 bytes. KIND: hit, miss
 * Shapes: net    rule i: a /24 of its own and a UDP port
 *         acl    in the manner of access lists: nested networks, few services that many rules share
 *         worst  every packet agrees with about half of the rules in source, with the others in port
 *         set    one rule whose source is @big, the set of "cidrs N"; big is read from the file "big" beside
 * A miss agrees with no rule. */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rule {
	uint32_t src, dst; /* host byte order */
	uint8_t src_len, dst_len;
	uint8_t proto;	   /* 0: any */
	uint16_t lo, hi;   /* destination ports; 0: any */
	uint16_t sport_lo; /* 0: any, else up to 65535 */
	bool allow;
};

static struct {
	bool stateful, allow, nolog, nologlimit;
	unsigned int limit;
} opt;

/* splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014) */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint32_t host_bits(int len)
{
	return len ? (uint32_t)((1ull << (32 - len)) - 1) : ~0u;
}

/* ---- shapes: rule number ${i} of ${n} ---- */

static void rule_net(struct rule *r, uint32_t i, uint32_t n)
{
	*r = (struct rule){
		.src = (10u << 24) + (64u << 16) + (i << 8),
		.src_len = 24,
		.proto = 17,
		.lo = (uint16_t)(10000 + i * 7919 % 50000),
	};
	r->hi = r->lo;
}

/* A network of a tree: about a third of them lie in others, so that prefixes nest. */
static uint32_t acl_net(uint64_t h, uint32_t pool, uint8_t *len)
{
	static const uint8_t lens[] = {32, 32, 32, 32, 32, 32, 29, 28, 27, 26, 25, 24,
				       24, 24, 24, 24, 23, 22, 21, 20, 16, 16, 8,  0};
	uint64_t g = mix(h % pool + 77);
	uint32_t site = (uint32_t)(mix(h % (pool / 8 + 1)) >> 48);

	*len = lens[g % sizeof(lens)];
	return (20u << 24 | site << 8 | (uint32_t)(g >> 50 & 255)) & ~host_bits(*len);
}

static void rule_acl(struct rule *r, uint32_t i, uint32_t n)
{
	static const uint16_t ports[] = {80,  443,  22,	  25,	53,   110,  143,  389,
					 445, 1433, 1521, 3306, 3389, 5432, 8080, 8443};
	uint64_t h = mix(i + 1000003ull);
	uint32_t kind = (uint32_t)(h >> 8) % 100;

	*r = (struct rule){.allow = h >> 60 & 1};
	r->src = acl_net(mix(h), n / 3 + 8, &r->src_len);
	r->dst = acl_net(mix(h + 1) + 5, n / 5 + 8, &r->dst_len) ^ 1u << 30;
	if (r->src_len + r->dst_len < 24) { /* nobody writes "any to any" in the middle */
		r->dst_len = 32;
		r->dst = 84u << 24 | (uint32_t)(h >> 40);
	}
	r->proto = (h >> 20) % 100 < 72 ? 6 : (h >> 20) % 100 < 94 ? 17 : (h >> 20) % 100 < 97 ? 1 : 0;
	if (r->proto != 6 && r->proto != 17)
		return;
	if (kind < 60)
		r->lo = r->hi = ports[(h >> 32) % 16];
	else if (kind < 80)
		r->lo = r->hi = (uint16_t)(1024 + mix(h >> 33) % 200 * 61);
	else if (kind < 90)
		r->lo = (uint16_t)(2000 + (h >> 34) % 40 * 100), r->hi = (uint16_t)(r->lo + 99);
	else if (kind < 95)
		r->lo = 1024, r->hi = 65535;
	if (kind == 3)
		r->sport_lo = 1024;
}

static void rule_worst(struct rule *r, uint32_t i, uint32_t n)
{
	if (mix(i) & 1)
		*r = (struct rule){.src = 9u << 24,
				   .src_len = 8,
				   .proto = 17,
				   .lo = (uint16_t)(10000 + i),
				   .hi = (uint16_t)(10000 + i)};
	else
		*r = (struct rule){.src = 10u << 24 | i << 8, .src_len = 24, .proto = 17, .lo = 9, .hi = 9};
}

/* Slot of 2048 addresses: a prefix in the lower half, misses in the upper. */
static uint32_t slot(uint32_t i)
{
	uint32_t s = (11u << 13) + (uint32_t)((uint64_t)i * 1000003u % ((224u - 11) << 13)); /* coprime */

	return s >> 13 == 127 ? 10u << 13 | (s & 8191) : s;
}

static uint32_t cidr(uint32_t i, uint8_t *len)
{
	uint64_t h = mix(i);
	uint32_t p = (uint32_t)(h % 100);

	*len = p < 50 ? 32 : p < 55 ? 30 : p < 65 ? 28 : p < 90 ? 24 : 22;
	return (slot(i) << 11 | (uint32_t)(h >> 32 & 1023)) & ~host_bits(*len);
}

static void rule_set(struct rule *r, uint32_t i, uint32_t n)
{
	*r = (struct rule){0};
	r->src = cidr(i, &r->src_len);
}

static const struct shape {
	const char *name;
	void (*rule)(struct rule *r, uint32_t i, uint32_t n);
	uint32_t miss; /* sources of misses: this network, /8 */
} shapes[] = {
	{"net", rule_net, 9u << 24},
	{"acl", rule_acl, 9u << 24},
	{"worst", rule_worst, 9u << 24},
	{"set", rule_set, 0},
};

static const struct shape *shape_find(const char *name)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		if (!strcmp(shapes[i].name, name))
			return &shapes[i];
	fprintf(stderr, "gen_rules: no shape %s\n", name);
	exit(2);
}

/* ---- policy ---- */

static void print_net(const char *key, uint32_t a, uint8_t len)
{
	if (len)
		printf("    %s: [%u.%u.%u.%u/%u]\n", key, a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255, len);
}

static void print_action(bool allow)
{
	if (opt.limit)
		printf("    action: rate_limit\n    rate_limit_pps: %u\n", opt.limit);
	else
		printf("    action: %s\n", allow ? "allow" : "deny");
	if (opt.nolog)
		printf("    log: false\n");
}

static void print_rule(const struct rule *r, uint32_t i)
{
	printf("  - name: rule_%u\n    priority: %u\n    direction: ingress\n", i, i);
	print_net("source_cidrs", r->src, r->src_len);
	print_net("destination_cidrs", r->dst, r->dst_len);
	if (r->proto)
		printf("    protocol: %s\n", r->proto == 6 ? "tcp" : r->proto == 17 ? "udp" : "icmp");
	if (r->sport_lo)
		printf("    source_ports: [\"%u-65535\"]\n", r->sport_lo);
	if (r->hi && r->lo == r->hi)
		printf("    destination_ports: [%u]\n", r->lo);
	else if (r->hi)
		printf("    destination_ports: [\"%u-%u\"]\n", r->lo, r->hi);
	print_action(opt.allow || r->allow);
}

/* The default is the opposite of what the rules do, so that hit and miss differ in the verdict. Loopback is
 * filtered because BPF_PROG_TEST_RUN comes from there. */
static void policy(const struct shape *s, uint32_t n, const char *set_file)
{
	bool set = !strcmp(s->name, "set");

	printf("version: 1\ndefault_action: %s\nstateful: %s\nfilter_loopback: true\n",
	       opt.allow || opt.limit ? "deny" : "allow", opt.stateful ? "true" : "false");
	if (opt.nologlimit)
		printf("log_limit: 0\n");
	if (set)
		printf("sets:\n  big: {file: %s}\n", set_file);
	printf("rules:\n");
	if (set) {
		printf("  - name: big\n    priority: 1\n    direction: ingress\n    source_cidrs: "
		       "[\"@big\"]\n");
		print_action(opt.allow);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct rule r;

		s->rule(&r, i, n);
		print_rule(&r, i);
	}
}

static void cidrs(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint8_t len;
		uint32_t a = cidr(i, &len);

		printf("%u.%u.%u.%u/%u\n", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255, len);
	}
}

/* ---- trace ---- */

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static void put32(uint8_t *at, uint32_t v)
{
	put16(at, v >> 16);
	put16(at + 2, v & 0xffff);
}

static void frame(uint32_t src, uint32_t dst, uint8_t proto, uint16_t sport, uint16_t dport)
{
	uint8_t b[64] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, proto};
	uint32_t sum = 0;

	put32(b + 26, src);
	put32(b + 30, dst);
	for (int i = 14; i < 34; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(b + 24, ~(sum + (sum >> 16)) & 0xffff);
	put16(b + 34, sport);
	put16(b + 36, dport);
	if (proto == 6) {
		b[46] = 0x50;
		b[47] = 0x10;
	} else {
		put16(b + 38, 30);
	}
	if (proto == 1)
		put16(b + 34, 0x0800);
	fwrite(b, 1, sizeof(b), stdout);
}

static void trace(const struct shape *s, uint32_t n, bool hit, uint32_t k)
{
	for (uint32_t i = 0; i < k; i++) {
		uint64_t h = mix(i + 0x1234567), g = mix(h);
		struct rule r;
		uint32_t src, dst;

		s->rule(&r, (uint32_t)(h % n), n);
		src = r.src | ((uint32_t)(h >> 32) & host_bits(r.src_len));
		dst = r.dst_len ? r.dst | ((uint32_t)g & host_bits(r.dst_len)) : 10u << 24 | 200 << 16 | 1;
		if (!hit) {
			src = s->miss ? s->miss | ((uint32_t)(h >> 32) & 0xffffff)
				      : (src & ~2047u) | 1024 | ((uint32_t)(h >> 40) & 1023);
			dst = 10u << 24 | 200 << 16 | 1;
			r.lo = r.hi = 9;
			r.proto = 17;
		}
		frame(src, dst, r.proto ? r.proto : 17, (uint16_t)(1024 + (g >> 32) % 60000),
		      r.hi ? (uint16_t)(r.lo + (g >> 48) % (r.hi - r.lo + 1u)) : 9);
	}
}

static void options(char **v)
{
	for (; *v; v++) {
		opt.stateful |= !strcmp(*v, "stateful");
		opt.allow |= !strcmp(*v, "allow");
		opt.nolog |= !strcmp(*v, "nolog");
		opt.nologlimit |= !strcmp(*v, "nologlimit");
		if (!strncmp(*v, "limit=", 6))
			opt.limit = (unsigned int)strtoul(*v + 6, NULL, 10);
	}
}

int main(int argc, char **argv)
{
	uint32_t n = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;

	if (argc >= 4 && !strcmp(argv[1], "policy")) {
		options(argv + 4);
		policy(shape_find(argv[2]), n, "big");
	} else if (argc == 3 && !strcmp(argv[1], "cidrs")) {
		cidrs((uint32_t)strtoul(argv[2], NULL, 10));
	} else if (argc == 6 && !strcmp(argv[1], "trace") && n) {
		trace(shape_find(argv[2]), n, argv[4][0] == 'h', (uint32_t)strtoul(argv[5], NULL, 10));
	} else {
		fprintf(stderr, "usage: gen_rules policy|cidrs|trace ... (see the head of gen_rules.c)\n");
		return 2;
	}
	return 0;
}
