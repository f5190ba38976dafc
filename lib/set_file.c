/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "set_file.h"

/* All of the file in memory of its own; NULL with errno. (Not mapped: a file that shrinks meanwhile would
 * kill.) */
static char *read_whole(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	size_t room, used = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		goto fail;
	room = st.st_size > 0 ? (size_t)st.st_size + 1 : 64 << 10;
	for (;;) {
		char *bigger = used < room && text ? text : realloc(text, room);
		ssize_t n;

		if (!bigger)
			goto fail;
		text = bigger;
		n = read(fd, text + used, room - used);
		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			goto fail;
		used += n;
		if (used == room)
			room *= 2;
	}
	close(fd);
	*len = used;
	return text;
fail:
	free(text);
	if (fd >= 0) {
		int keep = errno;

		close(fd);
		errno = keep;
	}
	return NULL;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* One line without its newline. */
/* Errors do not end the file: all of them are reported in one run. */
static void read_line(struct diag *d, struct arena *a, struct set_input *s, const char *begin,
		      const char *end, struct where *w)
{
	const char *p = begin, *stop, *wrong;
	bool masked;

	while (p != end && blank(*p))
		p++;
	if (p == end || *p == '#')
		return;
	for (stop = p; stop != end && !blank(*stop) && *stop != '#';)
		stop++;
	w->col = p - begin + 1;
	wrong = set_append(a, s, p, stop - p, &masked);
	if (wrong || masked)
		set_complain(d, w, p, stop - p, wrong, wrong ? NULL : &s->cidrs[s->n - 1]);
	while (stop != end && blank(*stop))
		stop++;
	if (!wrong && stop != end && *stop != '#') {
		w->col = stop - begin + 1;
		diag_error(d, w, NULL, "more text after the address: one address a line");
	}
}

void set_file_read(struct diag *d, struct arena *a, struct set_input *s, const char *path,
		   const struct where *named)
{
	struct where w = {.file = path, .line = 1};
	const char *p, *end;
	size_t len = 0;
	char *text = read_whole(path, &len);

	if (!text) {
		diag_error(d, named, NULL, "can't read the set file \"%s\": %s", path, strerror(errno));
		d->io = true;
		return;
	}
	p = text;
	end = text + len;
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		p += 3;
	for (; p < end; w.line++) {
		const char *newline = memchr(p, '\n', end - p);

		read_line(d, a, s, p, newline ? newline : end, &w);
		p = newline ? newline + 1 : end;
	}
	free(text);
}
