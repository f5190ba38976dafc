/* SPDX-License-Identifier: GPL-2.0-only */
#include "line_out.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define LAST_WAIT_MS 500 /* after a signal, for a reader that doesn't read */

int line_out_init(struct line_out *o, int fd, size_t longest, const volatile sig_atomic_t *stop)
{
	*o = (struct line_out){.fd = fd, .room = LINE_OUT_BATCH + longest, .stop = stop};
	o->buf = malloc(o->room);
	return o->buf ? 0 : -1;
}

int line_out_end(struct line_out *o, const char *end)
{
	o->used = (size_t)(end - o->buf);
	return o->used >= LINE_OUT_BATCH ? line_out_flush(o) : 0;
}

/* may_write(o, len): how much to write without risking to block for ever once a signal asked us to end: a
 * pipe that polls writable takes PIPE_BUF bytes. 0: give up. */
static size_t may_write(const struct line_out *o, size_t len)
{
	struct pollfd p = {.fd = o->fd, .events = POLLOUT};

	if (!*o->stop)
		return len;
	if (poll(&p, 1, LAST_WAIT_MS) <= 0)
		return 0;
	return len < PIPE_BUF ? len : PIPE_BUF;
}

int line_out_flush(struct line_out *o)
{
	size_t done = 0;

	while (done < o->used && !o->gone && !o->error) {
		size_t want = may_write(o, o->used - done);
		ssize_t n = want ? write(o->fd, o->buf + done, want) : -1;

		if (n > 0)
			done += (size_t)n;
		else if (!want)
			o->error = ETIMEDOUT;
		else if (n == 0)
			o->error = EIO;
		else if (errno == EPIPE)
			o->gone = 1;
		else if (errno == EAGAIN) /* someone else's O_NONBLOCK on a shared terminal or pipe */
			poll(&(struct pollfd){.fd = o->fd, .events = POLLOUT}, 1, LAST_WAIT_MS);
		else if (errno != EINTR)
			o->error = errno;
	}
	o->used = 0;
	return o->gone || o->error ? -1 : 0;
}

void line_out_free(struct line_out *o)
{
	free(o->buf);
	*o = (struct line_out){.fd = -1};
}
