/* SPDX-License-Identifier: GPL-2.0-only */
/* Paths of cgroups v2 from their ids, as seen below the mount found in /proc/mounts. */
#ifndef FW_CGROUP_PATH_H
#define FW_CGROUP_PATH_H

#include <stddef.h>
#include <stdint.h>

/* cgroup_path(id, buf, size): the path from the root of the mount ("/system.slice/ssh.service"; "/" for the
 * root) in
 * ${buf}, NUL-terminated. Its length, or -1 when there is no such cgroup (any more), it lies outside the
 * mount, or we may not ask (CAP_DAC_READ_SEARCH). */
int cgroup_path(uint64_t id, char *buf, size_t size);

/* cgroup_below_mount(path): ${path} without the mount point of cgroup v2, if it starts with that. */
const char *cgroup_below_mount(const char *path);

/* cgroup_root(): the mount point as a directory fd that stays open and is not the caller's; -1 when cgroup v2 is not
 * mounted. */
int cgroup_root(void);

#endif
