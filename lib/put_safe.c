/* SPDX-License-Identifier: GPL-2.0-only */
#include "put.h"

#include <stdbool.h>

#include "utf8.h"

/* Characters beyond ASCII that change what a reader of a terminal or a log sees around them: C1 controls, the
 * bidi controls (Unicode TR 9), line and paragraph separators, invisible joiners and the byte order mark. */
static bool unsafe(uint32_t c)
{
	return (c >= 0x80 && c < 0xa0) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
	       (c >= 0xfff0 && c <= 0xffff);
}

static char *put_escape(char *p, uint32_t c)
{
	static const char hex[] = "0123456789abcdef";

	p = put_lit(p, "\\u");
	for (int shift = 12; shift >= 0; shift -= 4)
		*p++ = hex[c >> shift & 15];
	return p;
}

char *put_safe(char *p, const char *text, size_t len)
{
	const char *s = text, *end = s + len;

	while (s < end) {
		uint32_t c = (unsigned char)*s;
		size_t n;

		if (c >= 0x20 && c < 0x7f) {
			if (c == '"' || c == '\\')
				*p++ = '\\';
			*p++ = (char)c;
			s++;
			continue;
		}
		n = utf8_decode(s, (size_t)(end - s), &c);
		if (!n)
			c = 0xfffd;
		if (c < 0x20 || c == 0x7f || unsafe(c))
			p = put_escape(p, c);
		else
			p = put_mem(p, s, n);
		s += n ? n : 1;
	}
	return p;
}
