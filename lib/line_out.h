/* SPDX-License-Identifier: GPL-2.0-only */
/* Output in batches of whole lines: one write(2) per batch. */
#ifndef FW_LINE_OUT_H
#define FW_LINE_OUT_H

#include <signal.h>
#include <stddef.h>

#define LINE_OUT_BATCH 65536 /* bytes after which a batch is written */

struct line_out {
	int fd;
	char *buf;
	size_t used, room;
	const volatile sig_atomic_t *stop; /* set by a signal: don't wait long for a reader any more */
	int gone;			   /* the reader left (EPIPE) */
	int error;			   /* errno of another failed write; nothing more is written then */
};

/* line_out_init(o, fd, longest, stop): lines of at most ${longest} bytes go to ${fd}. 0, or -1 without
 * memory. */
int line_out_init(struct line_out *o, int fd, size_t longest, const volatile sig_atomic_t *stop);

/* line_out_at(o): where the next line may be written; line_out_end(o, end): it ends at ${end}. */
static inline char *line_out_at(struct line_out *o)
{
	return o->buf + o->used;
}
int line_out_end(struct line_out *o, const char *end);

/* line_out_flush(o): write what is there, all of it. Both: 0, or -1 when output has ended (gone or error). */
int line_out_flush(struct line_out *o);

void line_out_free(struct line_out *o);

#endif
