/* SPDX-License-Identifier: GPL-2.0-only */
/* libFuzzer: any bytes as a recorded event. What is accepted prints as a harmless line that reads back as
 * what prints the same. Link with lib/event*.c lib/json_flat.c lib/put*.c lib/rfc3339.c lib/field_*.c
 * lib/names.c lib/diag.c. */
#include <stdlib.h>

#include "lib/event_parse.h"
#include "lib/utf8.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char lines[2][EVENT_ROOM_MAX];

static size_t print(const char *text, size_t size, char *out)
{
	static struct event_line l;
	char *exact = malloc(size ? size : 1); /* so that the sanitizer sees a read beyond it */
	size_t len = 0;

	memcpy(exact, text, size);
	if (!event_parse(exact, size, &l)) {
		event_text(out, &l.ev, true);
		len = (size_t)(event_json(out, &l.ev, false) - out);
	}
	event_line_free(&l);
	free(exact);
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len, again;
	uint32_t c;

	if (size > LABEL_MAX)
		return 0;
	len = print((const char *)data, size, lines[0]);
	if (!len)
		return 0;
	for (size_t i = 0, n; i < len - 1; i += n) {
		n = utf8_decode(lines[0] + i, len - i, &c);
		if (!n || c < 0x20 || (c >= 0x7f && c < 0xa0))
			abort();
	}
	again = print(lines[0], len - 1, lines[1]);
	if (again != len || memcmp(lines[0], lines[1], len))
		abort();
	return 0;
}
