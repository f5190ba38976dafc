/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FW_UTF8_H
#define FW_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* utf8_decode(s, n, cp): the length in bytes of the first character of the ${n} > 0 bytes at ${s}, its code
 * point in ${*cp}; 0 when they are not UTF-8 (RFC 3629: no overlong forms, no surrogates, no more than
 * U+10FFFF). */
static inline size_t utf8_decode(const char *s, size_t n, uint32_t *cp)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *u = (const unsigned char *)s;
	size_t len = u[0] < 0x80   ? 1
		     : u[0] < 0xc2 ? 0
		     : u[0] < 0xe0 ? 2
		     : u[0] < 0xf0 ? 3
		     : u[0] < 0xf5 ? 4
				   : 0;
	uint32_t c = len == 1 ? u[0] : u[0] & (0x7f >> len);

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (u[i] & 0x3f);
	}
	if (c < least[len] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
		return 0;
	*cp = c;
	return len;
}

#endif
