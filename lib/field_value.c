/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "field_value.h"

static const char not_address[] = "not an IPv4 or IPv6 address";

/* Dotted decimal as inet_pton(3) reads it: four numbers of up to 255 without leading zeros. By hand because a
 * set may have millions; tests/unit_value.c compares the two. Returns what follows the address, or NULL. */
static const char *scan_ipv4(const char *s, const char *end, uint32_t *addr)
{
	uint32_t a = 0;

	for (int i = 0; i < 4; i++) {
		unsigned int v, digit;

		if (i && (s == end || *s++ != '.'))
			return NULL;
		if (s == end || (v = (unsigned char)*s - '0') > 9)
			return NULL;
		for (s++; s != end && (digit = (unsigned char)*s - '0') <= 9; s++) {
			if (v == 0)
				return NULL;
			v = v * 10 + digit;
			if (v > 255)
				return NULL;
		}
		a = a << 8 | v;
	}
	*addr = a;
	return s;
}

/* The digits after the slash. */
static const char *scan_length(const char *s, const char *end, unsigned int max, uint8_t *len)
{
	static const char wrong4[] = "the prefix length must be a number from 0 to 32";
	static const char wrong6[] = "the prefix length must be a number from 0 to 128";
	unsigned int v = 0;

	if (s == end || end - s > 3 || (*s == '0' && end - s > 1))
		return max == 32 ? wrong4 : wrong6;
	for (; s != end; s++) {
		unsigned int digit = (unsigned char)*s - '0';

		if (digit > 9)
			return max == 32 ? wrong4 : wrong6;
		v = v * 10 + digit;
	}
	if (v > max)
		return max == 32 ? wrong4 : wrong6;
	*len = v;
	return NULL;
}

static void put_ipv4(struct cidr *c, uint32_t addr, bool *masked)
{
	uint32_t mask = c->len ? ~0u << (32 - c->len) : 0, net = htonl(addr & mask);

	*masked = addr & ~mask;
	c->family = 4;
	memset(c->addr, 0, sizeof(c->addr));
	memcpy(c->addr, &net, 4);
}

static const char *parse_ipv6(const char *s, const char *slash, const char *end, struct cidr *c, bool *masked)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const char *wrong;
	char text[INET6_ADDRSTRLEN];

	if (slash - s >= (long)sizeof(text) || memchr(s, '\0', slash - s))
		return not_address;
	memcpy(text, s, slash - s);
	text[slash - s] = '\0';
	if (inet_pton(AF_INET6, text, c->addr) != 1)
		return not_address;
	c->len = 128;
	wrong = slash == end ? NULL : scan_length(slash + 1, end, 128, &c->len);
	if (wrong)
		return wrong;
	if (c->len >= 96 && !memcmp(c->addr, mapped, sizeof(mapped))) {
		uint32_t addr;

		memcpy(&addr, c->addr + 12, 4);
		c->len -= 96;
		put_ipv4(c, ntohl(addr), masked);
		return NULL;
	}
	c->family = 6;
	*masked = false;
	for (unsigned int i = c->len / 8; i < 16; i++) {
		uint8_t host = i == c->len / 8 ? 0xff >> c->len % 8 : 0xff;

		*masked |= c->addr[i] & host;
		c->addr[i] &= ~host;
	}
	return NULL;
}

const char *parse_cidr(const char *s, size_t len, struct cidr *c, bool *masked)
{
	const char *end = s + len, *slash;
	uint32_t addr;

	slash = scan_ipv4(s, end, &addr);
	if (slash && (slash == end || *slash == '/')) {
		const char *wrong = slash == end ? NULL : scan_length(slash + 1, end, 32, &c->len);

		if (wrong)
			return wrong;
		if (slash == end)
			c->len = 32;
		put_ipv4(c, addr, masked);
		return NULL;
	}
	if (!len)
		return "an empty address";
	slash = memchr(s, '/', len);
	if (memchr(s, ':', len))
		return parse_ipv6(s, slash ? slash : end, end, c, masked);
	for (size_t i = 0; i + 1 < len && s[i] != '/'; i++)
		if (s[i] == '0' && (i == 0 || s[i - 1] == '.') && s[i + 1] >= '0' && s[i + 1] <= '9')
			return "leading zeros in an address: some programs read them as octal";
	return not_address;
}

size_t format_cidr(const struct cidr *c, char buf[CIDR_TEXT_MAX])
{
	char *p = buf;

	if (c->family == 6) {
		inet_ntop(AF_INET6, c->addr, buf, CIDR_TEXT_MAX);
		p += strlen(buf);
	} else {
		for (int i = 0; i < 4; i++) {
			unsigned int v = c->addr[i];

			if (v >= 100)
				*p++ = '0' + v / 100;
			if (v >= 10)
				*p++ = '0' + v / 10 % 10;
			*p++ = '0' + v % 10;
			*p++ = i < 3 ? '.' : '\0';
		}
		p--;
	}
	return p - buf + snprintf(p, buf + CIDR_TEXT_MAX - p, "/%u", c->len);
}

const char *parse_uint(const char *s, uint64_t max, uint64_t *v)
{
	uint64_t n = 0;

	if (s[0] == '0' && s[1] >= '0' && s[1] <= '9')
		return "a number without leading zeros is expected";
	if (!*s)
		return "a decimal number is expected";
	for (; *s; s++) {
		unsigned int digit = (unsigned char)*s - '0';

		if (digit > 9)
			return "a decimal number is expected";
		if (n > (UINT64_MAX - digit) / 10)
			return "the number is too large";
		n = n * 10 + digit;
	}
	if (n > max)
		return "the number is too large";
	*v = n;
	return NULL;
}

/* One port of ${len} bytes. */
static const char *parse_port(const char *s, size_t len, uint16_t *port)
{
	static const char wrong[] = "ports are numbers from 1 to 65535 or ranges like \"8000-8080\"";
	unsigned int v = 0;

	if (!len || len > 5)
		return wrong;
	for (size_t i = 0; i < len; i++) {
		unsigned int digit = (unsigned char)s[i] - '0';

		if (digit > 9 || (i == 1 && s[0] == '0'))
			return wrong;
		v = v * 10 + digit;
	}
	if (v == 0)
		return "port 0 does not exist: ports are 1 to 65535";
	if (v > 65535)
		return wrong;
	*port = v;
	return NULL;
}

const char *parse_ports(const char *s, struct port_range *r)
{
	const char *dash = strchr(s, '-'), *wrong;

	wrong = parse_port(s, dash ? (size_t)(dash - s) : strlen(s), &r->lo);
	if (wrong)
		return wrong;
	r->hi = r->lo;
	if (!dash)
		return NULL;
	wrong = parse_port(dash + 1, strlen(dash + 1), &r->hi);
	if (!wrong && r->hi < r->lo)
		return "the range is upside down: the lower port comes first";
	return wrong;
}

static const struct {
	const char *name;
	struct proto proto;
} protos[] = {
	{"any", {PROTO_ANY, 0}},       {"tcp", {PROTO_NUMBER, 6}},    {"udp", {PROTO_NUMBER, 17}},
	{"icmp", {PROTO_ICMP, 0}},     {"icmpv4", {PROTO_ICMPV4, 0}}, {"icmpv6", {PROTO_ICMPV6, 0}},
	{"sctp", {PROTO_NUMBER, 132}},
};

const char *parse_proto(const char *s, struct proto *p)
{
	uint64_t v;

	for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++) {
		if (!strcmp(s, protos[i].name)) {
			*p = protos[i].proto;
			return NULL;
		}
	}
	if (parse_uint(s, 255, &v))
		return "not a protocol: tcp, udp, icmp, icmpv4, icmpv6, sctp, any, or a number from 0 to 255";
	*p = (struct proto){PROTO_NUMBER, v};
	return NULL;
}

const char *proto_name(const struct proto *p, char buf[8])
{
	for (size_t i = 0; i < sizeof(protos) / sizeof(protos[0]); i++)
		if (protos[i].proto.kind == p->kind && protos[i].proto.number == p->number)
			return protos[i].name;
	snprintf(buf, 8, "%u", p->number);
	return buf;
}

const char *parse_duration(const char *s, uint32_t *seconds)
{
	static const char wrong[] = "a duration is a number of seconds, or like 30s, 5m, 2h, 5d";
	size_t len = strlen(s);
	uint64_t unit = 1, v;
	char digits[16];

	if (len && (s[len - 1] < '0' || s[len - 1] > '9')) {
		switch (s[--len]) {
		case 's':
			break;
		case 'm':
			unit = 60;
			break;
		case 'h':
			unit = 3600;
			break;
		case 'd':
			unit = 86400;
			break;
		default:
			return wrong;
		}
	}
	if (!len || len >= sizeof(digits))
		return wrong;
	memcpy(digits, s, len);
	digits[len] = '\0';
	if (parse_uint(digits, UINT64_MAX, &v))
		return wrong;
	if (v > UINT32_MAX / unit)
		return "the duration is too long";
	*seconds = v * unit;
	return NULL;
}
