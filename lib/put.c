/* SPDX-License-Identifier: GPL-2.0-only */
#include "put.h"

#include <stdbool.h>

#define PAIRS(a) a "0" a "1" a "2" a "3" a "4" a "5" a "6" a "7" a "8" a "9"
const char put_pairs[201] = PAIRS("0") PAIRS("1") PAIRS("2") PAIRS("3") PAIRS("4") PAIRS("5") PAIRS("6")
	PAIRS("7") PAIRS("8") PAIRS("9");
static const char hex_digits[] = "0123456789abcdef";

char *put_u32(char *p, uint32_t v)
{
	char tmp[10];
	int i = 10;

	for (; v >= 100; v /= 100)
		memcpy(tmp + (i -= 2), put_pairs + 2 * (v % 100), 2);
	if (v >= 10)
		memcpy(tmp + (i -= 2), put_pairs + 2 * v, 2);
	else
		tmp[--i] = (char)('0' + v);
	return put_mem(p, tmp + i, (size_t)(10 - i));
}

char *put_u64(char *p, uint64_t v)
{
	if (v <= UINT32_MAX)
		return put_u32(p, (uint32_t)v);
	p = put_u64(p, v / 1000000000);
	return put_digits(p, (uint32_t)(v % 1000000000), 9);
}

char *put_digits(char *p, uint32_t v, int n)
{
	int i = n;

	for (; i >= 2; v /= 100)
		memcpy(p + (i -= 2), put_pairs + 2 * (v % 100), 2);
	if (i)
		p[0] = (char)('0' + v % 10);
	return p + n;
}

char *put_hex(char *p, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		*p++ = hex_digits[b[i] >> 4];
		*p++ = hex_digits[b[i] & 15];
	}
	return p;
}

/* At most three digits: division by constants that fit in one multiplication. */
static char *put_u8(char *p, uint32_t v)
{
	if (v >= 100) {
		*p++ = (char)('0' + v / 100);
		return put_mem(p, put_pairs + 2 * (v % 100), 2);
	}
	if (v >= 10)
		return put_mem(p, put_pairs + 2 * v, 2);
	*p++ = (char)('0' + v);
	return p;
}

static char *put_ip4(char *p, const uint8_t a[4])
{
	for (int i = 0; i < 4; i++) {
		if (i)
			*p++ = '.';
		p = put_u8(p, a[i]);
	}
	return p;
}

static char *put_group(char *p, uint32_t g)
{
	int shift = g >= 0x1000 ? 12 : g >= 0x100 ? 8 : g >= 0x10 ? 4 : 0;

	for (; shift >= 0; shift -= 4)
		*p++ = hex_digits[g >> shift & 15];
	return p;
}

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

/* RFC 5952: lower case, no leading zeros, "::" for the first longest run of two or more zero groups; section
 * 5 keeps ::ffff:a.b.c.d recognisable. */
static char *put_ip6(char *p, const uint8_t a[16])
{
	uint32_t g[8];
	int best = -1, best_len = 1;

	if (!memcmp(a, mapped, sizeof(mapped)))
		return put_ip4(put_lit(p, "::ffff:"), a + 12);
	for (int i = 0; i < 8; i++)
		g[i] = (uint32_t)a[2 * i] << 8 | a[2 * i + 1];
	for (int i = 0; i < 8; i++) {
		int n = 0;

		while (i + n < 8 && !g[i + n])
			n++;
		if (n > best_len) {
			best = i;
			best_len = n;
		}
		i += n;
	}
	for (int i = 0; i < 8; i++) {
		if (i == best) {
			p = put_lit(p, "::");
			i += best_len - 1;
			continue;
		}
		if (i && i != best + best_len)
			*p++ = ':';
		p = put_group(p, g[i]);
	}
	return p;
}

char *put_ip(char *p, const uint8_t addr[16], int version)
{
	return version == 4 ? put_ip4(p, addr + 12) : put_ip6(p, addr);
}

char *put_endpoint(char *p, const uint8_t addr[16], uint16_t port)
{
	bool v4 = !memcmp(addr, mapped, sizeof(mapped));

	if (!v4)
		*p++ = '[';
	p = put_ip(p, addr, v4 ? 4 : 6);
	if (!v4)
		*p++ = ']';
	*p++ = ':';
	return put_u32(p, port);
}
