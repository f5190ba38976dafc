/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "save_file.h"

static mode_t usual_mode(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return 0666 & ~mask;
}

int save_open(struct save_file *s, const char *path)
{
	struct stat st;
	bool exists = stat(path, &st) == 0;
	int fd;

	*s = (struct save_file){0};
	/* a symbolic link stays one: the file it names is replaced */
	s->path = exists ? realpath(path, NULL) : strdup(path);
	if (!s->path)
		return -1;
	if (exists && !S_ISREG(st.st_mode)) {
		s->f = fopen(path, "we");
	} else {
		if (asprintf(&s->temp, "%s.XXXXXX", s->path) < 0) {
			s->temp = NULL;
			goto fail;
		}
		fd = mkostemp(s->temp, O_CLOEXEC);
		if (fd < 0) {
			free(s->temp); /* nothing to remove */
			s->temp = NULL;
			goto fail;
		}
		s->f = fchmod(fd, exists ? st.st_mode & 07777 : usual_mode()) < 0 ? NULL : fdopen(fd, "w");
		if (!s->f)
			close(fd);
	}
	if (s->f)
		return 0;
fail:
	save_abort(s);
	return -1;
}

/* The rename itself has to reach the disk too. Not every file system can, and then there is nothing to do. */
static void sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *name = slash ? strndup(path, slash - path + 1) : strdup(".");
	int fd = name ? open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	free(name);
}

int save_commit(struct save_file *s)
{
	int wrong = ferror(s->f) || fflush(s->f) || (s->temp && fsync(fileno(s->f)));

	if (fclose(s->f))
		wrong = 1;
	s->f = NULL;
	if (!wrong && s->temp) {
		wrong = rename(s->temp, s->path);
		if (!wrong) {
			sync_directory(s->path);
			free(s->temp);
			s->temp = NULL;
		}
	}
	save_abort(s);
	return wrong ? -1 : 0;
}

void save_abort(struct save_file *s)
{
	int keep = errno;

	if (s->f)
		fclose(s->f);
	if (s->temp)
		unlink(s->temp);
	free(s->temp);
	free(s->path);
	*s = (struct save_file){0};
	errno = keep;
}
