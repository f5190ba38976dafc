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

#include "boot_clock.h"
#include "diag.h"

#define BPFFS_DEFAULT "/sys/fs/bpf"
#define BPFFS_MAGIC 0xcafe4a11
#define META_MAX (1u << 30)
#define VIEW_TRIES 5

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
			complain("cannot open %s: %m (fw's pins belong to root; see --group in fwload(8))", path);
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
			 "loaded by another version? (fwload --upgrade loads it anew)",
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

/* copy_control(v): for who may only read: the kernel maps no memory of a read-only fd. 0, or -1 with errno. */
static int copy_control(struct view *v)
{
	struct map_facts facts;
	void *mem;

	v->copied = view_map(v, "control", 0, &facts);
	if (v->copied < 0)
		return -1;
	errno = EINVAL;
	if (facts.type != BPF_MAP_TYPE_ARRAY || facts.max_entries != 1 || facts.value_size != sizeof(*v->control))
		return -1;
	mem = mmap(NULL, sizeof(*v->control), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return -1;
	v->control = mem;
	view_control(v);
	return 0;
}

static int open_control(struct view *v)
{
	int fd = view_map(v, "control", 1, NULL);

	if (fd < 0 && errno == EACCES && !copy_control(v))
		return 0;
	if (fd >= 0)
		close(fd);
	v->control = map_shared(v, "control", sizeof(*v->control), false);
	return v->control ? 0 : -1;
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
	if (open_control(v))
		return EXIT_SYSTEM;
	if (v->control->abi && v->control->abi != FW_ABI) {
		complain("instance %s was loaded by another version of fw (layout %u, expected %d): load a policy with "
			 "fwload --upgrade",
			 instance, v->control->abi, FW_ABI);
		return EXIT_SYSTEM;
	}
	v->readers = map_shared(v, "readers", sizeof(*v->readers), use == VIEW_READER);
	return v->readers ? 0 : EXIT_SYSTEM;
}

void view_close(struct view *v)
{
	if (v->control)
		munmap((void *)(uintptr_t)v->control, sizeof(*v->control));
	if (v->readers)
		munmap(v->readers, sizeof(*v->readers));
	if (v->copied >= 0)
		close(v->copied);
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

const char view_unfiltered[] = "no policy is active: nothing is filtered";

const volatile struct fw_control *view_control(const struct view *v)
{
	uint32_t zero = 0;

	if (v->copied >= 0)
		bpf_map_lookup_elem(v->copied, &zero, (void *)(uintptr_t)v->control);
	return v->control;
}

struct word_view view_word(const struct view *v)
{
	return word_view(view_control(v)->word, boot_ms());
}

struct meta *view_meta_slot(const struct view *v, uint32_t slot, const char **why)
{
	char name[16];

	if (!slot || slot >= FW_SLOTS) {
		*why = view_unfiltered;
		return NULL;
	}
	snprintf(name, sizeof(name), "meta%u", slot);
	return read_meta(v, name, why);
}

struct meta *view_meta(const struct view *v, const char **why)
{
	uint32_t slot = view_word(v).active, now;
	struct meta *m;

	/* a slot that is no longer named may have another's names a moment later */
	for (int tries = 0;; tries++) {
		m = view_meta_slot(v, slot, why);
		now = view_word(v).active;
		if (now == slot || tries == VIEW_TRIES)
			return m;
		meta_free(m);
		slot = now;
	}
}

const char *view_lacks(const char *instance)
{
	static const char *const pins[] = {"maps/control",  "maps/readers",	"maps/arenas",	   "maps/counters",
					   "maps/log_limits", "maps/limits",	"maps/flows",	   "maps/flow_head",
					   "maps/state_stats", "maps/audit_stats", "maps/rings",   "progs/clock",
					   "progs/commit", "maps/ring0/events", "maps/ring1/events", "maps/ring2/events",
					   "maps/ring3/events"};
	const char *lacks = NULL;
	char path[512];
	int dir;

	if (!instance_name_ok(instance))
		return NULL;
	snprintf(path, sizeof(path), "%.300s/fw/%s", bpffs_root(), instance);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; dir >= 0 && !lacks && i < sizeof(pins) / sizeof(*pins); i++)
		if (faccessat(dir, pins[i], F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT)
			lacks = pins[i];
	if (dir >= 0)
		close(dir);
	return lacks;
}
