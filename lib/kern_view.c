/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_view.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "diag.h"

#define BPFFS_DEFAULT "/sys/fs/bpf"
#define BPFFS_MAGIC 0xcafe4a11
#define META_MAX (1u << 30)

const char *bpffs_root(void)
{
	const char *env = getenv("FW_BPFFS");

	return env && *env ? env : BPFFS_DEFAULT;
}

bool instance_name_ok(const char *s)
{
	size_t n = strspn(
		s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"); /* no dots in bpffs */

	return n && n <= INSTANCE_NAME_MAX && !s[n] && s[0] != '-';
}

/* open_step(parent, name, path): the directory ${name} in ${parent}, which is ${path} in messages. Anyone may
 * make directories in a bpf file system's root: only those of root that nobody else can write are believed.
 */
static int open_step(int parent, const char *name, const char *path)
{
	int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0) {
		if (errno == EACCES)
			complain("cannot open %s: %m (fw's pins belong to root)", path);
		else
			complain("cannot open %s: %m%s", path,
				 errno == ENOENT ? " (nothing loaded? see fwload --status)" : "");
		return -1;
	}
	if (fstat(fd, &st)) {
		complain("cannot stat %s: %m", path);
	} else if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH))) {
		complain("refusing %s: owner is uid %u, mode %04o; expected root and no write for others",
			 path, st.st_uid, st.st_mode & 07777);
	} else {
		return fd;
	}
	close(fd);
	return -1;
}

static int open_root(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd >= 0 && !fstatfs(fd, &fs)) {
		if ((uint32_t)fs.f_type == BPFFS_MAGIC)
			return fd;
		complain("%s is not a bpf file system (nothing loaded, or it was unmounted)", path);
	} else {
		complain("cannot open %s: %m", path);
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static int open_dirs(struct view *v)
{
	const char *root = bpffs_root();
	int top = open_root(root), fw = -1;
	char path[512];

	if (top >= 0) {
		snprintf(path, sizeof(path), "%.300s/fw", root);
		fw = open_step(top, "fw", path);
	}
	if (fw >= 0) {
		snprintf(path, sizeof(path), "%.300s/fw/%s", root, v->instance);
		v->dir = open_step(fw, v->instance, path);
	}
	if (v->dir >= 0) {
		snprintf(path, sizeof(path), "%.300s/fw/%s/maps", root, v->instance);
		v->maps = open_step(v->dir, "maps", path);
	}
	if (top >= 0)
		close(top);
	if (fw >= 0)
		close(fw);
	return v->maps >= 0 ? 0 : -1;
}

int view_map(const struct view *v, const char *name, int writable, struct map_facts *facts)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = writable ? 0 : BPF_F_RDONLY);
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info);
	char path[128];
	int fd;

	/* libbpf 1.1 has no path_fd; through /proc the directory is still the one that was checked */
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", v->maps, name);
	fd = bpf_obj_get_opts(path, &opts);
	if (fd < 0)
		return -1;
	/* A pinned program under a map's name has another kind of info: its map fields don't exist. */
	if (bpf_obj_get_info_by_fd(fd, &info, &len) || !info.max_entries) {
		close(fd);
		errno = EINVAL;
		return -1;
	}
	if (facts)
		*facts = (struct map_facts){info.type,	      info.key_size,  info.value_size,
					    info.max_entries, info.map_flags, info.id};
	return fd;
}

/* map_shared(v, name, size, writable): the memory of a one-element mmapable array; NULL after complaining. */
static void *map_shared(const struct view *v, const char *name, size_t size, bool writable)
{
	struct map_facts facts;
	/* always a writable fd: of a read-only one the kernel makes a private mapping, and then refuses that
	 */
	int fd = view_map(v, name, 1, &facts);
	void *mem = NULL;

	if (fd < 0) {
		complain("cannot open map %s of instance %s: %m", name, v->instance);
		return NULL;
	}
	if (facts.type != BPF_MAP_TYPE_ARRAY || facts.max_entries != 1 || facts.value_size != size) {
		complain("map %s of instance %s has another layout (value of %u bytes, expected %zu): "
			 "loaded by another version?",
			 name, v->instance, facts.value_size, size);
	} else {
		mem = mmap(NULL, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
		if (mem == MAP_FAILED) {
			complain("cannot mmap map %s of instance %s: %m", name, v->instance);
			mem = NULL;
		}
	}
	close(fd);
	return mem;
}

int view_open(struct view *v, const char *instance, enum view_use use)
{
	*v = (struct view)VIEW_NONE;
	if (!instance_name_ok(instance)) {
		complain("'%s' is not an instance name (letters, digits, '_' and '-'; at most %d)", instance,
			 INSTANCE_NAME_MAX);
		return EXIT_USAGE;
	}
	snprintf(v->instance, sizeof(v->instance), "%s", instance);
	if (open_dirs(v))
		return EXIT_SYSTEM;
	v->control = map_shared(v, "control", sizeof(*v->control), false);
	if (!v->control)
		return EXIT_SYSTEM;
	v->readers = map_shared(v, "readers", sizeof(*v->readers), use == VIEW_READER);
	return v->readers ? 0 : EXIT_SYSTEM;
}

void view_close(struct view *v)
{
	if (v->control)
		munmap((void *)(uintptr_t)v->control, sizeof(*v->control));
	if (v->readers)
		munmap(v->readers, sizeof(*v->readers));
	if (v->maps >= 0)
		close(v->maps);
	if (v->dir >= 0)
		close(v->dir);
	*v = (struct view)VIEW_NONE;
}

int view_gone(const struct view *v)
{
	struct stat st;

	return fstat(v->maps, &st) || st.st_nlink == 0;
}

static struct meta *read_meta(const struct view *v, const char *name, const char **why)
{
	struct map_facts facts;
	struct meta *m = NULL;
	uint32_t zero = 0;
	void *blob = NULL;
	int fd = view_map(v, name, 0, &facts);

	if (fd < 0) {
		*why = strerror(errno);
		return NULL;
	}
	*why = "another layout";
	if (facts.type != BPF_MAP_TYPE_ARRAY || facts.max_entries != 1 || facts.key_size != sizeof(zero) ||
	    facts.value_size > META_MAX)
		goto out;
	/* the kernel copies values in units of 8 bytes */
	blob = calloc(1, (facts.value_size + 7ul) & ~7ul);
	if (!blob || bpf_map_lookup_elem(fd, &zero, blob)) {
		*why = strerror(errno);
		goto out;
	}
	m = meta_parse(blob, facts.value_size, why);
	blob = NULL; /* meta_parse() took it */
out:
	free(blob);
	close(fd);
	return m;
}

struct meta *view_meta(const struct view *v, const char **why)
{
	return read_meta(v, "meta", why);
}

struct meta *view_meta_previous(const struct view *v)
{
	const char *why;

	return read_meta(v, "meta_previous", &why);
}
