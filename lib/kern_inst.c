/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_inst.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "diag.h"
#include "kern_view.h"

static int check_bpffs(const char *root)
{
	struct statfs fs;

	if (statfs(root, &fs)) {
		complain("cannot use %s: %s", root, strerror(errno));
		return EXIT_SYSTEM;
	}
	if ((uint32_t)fs.f_type != BPF_FS_MAGIC) {
		complain("no bpf file system on %s: mount one (mount -t bpf bpf %s)", root, root);
		return EXIT_SYSTEM;
	}
	return 0;
}

/* The bpf file system's root is writable by all: whoever comes first could own "fw". */
static int check_dir(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st)) {
		complain("cannot stat %s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	if (st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH)))
		return 0;
	complain("refusing %s: owner is uid %u, mode %04o; expected root and no write for others (remove it)", path,
		 st.st_uid, st.st_mode & 07777);
	return EXIT_SYSTEM;
}

static int step(const char *path, bool create, int *fd)
{
	if (create && mkdir(path, 0700) && errno != EEXIST) {
		complain("cannot make %s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd >= 0)
		return check_dir(*fd, path);
	if (errno == ENOENT && !create)
		return EXIT_JUDGED;
	complain("cannot open %s: %s", path, strerror(errno));
	return EXIT_SYSTEM;
}

const char *inst_pin(const struct inst *in, char buf[INST_PATH_MAX], const char *fmt, ...)
{
	int n = snprintf(buf, INST_PATH_MAX, "%s/", in->path);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + n, INST_PATH_MAX - n, fmt, ap);
	va_end(ap);
	return buf;
}

int inst_open(struct inst *in, const char *name, bool create)
{
	static const char *const subs[] = { "maps", "progs", "links" };
	const char *root = bpffs_root();
	char path[INST_PATH_MAX];
	int err, fd = -1;

	*in = (struct inst){ .name = name, .dir = -1 };
	if (!instance_name_ok(name)) {
		complain("'%s' is not an instance name (letters, digits, '_' and '-'; at most %d)", name,
			 INSTANCE_NAME_MAX);
		return EXIT_USAGE;
	}
	err = check_bpffs(root);
	if (err)
		return err;
	snprintf(path, sizeof(path), "%.300s/fw", root);
	err = step(path, create, &fd);
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	snprintf(in->path, sizeof(in->path), "%.300s/fw/%s", root, name);
	err = step(in->path, create, &in->dir);
	for (size_t i = 0; !err && i < sizeof(subs) / sizeof(*subs); i++) {
		fd = -1;
		err = step(inst_pin(in, path, "%s", subs[i]), create, &fd);
		if (fd >= 0)
			close(fd);
	}
	return err;
}

uint64_t now_boot_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

int inst_lock(struct inst *in, unsigned int ms)
{
	uint64_t until = now_boot_ms() + ms;
	struct timespec nap = { .tv_nsec = 10 * 1000000 };

	while (flock(in->dir, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			complain("cannot lock %s: %s", in->path, strerror(errno));
			return EXIT_SYSTEM;
		}
		if (now_boot_ms() >= until) {
			complain("instance %s is busy: another fwload is at work (waited %u ms; see --wait)", in->name, ms);
			return EXIT_BUSY;
		}
		nanosleep(&nap, NULL);
	}
	return 0;
}

void inst_close(struct inst *in)
{
	if (in->dir >= 0)
		close(in->dir);
	in->dir = -1;
}

int inst_empty(const struct inst *in, const char *sub)
{
	char path[INST_PATH_MAX], below[INST_PATH_MAX];
	DIR *d = opendir(inst_pin(in, path, "%s", sub));
	struct dirent *e;
	int err = 0;

	if (!d)
		return errno == ENOENT ? 0 : EXIT_SYSTEM;
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(below, sizeof(below), "%.100s/%.255s", sub, e->d_name);
		inst_pin(in, path, "%s", below);
		if (!unlink(path))
			continue;
		if (errno == EISDIR || errno == EPERM) {
			err |= inst_empty(in, below);
			if (!rmdir(path))
				continue;
		}
		complain("cannot remove %s: %s", path, strerror(errno));
		err = EXIT_SYSTEM;
	}
	closedir(d);
	return err;
}

int inst_remove(const struct inst *in)
{
	static const char *const subs[] = { "maps", "progs", "links", "." };
	char path[INST_PATH_MAX];

	for (size_t i = 0; i < sizeof(subs) / sizeof(*subs); i++) {
		const char *p = strcmp(subs[i], ".") ? inst_pin(in, path, "%s", subs[i]) : in->path;

		if (rmdir(p) && errno != ENOENT) {
			complain("cannot remove %s: %s", p, strerror(errno));
			return EXIT_SYSTEM;
		}
	}
	return 0;
}
