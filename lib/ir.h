/* SPDX-License-Identifier: GPL-2.0-only */
/* The IR, fw-ir(5): the policy as canonical JSON. */
#ifndef FW_IR_H
#define FW_IR_H

#include "policy.h"
#include "policy_set.h"
#include "sha256.h"

#define IR_VERSION 1
#define IR_MAX_DEPTH 64 /* nested lists and mappings */

/* ir_tree(a, d, f, name, sets, n_sets): the tree of the JSON text in ${f}, which is called ${name} in
 * messages. Sets that are lists don't become nodes, because a set may have millions of members: they go into
 * ${*sets},
 * ${*n_sets} of them in input order, and are missing in the tree (with "sets" itself, when nothing is left in
 * it). Refused with line and column: what RFC 8259 doesn't call JSON, a byte order mark, NUL bytes, text that
 * is not UTF-8, more than IR_MAX_DEPTH levels: then NULL is returned. Reported with JSON path: duplicate
 * keys, NUL characters, bad set members: then the tree comes back without them, so that policy_read() can go
 * on and all errors are told in one run. Types and ranges of values are left to policy_read(). The tree, its
 * places and the sets live in ${a}. */
struct node *ir_tree(struct arena *a, struct diag *d, FILE *f, const char *name, struct set_input **sets,
		     size_t *n_sets);

/* ir_read(d, f, name): IR text to policy, everything re-validated (policy_read, policy_check); the caller
 * frees it with policy_free(). NULL after reporting to ${d}. */
struct policy *ir_read(struct diag *d, FILE *f, const char *name);

enum ir_parts {
	IR_ALL,	     /* the document */
	IR_JUDGED,   /* what decides verdicts, names and sources: the input of the digest */
	IR_SNAPSHOT, /* the document, but sets of more than IR_SNAPSHOT_MAX members only say how many */
};
#define IR_SNAPSHOT_MAX 256

/* ir_write(p, parts, f): canonical bytes: same policy, same bytes; one rule a line. Text that is not UTF-8
 * (a file name can be) is written with U+FFFD in its place. ${f} is flushed. 0, or -1 with errno when ${f}
 * failed. */
int ir_write(const struct policy *p, enum ir_parts parts, FILE *f);

/* ir_digest(p, s): add the IR_JUDGED bytes of ${p} to ${s}, which the caller initialised and ends. */
void ir_digest(const struct policy *p, struct sha256 *s);

/* The JSON Schema of the IR (draft 2020-12), NUL-terminated. */
extern const char ir_schema[];

#endif
