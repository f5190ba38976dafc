/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_inst.h"
#include "boot_clock.h"

#include <bpf/bpf.h>
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

static int open_root(const char *root, int *fd)
{
	struct statfs fs;

	*fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0 || fstatfs(*fd, &fs)) {
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
static int check_dir(int fd, const char *path, struct stat *st)
{
	if (fstat(fd, st)) {
		complain("cannot stat %s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	if (st->st_uid == 0 && !(st->st_mode & (S_IWGRP | S_IWOTH)))
		return 0;
	complain("refusing %s: owner is uid %u, mode %04o; expected root and no write for others (remove it)", path,
		 st->st_uid, st->st_mode & 07777);
	return EXIT_SYSTEM;
}

/* step(parent, name, path, create, fd, st): the directory ${name} in ${parent}, which is ${path} in messages. */
static int step(int parent, const char *name, const char *path, bool create, int *fd, struct stat *st)
{
	if (create && mkdirat(parent, name, 0700) && errno != EEXIST) {
		complain("cannot make %s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	*fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd >= 0)
		return check_dir(*fd, path, st);
	if (errno == ENOENT && !create)
		return EXIT_JUDGED;
	complain("cannot open %s: %s%s", path, strerror(errno), errno == EACCES ? " (fw's pins belong to root)" : "");
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

static int open_subs(struct inst *in, bool create)
{
	static const char *const subs[] = { "maps", "progs", "links" };
	char path[INST_PATH_MAX];
	struct stat st;
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(subs) / sizeof(*subs); i++) {
		int fd = -1;

		err = step(in->dir, subs[i], inst_pin(in, path, "%s", subs[i]), create, &fd, &st);
		if (fd >= 0)
			close(fd);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", in->dir);
	if (!err && access(path, F_OK)) {
		complain("cannot reach %s by %s: %s (is /proc mounted?)", in->path, path, strerror(errno));
		err = EXIT_SYSTEM;
	}
	return err;
}

/* The instance's own directory: by its name in the one above, where that leads to no other that isn't empty. */
static int remove_self(const struct inst *in)
{
	int up = openat(in->dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC), err = -1;

	if (up >= 0) {
		err = unlinkat(up, in->name, AT_REMOVEDIR);
		close(up);
	}
	return err;
}

static bool is_ours(int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW)) /* it was, when it was opened */
		return errno != ENOENT;
	return st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* What is in use isn't empty, and who has opened it in this moment sees that it is gone when he has the lock. What was
 * refused is left for the admin to see. */
void inst_drop_empty(const struct inst *in)
{
	static const char *const subs[] = { "maps", "progs", "links" };

	if (in->dir < 0 || !is_ours(in->dir, "."))
		return;
	for (size_t i = 0; i < sizeof(subs) / sizeof(*subs); i++)
		if (is_ours(in->dir, subs[i]))
			unlinkat(in->dir, subs[i], AT_REMOVEDIR);
	remove_self(in);
}

int inst_open(struct inst *in, const char *name, bool create)
{
	const char *root = bpffs_root();
	char path[INST_PATH_MAX];
	int err, top = -1, fw = -1;
	struct stat st;

	*in = (struct inst){ .name = name, .dir = -1, .create = create, .group = INST_NO_GROUP };
	if (!instance_name_ok(name)) {
		complain("'%s' is not an instance name (letters, digits, '_' and '-'; at most %d)", name,
			 INSTANCE_NAME_MAX);
		return EXIT_USAGE;
	}
	/* anyone can make a directory there, and would keep root from making his */
	if (create && geteuid()) {
		complain("fw's pins belong to root: run fwload as root, with the capabilities of fw-security(7)");
		return EXIT_SYSTEM;
	}
	umask(077); /* of the pins: the kernel gives them what it leaves of 0600 */
	err = open_root(root, &top);
	if (!err) {
		snprintf(path, sizeof(path), "%.300s/fw", root);
		err = step(top, "fw", path, create, &fw, &st);
	}
	if (!err) {
		snprintf(in->path, sizeof(in->path), "%.300s/fw/%s", root, name);
		err = step(fw, name, in->path, create, &in->dir, &st);
	}
	if (!err) {
		in->group = st.st_mode & S_IXGRP ? st.st_gid : INST_NO_GROUP;
		err = open_subs(in, create);
	}
	if (top >= 0)
		close(top);
	if (err && create)
		inst_drop_empty(in);
	if (fw >= 0)
		close(fw);
	return err;
}

static int take_lock(const struct inst *in, unsigned int ms, uint64_t until)
{
	struct timespec nap = { .tv_nsec = 10 * 1000000 };

	while (flock(in->dir, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			complain("cannot lock %s: %s", in->path, strerror(errno));
			return EXIT_SYSTEM;
		}
		if (boot_ms() >= until) {
			complain("instance %s is busy: another fwload is at work (waited %u ms; see --wait)", in->name, ms);
			return EXIT_BUSY;
		}
		nanosleep(&nap, NULL);
	}
	return 0;
}

int inst_lock(struct inst *in, unsigned int ms)
{
	uint64_t until = boot_ms() + ms;
	struct stat st;
	int err;

	for (;;) {
		err = take_lock(in, ms, until);
		if (err || fstat(in->dir, &st) || st.st_nlink)
			return err;
		/* who had the lock has removed the directory */
		close(in->dir);
		err = inst_open(in, in->name, in->create);
		if (err)
			return err;
	}
}

void inst_close(struct inst *in)
{
	if (in->dir >= 0)
		close(in->dir);
	in->dir = -1;
}

/* Below the instance's directory only root changes anything, so names are enough from there on. */
static const char *below(const struct inst *in, const char *pin)
{
	return pin + strlen(in->path) + 1;
}

static const char *via(const struct inst *in, char buf[INST_PATH_MAX], const char *pin)
{
	/* libbpf 1.1 has no path_fd; through /proc the directory is still the one that was checked */
	snprintf(buf, INST_PATH_MAX, "/proc/self/fd/%d/%s", in->dir, below(in, pin));
	return buf;
}

int inst_get(const struct inst *in, const char *pin)
{
	char path[INST_PATH_MAX];

	return bpf_obj_get(via(in, path, pin));
}

int inst_put(const struct inst *in, int fd, const char *pin)
{
	char path[INST_PATH_MAX];

	return bpf_obj_pin(fd, via(in, path, pin));
}

int inst_unlink(const struct inst *in, const char *pin)
{
	return unlinkat(in->dir, below(in, pin), 0);
}

int inst_rename(const struct inst *in, const char *from, const char *to)
{
	return renameat(in->dir, below(in, from), in->dir, below(in, to));
}

int inst_mkdir(const struct inst *in, const char *pin)
{
	return mkdirat(in->dir, below(in, pin), 0700);
}

DIR *inst_opendir(const struct inst *in, const char *pin)
{
	int fd = openat(in->dir, below(in, pin), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

static int empty_one(const struct inst *in, const char *sub, const char *name)
{
	char path[INST_PATH_MAX], inner[INST_PATH_MAX];
	int err = 0;

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return 0;
	snprintf(inner, sizeof(inner), "%.100s/%.255s", sub, name);
	inst_pin(in, path, "%s", inner);
	if (!inst_unlink(in, path))
		return 0;
	if (errno == EISDIR || errno == EPERM) {
		err = inst_empty(in, inner);
		if (!unlinkat(in->dir, inner, AT_REMOVEDIR))
			return err;
	}
	complain("cannot remove %s: %s", path, strerror(errno));
	return EXIT_SYSTEM;
}

/* Without opendir(): this is also called when there is no memory left. */
int inst_empty(const struct inst *in, const char *sub)
{
	int fd = openat(in->dir, sub, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err = 0;
	char buf[2048] __attribute__((aligned(8)));
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : EXIT_SYSTEM;
	while ((n = getdents64(fd, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *e = (const struct dirent64 *)(buf + at);

			err |= empty_one(in, sub, e->d_name);
			at += e->d_reclen;
		}
	close(fd);
	return n < 0 ? EXIT_SYSTEM : err;
}

int inst_remove(const struct inst *in)
{
	static const char *const subs[] = { "maps", "progs", "links" };
	char path[INST_PATH_MAX];

	for (size_t i = 0; i <= sizeof(subs) / sizeof(*subs); i++) {
		bool self = i == sizeof(subs) / sizeof(*subs);

		if (!(self ? remove_self(in) : unlinkat(in->dir, subs[i], AT_REMOVEDIR)) || errno == ENOENT)
			continue;
		complain("cannot remove %s: %s", self ? in->path : inst_pin(in, path, "%s", subs[i]), strerror(errno));
		return EXIT_SYSTEM;
	}
	return 0;
}
