/* SPDX-License-Identifier: GPL-2.0-only */
#include "out_stat.h"

#include <string.h>

#include "put.h"

const struct out_format out_formats[] = {
	{"table", out_stat_table},
	{"json", out_stat_json},
	{"prometheus", out_stat_prometheus},
	{},
};

#define PIECE 256

void out_safe(FILE *f, const char *s)
{
	char buf[PUT_SAFE_MAX(PIECE)];
	size_t len = strlen(s);

	while (len) {
		size_t n = len < PIECE ? len : PIECE;

		/* no cut inside a UTF-8 character: back to its first byte, unless there is none to find */
		if (n < len)
			for (size_t back = 0; back < 3 && (s[n - back] & 0xc0) == 0x80; back++)
				if ((s[n - back - 1] & 0xc0) != 0x80)
					n -= back + 1;
		fwrite(buf, 1, (size_t)(put_safe(buf, s, n) - buf), f);
		s += n;
		len -= n;
	}
}
