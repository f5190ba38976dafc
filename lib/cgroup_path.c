/* SPDX-License-Identifier: GPL-2.0-only */
#include "cgroup_path.h"

#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILEID_KERNFS 0xfe /* include/linux/exportfs.h: the handle is the 64-bit id */

/* The mount doesn't move while a program runs: looked up once. */
static struct {
	int state; /* 0: not looked for, 1: found, -1: none */
	int fd;
	char path[PATH_MAX];
} mount = {.fd = -1};

static int find_mount(void)
{
	struct mntent *entry, room;
	char line[3 * PATH_MAX];
	FILE *f;

	if (mount.state)
		return mount.state;
	mount.state = -1;
	f = setmntent("/proc/mounts", "re");
	if (!f)
		return -1;
	while ((entry = getmntent_r(f, &room, line, sizeof(line)))) {
		if (strcmp(entry->mnt_type, "cgroup2") || strlen(entry->mnt_dir) >= sizeof(mount.path))
			continue;
		/* open_by_handle_at() wants a real descriptor, not O_PATH */
		mount.fd = open(entry->mnt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (mount.fd < 0)
			continue;
		strcpy(mount.path, entry->mnt_dir);
		mount.state = 1;
		break;
	}
	endmntent(f);
	return mount.state;
}

int cgroup_root(void)
{
	return find_mount() < 0 ? -1 : mount.fd;
}

const char *cgroup_below_mount(const char *path)
{
	size_t len;

	if (find_mount() < 0)
		return path;
	len = strlen(mount.path);
	if (!strncmp(path, mount.path, len) && (path[len] == '/' || !path[len]))
		return path[len] ? path + len : "/";
	return path;
}

int cgroup_path(uint64_t id, char *buf, size_t size)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + sizeof(id)];
	} handle = {.h = {.handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS}};
	char link[40], path[PATH_MAX];
	const char *below;
	ssize_t len;
	int fd;

	if (find_mount() < 0)
		return -1;
	memcpy(handle.h.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(mount.fd, &handle.h, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	close(fd);
	if (len <= 0)
		return -1;
	path[len] = 0;
	below = cgroup_below_mount(path);
	if (below == path || strlen(below) >= size)
		return -1;
	return (int)strlen(strcpy(buf, below));
}
