/* SPDX-License-Identifier: GPL-2.0-only */
/* Reader of one flat JSON object (RFC 8259) in memory, member by member. Strings are decoded in place, since
 * the decoded form is never longer: the text is overwritten. Values that are objects or lists are checked and
 * skipped. */
#ifndef FW_JSON_FLAT_H
#define FW_JSON_FLAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flat_kind { FLAT_STRING, FLAT_UINT /* integer 0 .. 2^64-1 */, FLAT_OTHER };

struct flat_value {
	enum flat_kind kind;
	const char *s; /* FLAT_STRING: NUL-terminated UTF-8, which may have NUL inside; otherwise NULL */
	size_t len;
	uint64_t n;
};

struct flat {
	char *p, *end;
	const char *why; /* what was wrong, when flat_next() returned false; NULL: the object ended well */
	bool started;
};

/* flat_begin(f, text, len): ${text} needs no NUL. */
void flat_begin(struct flat *f, char *text, size_t len);

/* flat_next(f, key, value): the next member. False at the end and on errors. */
bool flat_next(struct flat *f, const char **key, struct flat_value *value);

#endif
