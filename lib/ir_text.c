/* SPDX-License-Identifier: GPL-2.0-only */
#include "ir_text.h"

#include <stdlib.h>

#include "field_value.h"
#include "put.h"

void emit_uint(FILE *f, uint64_t v)
{
	char buf[20];

	fwrite_unlocked(buf, 1, (size_t)(put_u64(buf, v) - buf), f);
}

void emit_string(FILE *f, const char *s)
{
	size_t len = strlen(s);
	char small[1024], *buf = small;

	if (PUT_SAFE_MAX(len) > sizeof(small))
		buf = malloc(PUT_SAFE_MAX(len));
	if (!buf)
		die(EXIT_SYSTEM, "out of memory");
	putc_unlocked('"', f);
	fwrite_unlocked(buf, 1, (size_t)(put_safe(buf, s, len) - buf), f);
	putc_unlocked('"', f);
	if (buf != small)
		free(buf);
}

void emit_cidr(FILE *f, bool negate, const struct cidr *c)
{
	char buf[CIDR_TEXT_MAX + 3], *p = buf;

	*p++ = '"';
	if (negate)
		*p++ = '!';
	if (c->family == 4) { /* as format_cidr() would, but quicker: there may be millions */
		for (int i = 0; i < 4; i++) {
			p = put_u32(p, c->addr[i]);
			*p++ = i < 3 ? '.' : '/';
		}
		p = put_u32(p, c->len);
	} else {
		p += format_cidr(c, p);
	}
	*p++ = '"';
	fwrite_unlocked(buf, 1, (size_t)(p - buf), f);
}
