/* SPDX-License-Identifier: GPL-2.0-only */
/* Edges of text <-> values: addresses, ports, protocols, ICMP types, durations, suggestions. TAP. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "lib/field_value.h"
#include "lib/names.h"

static int n_tests, n_failed;

static void ok(bool good, const char *name)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++n_tests, name);
	n_failed += !good;
}

/* ---- addresses ---- */

static const struct {
	const char *text, *want; /* NULL: refused */
	bool masked;
} cidrs[] = {
	{"10.0.0.0/8", "10.0.0.0/8", false},
	{"10.1.2.3/8", "10.0.0.0/8", true},
	{"1.2.3.4", "1.2.3.4/32", false},
	{"0.0.0.0/0", "0.0.0.0/0", false},
	{"255.255.255.255/0", "0.0.0.0/0", true},
	{"255.255.255.255/32", "255.255.255.255/32", false},
	{"128.0.0.1/1", "128.0.0.0/1", true},
	{"1.2.3.4/33", NULL, false},
	{"1.2.3.4/", NULL, false},
	{"1.2.3.4/08", NULL, false},
	{"1.2.3.4/00", NULL, false},
	{"1.2.3.4/+8", NULL, false},
	{"1.2.3.4/-1", NULL, false},
	{"1.2.3.4/16abc", NULL, false},
	{"1.2.3.4/16 ", NULL, false},
	{"1.2.3.4/4294967304", NULL, false},
	{"1.2.3.4/8/8", NULL, false},
	{"1.2.3.4/255.0.0.0", NULL, false},
	{" 1.2.3.4", NULL, false},
	{"1.2.3.4.", NULL, false},
	{"1.2.3.4.5", NULL, false},
	{"1.2.3", NULL, false},
	{"10.1", NULL, false},
	{"10/8", NULL, false},
	{"010.0.0.1", NULL, false},
	{"10.0.0.01", NULL, false},
	{"00.0.0.0", NULL, false},
	{"0x7f.1", NULL, false},
	{"256.0.0.1", NULL, false},
	{"1.2.3.-4", NULL, false},
	{"1..2.3", NULL, false},
	{"", NULL, false},
	{"/8", NULL, false},
	{"::/0", "::/0", false},
	{"::", "::/128", false},
	{"::1/0", "::/0", true},
	{"2001:DB8::1", "2001:db8::1/128", false},
	{"2001:db8::1/32", "2001:db8::/32", true},
	{"2001:db8:0:0:1:0:0:1/128", "2001:db8::1:0:0:1/128", false},
	{"2001:db8::ff/121", "2001:db8::80/121", true},
	{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1/128", false},
	{"fe80::1%eth0", NULL, false},
	{"[::1]", NULL, false},
	{"::/129", NULL, false},
	{"::/", NULL, false},
	{":::", NULL, false},
	{"1::2::3", NULL, false},
	{"12345::", NULL, false},
	{"::ffff:1.2.3.4", "1.2.3.4/32", false},
	{"::ffff:102:304", "1.2.3.4/32", false},
	{"::FFFF:1.2.3.4/128", "1.2.3.4/32", false},
	{"::ffff:10.1.2.3/104", "10.0.0.0/8", true},
	{"::ffff:0:0/96", "0.0.0.0/0", false},
	{"::ffff:1.2.3.4/96", "0.0.0.0/0", true},
	{"::ffff:0:0/95", "::fffe:0:0/95", true},
	{"::ffff:0:0/90", "::ffc0:0:0/90", true},
	{"::ffff:010.0.0.1", NULL, false},
	{"::1.2.3.4", "::1.2.3.4/128", false},
	{"64:ff9b::1.2.3.4/96", "64:ff9b::/96", true},
};

static void test_cidrs(void)
{
	for (size_t i = 0; i < sizeof(cidrs) / sizeof(cidrs[0]); i++) {
		const char *text = cidrs[i].text, *want = cidrs[i].want, *wrong;
		char *exact = malloc(strlen(text) + 1), buf[CIDR_TEXT_MAX], name[100];
		struct cidr c;
		bool masked = false, good;

		/* without the NUL, so that a sanitizer sees a byte too many read */
		exact = realloc(exact, strlen(text) ? strlen(text) : 1);
		memcpy(exact, text, strlen(text));
		wrong = parse_cidr(exact, strlen(text), &c, &masked);
		good = want ? !wrong && masked == cidrs[i].masked && format_cidr(&c, buf) == strlen(want) &&
				       !strcmp(buf, want)
			    : wrong != NULL;
		snprintf(name, sizeof(name), "cidr \"%s\"", text);
		ok(good, name);
		free(exact);
	}
	{
		struct cidr c;
		bool masked;

		ok(parse_cidr("1.2.3.4\0", 8, &c, &masked) != NULL, "cidr with a NUL after it");
		ok(parse_cidr("::1\0", 4, &c, &masked) != NULL, "IPv6 with a NUL after it");
		ok(!parse_cidr("1.2.3.45", 7, &c, &masked) && c.addr[3] == 4,
		   "cidr ends where the length says");
	}
}

/* Our own reader of IPv4 must accept what inet_pton(3) does, and nothing else. */
static void test_like_inet_pton(void)
{
	static const char letters[] = "0000111222559.....:af/x ";
	unsigned int seed = 1, accepted = 0, differ = 0;

	for (int i = 0; i < 400000; i++) {
		char text[24], buf[CIDR_TEXT_MAX];
		struct in_addr in;
		struct cidr c;
		bool masked, theirs, ours;
		int len;

		if (i % 2) {
			len = snprintf(text, sizeof(text), "%d.%d.%d.%d", rand_r(&seed) % 300,
				       rand_r(&seed) % 260, rand_r(&seed) % 260, rand_r(&seed) % 260);
			text[rand_r(&seed) % len] = letters[rand_r(&seed) % (sizeof(letters) - 1)];
		} else {
			len = 7 + rand_r(&seed) % 3;
			for (int j = 0; j < len; j++)
				text[j] = letters[rand_r(&seed) % (sizeof(letters) - 1)];
			text[len] = '\0';
		}
		if (strchr(text, '/') || strchr(text, ':'))
			continue;
		theirs = inet_pton(AF_INET, text, &in) == 1;
		ours = !parse_cidr(text, strlen(text), &c, &masked);
		accepted += theirs;
		differ += theirs != ours || (ours && memcmp(c.addr, &in, 4));
		if (ours) { /* the text is a fixed point */
			struct cidr again;

			format_cidr(&c, buf);
			differ += parse_cidr(buf, strlen(buf), &again, &masked) ||
				  memcmp(&c, &again, sizeof(c));
		}
	}
	printf("# %u of 400000 texts were addresses\n", accepted);
	ok(differ == 0 && accepted > 10000, "IPv4 as inet_pton reads it");
}

/* ---- ports, protocols, numbers, durations ---- */

static void test_ports(void)
{
	static const char *const bad[] = {"0",	   "0-5",  "5-0", "65536",  "1-65536", "80-70",
					  "-",	   "-80",  "80-", "80-90-", "80--90",  "022",
					  "22:22", "1e3",  " 80", "80 ",    "80 - 90", "",
					  "http",  "0x50", "+80", "00080",  "99999",   "123456"};
	struct port_range r;
	bool all = true;

	ok(!parse_ports("1", &r) && r.lo == 1 && r.hi == 1, "port 1");
	ok(!parse_ports("65535", &r) && r.lo == 65535 && r.hi == 65535, "port 65535");
	ok(!parse_ports("1-65535", &r) && r.lo == 1 && r.hi == 65535, "ports 1-65535");
	ok(!parse_ports("80-80", &r) && r.lo == 80 && r.hi == 80, "ports 80-80");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (!parse_ports(bad[i], &r)) {
			printf("# \"%s\" was accepted\n", bad[i]);
			all = false;
		}
	}
	ok(all, "what is no port is refused");
}

static void test_protocols(void)
{
	static const char *const names[] = {"any",  "tcp", "udp", "icmp", "icmpv4", "icmpv6",
					    "sctp", "0",   "1",	  "47",	  "58",	    "255"};
	static const char *const bad[] = {"TCP", "256", "-1", "06", "", "tcp ", "ipv6-icmp", "6.0"};
	struct proto p;
	bool same = true, refused = true;
	char buf[8];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		same &= !parse_proto(names[i], &p) && !strcmp(proto_name(&p, buf), names[i]);
	ok(same, "protocols come back as they were written");
	ok(!parse_proto("6", &p) && !strcmp(proto_name(&p, buf), "tcp"), "protocol 6 is tcp");
	ok(!parse_proto("132", &p) && !strcmp(proto_name(&p, buf), "sctp"), "protocol 132 is sctp");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused &= parse_proto(bad[i], &p) != NULL;
	ok(refused, "what is no protocol is refused");
}

static void test_icmp(void)
{
	struct icmp_type t;

	ok(!parse_icmp_type("echo-request", &t) && t.v4 == 8 && t.v6 == 128 && t.name,
	   "echo-request is 8 and 128");
	ok(!parse_icmp_type("packet-too-big", &t) && t.v4 == -1 && t.v6 == 2, "packet-too-big is ICMPv6's");
	ok(!parse_icmp_type("timestamp-request", &t) && t.v4 == 13 && t.v6 == -1,
	   "timestamp-request is ICMPv4's");
	ok(!parse_icmp_type("0", &t) && t.v4 == 0 && t.v6 == 0 && !t.name, "type 0");
	ok(!parse_icmp_type("255", &t) && t.v4 == 255 && t.v6 == 255, "type 255");
	ok(parse_icmp_type("256", &t) && parse_icmp_type("-1", &t) && parse_icmp_type("08", &t) &&
		   parse_icmp_type("Echo-Request", &t) && parse_icmp_type("", &t),
	   "what is no type is refused");
	ok(icmp_type_nearest("echo-reqest") && !strcmp(icmp_type_nearest("echo-reqest"), "echo-request"),
	   "the nearest type is found");
}

static void test_numbers(void)
{
	uint64_t v = 7;
	uint32_t s;

	ok(!parse_uint("0", 0, &v) && v == 0, "number 0");
	ok(!parse_uint("18446744073709551615", UINT64_MAX, &v) && v == UINT64_MAX, "number 2^64-1");
	ok(parse_uint("18446744073709551616", UINT64_MAX, &v) &&
		   parse_uint("99999999999999999999", UINT64_MAX, &v),
	   "number 2^64 is refused");
	ok(parse_uint("", 9, &v) && parse_uint("00", 9, &v) && parse_uint("+1", 9, &v) &&
		   parse_uint("-0", 9, &v) && parse_uint("1_0", 99, &v) && parse_uint("1e3", 9999, &v) &&
		   parse_uint("0x1", 9, &v) && parse_uint("1.0", 9, &v) && parse_uint(" 1", 9, &v) &&
		   parse_uint("10", 9, &v),
	   "what is no decimal number is refused");
	ok(!parse_duration("5", &s) && s == 5, "duration 5");
	ok(!parse_duration("30s", &s) && s == 30, "duration 30s");
	ok(!parse_duration("5m", &s) && s == 300, "duration 5m");
	ok(!parse_duration("2h", &s) && s == 7200, "duration 2h");
	ok(!parse_duration("30d", &s) && s == 2592000, "duration 30d");
	ok(!parse_duration("49710d", &s) && s == 4294944000, "duration 49710d");
	ok(parse_duration("49711d", &s) && parse_duration("4294967296", &s) &&
		   parse_duration("99999999999999999999d", &s),
	   "durations beyond 32 bits are refused");
	ok(parse_duration("", &s) && parse_duration("s", &s) && parse_duration("5w", &s) &&
		   parse_duration("5 m", &s) && parse_duration("-5m", &s) && parse_duration("1h30m", &s) &&
		   parse_duration("05m", &s) && parse_duration("5M", &s),
	   "what is no duration is refused");
}

static void test_names(void)
{
	struct where w = {.file = "x", .line = 1, .col = 1};
	struct names t = {0};
	char text[1000][16];
	bool all = true;

	ok(near_distance("priority", "priorty") == 1 && near_distance("naem", "name") == 1 &&
		   near_distance("", "abc") == 3 && near_distance("abc", "") == 3 &&
		   near_distance("a", "a") == 0,
	   "edit distance");
	for (int i = 0; i < 1000; i++) {
		snprintf(text[i], sizeof(text[i]), "name_%d", i * 7);
		all &= !names_add(&t, text[i], &w, i);
	}
	for (int i = 0; i < 1000; i++)
		all &= names_find(&t, text[i]) && names_find(&t, text[i])->value == (size_t)i &&
		       names_add(&t, text[i], &w, 0) != NULL;
	ok(all && t.n == 1000 && !names_find(&t, "name_1"), "a table of a thousand names");
	ok(!names_nearest(&t, "zzzzzzzz"), "nothing is near to zzzzzzzz");
	names_free(&t);
	ok(!names_find(&t, "name_0"), "an empty table");
}

int main(void)
{
	test_cidrs();
	test_like_inet_pton();
	test_ports();
	test_protocols();
	test_icmp();
	test_numbers();
	test_names();
	printf("1..%d\n", n_tests);
	return n_failed > 0;
}
