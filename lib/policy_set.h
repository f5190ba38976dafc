/* SPDX-License-Identifier: GPL-2.0-only */
/* A set while it is being read: members are appended straight from text, because there may be millions of
 * them and a tree node for each would cost more than the rest of the compiler. Set files (set_file.c), sets
 * written out in YAML and the IR's "sets" all go through set_append(). */
#ifndef FW_POLICY_SET_H
#define FW_POLICY_SET_H

#include "policy.h"

struct set_input {
	const char *name;   /* in the arena */
	struct where where; /* of the set: its key in the YAML, or "$.sets.NAME" */
	struct cidr *cidrs; /* in the arena (arena_resize); NULL while empty */
	size_t n, room;
};

/* set_append(a, s, text, len, masked): append the CIDR or address ${text} of ${len} bytes (no NUL needed) to
 * ${s}. Returns NULL, or a static text saying what is wrong, and then nothing was appended. ${*masked} says
 * whether host bits were cleared. Nothing is reported: making the place of every member would be the
 * slowest part, so the caller makes it only for a bad one and calls set_complain(). */
const char *set_append(struct arena *a, struct set_input *s, const char *text, size_t len, bool *masked);

/* set_complain(d, where, text, len, wrong, c): report what set_append() found at ${where}: the error
 * ${wrong}, or if that is NULL the warning that host bits were cleared, ${c} being what was appended. */
void set_complain(struct diag *d, const struct where *where, const char *text, size_t len, const char *wrong,
		  const struct cidr *c);

#endif
