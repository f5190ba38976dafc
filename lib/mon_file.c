/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "diag.h"
#include "event_parse.h"
#include "mon.h"

#define ROOM (2 * EVENT_ROOM_MAX) /* longer lines aren't ours */

struct lines {
	struct mon *mon;
	struct diag diag;
	struct where where;
	struct event_line line;
	char *buf;
	size_t used;
	bool skip; /* inside a line that was too long */
};

static void on_line(struct lines *l, char *text, size_t len)
{
	const char *why;

	l->where.line++;
	if (l->skip) {
		l->skip = false;
		return;
	}
	why = event_parse(text, len, &l->line);
	if (why)
		diag_error(&l->diag, &l->where, NULL, "%s", why);
	else
		mon_emit(l->mon, &l->line.ev);
}

/* on_bytes(l): the whole lines in the buffer; what remains moves to its start. */
static void on_bytes(struct lines *l)
{
	char *p = l->buf, *end = l->buf + l->used, *nl;

	while (!mon_over(l->mon) && (nl = memchr(p, '\n', (size_t)(end - p)))) {
		on_line(l, p, (size_t)(nl - p));
		p = nl + 1;
	}
	l->used = (size_t)(end - p);
	memmove(l->buf, p, l->used);
	if (l->used < ROOM)
		return;
	if (!l->skip) {
		l->where.line++;
		diag_error(&l->diag, &l->where, NULL, "line too long for an event");
		l->where.line--; /* its newline is still to come */
	}
	l->skip = true;
	l->used = 0;
}

static int read_lines(struct lines *l, int fd)
{
	ssize_t n = 1;

	while (n && !mon_over(l->mon)) {
		n = read(fd, l->buf + l->used, ROOM - l->used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			complain("cannot read %s: %m", l->where.file);
			return EXIT_SYSTEM;
		}
		l->used += (size_t)n;
		if (n)
			on_bytes(l);
		else if (l->used)
			on_line(l, l->buf, l->used);
		/* the next read may wait long: what is there goes out before */
		line_out_flush(&l->mon->out);
	}
	diag_finish(&l->diag);
	return diag_failed(&l->diag) ? EXIT_JUDGED : EXIT_DONE;
}

int mon_file(struct mon *m, const char *path)
{
	struct lines l = {.mon = m, .where = {.file = path, .col = 1}};
	int fd = STDIN_FILENO, status = EXIT_SYSTEM;

	diag_init(&l.diag, "fwmon");
	if (!strcmp(path, "-"))
		l.where.file = "<stdin>";
	else
		fd = open(path, O_RDONLY | O_CLOEXEC);
	l.buf = malloc(ROOM);
	if (fd < 0)
		complain("cannot open %s: %m", path);
	else if (!l.buf)
		complain("out of memory");
	else
		status = read_lines(&l, fd);
	event_line_free(&l.line);
	free(l.buf);
	if (fd > STDIN_FILENO)
		close(fd);
	return status;
}
