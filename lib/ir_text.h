/* SPDX-License-Identifier: GPL-2.0-only */
/* Pieces of JSON text, for ir_write*.c. Errors stay in the stream (ferror). */
#ifndef FW_IR_TEXT_H
#define FW_IR_TEXT_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "policy.h"

/* emit_raw(f, s): ${s} as it is. Inline, so that the length of a literal is known. */
static inline void emit_raw(FILE *f, const char *s)
{
	fwrite_unlocked(s, 1, strlen(s), f);
}

/* emit_uint(f, v): decimal. */
void emit_uint(FILE *f, uint64_t v);

/* emit_string(f, s): a JSON string in quotation marks, escaped as put_safe() does: harmless on a terminal,
 * and UTF-8 whatever ${s} is. */
void emit_string(FILE *f, const char *s);

/* emit_cidr(f, negate, c): "ADDR/LEN" in quotation marks, with a ! before it if ${negate}. */
void emit_cidr(FILE *f, bool negate, const struct cidr *c);

#endif
