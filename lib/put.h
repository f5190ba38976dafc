/* SPDX-License-Identifier: GPL-2.0-only */
/* Text appended at a pointer: the inner loop of fwmon's formatters. Each put_*(p, ...) writes at ${p}, which
 * must have room for the longest form stated, adds no NUL, and returns the place after it. */
#ifndef FW_PUT_H
#define FW_PUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* put_lit(p, "text"): a literal; the size is known when compiling, so this is a few moves. */
#define put_lit(p, lit) ((char *)memcpy(p, "" lit, sizeof(lit) - 1) + (sizeof(lit) - 1))

static inline char *put_mem(char *p, const char *s, size_t len)
{
	memcpy(p, s, len);
	return p + len;
}

static inline char *put_str(char *p, const char *s)
{
	return put_mem(p, s, strlen(s));
}

extern const char put_pairs[201]; /* "00" "01" ... "99" */

/* put_u64(p, v), put_u32(p, v): decimal; at most 20 and 10 bytes. */
char *put_u64(char *p, uint64_t v);
char *put_u32(char *p, uint32_t v);

/* put_digits(p, v, n): exactly ${n} decimal digits, leading zeros included. */
char *put_digits(char *p, uint32_t v, int n);

/* put_hex(p, b, n): ${n} bytes as 2 * n lower-case digits. */
char *put_hex(char *p, const uint8_t *b, size_t n);

/* put_ip(p, addr, version): 16 bytes in network byte order; version 4 prints the last 4 (::ffff:a.b.c.d) as
 * a.b.c.d, anything else RFC 5952 text. At most PUT_IP_MAX bytes. */
#define PUT_IP_MAX 45
char *put_ip(char *p, const uint8_t addr[16], int version);

/* put_endpoint(p, addr, port): "192.0.2.7:22", "[2001:db8::7]:22"; ${addr} 16 bytes in network byte order, IPv4 as
 * ::ffff:a.b.c.d, ${port} in host byte order. At most PUT_ENDPOINT_MAX bytes. */
#define PUT_ENDPOINT_MAX (PUT_IP_MAX + 8)
char *put_endpoint(char *p, const uint8_t addr[16], uint16_t port);

/* put_safe(p, s, len): ${s} as the inside of a JSON string in UTF-8 that is harmless on a terminal too:
 * quotes, backslashes, control characters, DEL, C1, line and bidi controls are escaped; bytes that are not
 * UTF-8 and U+FFFD itself become \ufffd, so that reading back and writing again gives the same text. At most
 * PUT_SAFE_MAX(len) bytes. */
#define PUT_SAFE_MAX(len) (6 * (len))
char *put_safe(char *p, const char *s, size_t len);

#endif
