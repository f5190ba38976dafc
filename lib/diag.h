/* SPDX-License-Identifier: GPL-2.0-only */
/* Diagnostics: every complaint about an input goes through here, so that all of them are
 * reported in one run, each with its place, and the worst one decides the exit status. */
#ifndef FW_DIAG_H
#define FW_DIAG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses of every program (fw(7)). */
enum {
	EXIT_DONE = 0,	 /* done, or nothing to do */
	EXIT_JUDGED = 1, /* the input was judged bad, or the check said no */
	EXIT_USAGE = 2,
	EXIT_SYSTEM = 3, /* the system refused: kernel, permission, I/O */
	EXIT_BUSY = 4,
};

/* A place in an input. YAML has line and column (both from 1, column in characters); the IR has a
 * JSON path ("$.rules[3].priority"). The strings belong to the input's node arena or are literals. */
struct where {
	const char *file; /* as the user gave it; "<stdin>" for standard input; NULL: no place */
	const char *path; /* JSON path, or NULL for line and column */
	uint32_t line, col;
};

enum diag_level { DIAG_WARNING, DIAG_ERROR };

struct diag {
	const char *prog; /* program name, for messages without a place */
	FILE *out;	  /* stderr, or a stream of a test */
	bool werror;	  /* warnings count as errors (-W) */
	bool quiet;	  /* -q: warnings are not printed (they still count under werror) */
	unsigned int errors, warnings;
	bool io;    /* an input could not be read: the exit status is EXIT_SYSTEM */
	unsigned int left_out; /* beyond DIAG_MAX */
};

/* After this many errors the further ones are only counted, so with warnings; diag_finish() says how many. */
#define DIAG_MAX 1000

/* diag_init(d, prog): errors and warnings of ${prog} go to stderr. */
void diag_init(struct diag *d, const char *prog);

/* diag_at(d, level, where, rule, fmt, ...): one line "FILE:LINE:COL: error: TEXT [rule RULE]" (or
 * "FILE: PATH: error: ..." when ${where} has a path, or "PROG: error: ..." when it has no file).
 * ${rule} may be NULL. Text from the input is printed with control characters escaped. */
void diag_at(struct diag *d, enum diag_level level, const struct where *where, const char *rule,
	     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#define diag_error(d, w, rule, ...) diag_at(d, DIAG_ERROR, w, rule, __VA_ARGS__)
#define diag_warn(d, w, rule, ...) diag_at(d, DIAG_WARNING, w, rule, __VA_ARGS__)

/* diag_failed(d): true once an error (or, with werror, a warning) was reported. */
bool diag_failed(const struct diag *d);

/* diag_status(d): EXIT_DONE, EXIT_JUDGED, or EXIT_SYSTEM when an input could not be read. */
int diag_status(const struct diag *d);

/* diag_finish(d): say how many messages were left out, if any. */
void diag_finish(struct diag *d);

/* die(status, fmt, ...): "PROG: TEXT" on stderr and exit(status); the name is program_invocation_short_name.
 * For usage errors and for what no caller can repair (out of memory, a broken output). */
void die(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* complain(fmt, ...): "PROG: TEXT" on stderr. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
