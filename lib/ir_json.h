/* SPDX-License-Identifier: GPL-2.0-only */
/* A strict reader of JSON text, RFC 8259 and nothing more, for ir_tree.c.
 * Why not jansson: parsing alone takes it 74-118 ms for 10,000 rules and 380-520 ms for a set of a million
 * members (this takes a tenth), its errors have no JSON path, and it skips a NUL byte after a number. */
#ifndef FW_IR_JSON_H
#define FW_IR_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "diag.h"

struct json_in {
	const char *p;		/* what comes next; NUL only at ${end} */
	const char *text, *end; /* the whole input and a NUL after it */
	struct diag *d;
	const char *name;
	char *scratch; /* the last string with escapes */
	size_t scratch_size;
};

/* A string or a number as it stood in the input, without escapes. Not NUL-terminated. Valid until the next
 * call on the same input. */
struct json_span {
	const char *s;
	size_t len;
	bool nul; /* there is a NUL character in it */
};

/* json_open(in, d, f, name): read all of ${f}. False after reporting to ${d}; then and at the end
 * json_close(). Strings of ${name} are not copied. */
bool json_open(struct json_in *in, struct diag *d, FILE *f, const char *name);
void json_close(struct json_in *in);

/* json_error(in, at, fmt, ...): report a syntax error at the line and column of ${at}. Always false. */
bool json_error(struct json_in *in, const char *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* json_next(in): skip white space; the byte that comes next, 0 at the end. */
char json_next(struct json_in *in);

/* json_take(in, c): skip white space and take the byte ${c} if it comes next. */
bool json_take(struct json_in *in, char c);

/* json_string(in, s): the string that begins at in->p (a quotation mark). False after reporting. */
bool json_string(struct json_in *in, struct json_span *s);

/* json_number(in, s, integer): the number that begins at in->p, as it is written; ${*integer} says whether it
 * has neither fraction nor exponent. False after reporting. */
bool json_number(struct json_in *in, struct json_span *s, bool *integer);

/* json_word(in, word): take true, false or null where it comes next. */
bool json_word(struct json_in *in, const char *word);

#endif
