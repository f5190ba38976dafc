/* SPDX-License-Identifier: GPL-2.0-only */
/* An instance as its writer sees it: the pin directory /sys/fs/bpf/fw/INSTANCE with maps, progs and links in it,
 * made root-only, verified and locked. ($FW_BPFFS overrides /sys/fs/bpf.) */
#ifndef FW_KERN_INST_H
#define FW_KERN_INST_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define INST_PATH_MAX 512

struct inst {
	const char *name;
	char path[INST_PATH_MAX - 128]; /* of the instance's directory */
	int dir;			/* locked */
	bool create;			/* its directories are made when missing */
	gid_t group;			/* whose members may read the maps, or INST_NO_GROUP */
};
#define INST_NO_GROUP ((gid_t)-1)
#define INST_NONE { .dir = -1, .group = INST_NO_GROUP }

/* inst_open(in, name, create): ${in} for instance ${name}; its directories are made when missing and ${create}
 * is set. Refused: a name that isn't one, no bpf file system, a directory that is not root's or that others can
 * write, a caller who is not root and would make them. 0, or an exit status after complaining; EXIT_JUDGED, silently, if there is no such instance. */
int inst_open(struct inst *in, const char *name, bool create);

/* inst_lock(in, ms): take the writers' lock, waiting up to ${ms} milliseconds; if the instance was removed while we waited it
 * is opened anew, as before. 0, EXIT_BUSY or EXIT_SYSTEM after complaining; EXIT_JUDGED, silently, if it is gone. */
int inst_lock(struct inst *in, unsigned int ms);

void inst_close(struct inst *in);

/* inst_pin(in, buf, fmt, ...): path of a pin, "maps/control" for one. Returns ${buf}. For people, and for the functions
 * below: they go from the directory that was verified, wherever the path may lead by then. */
const char *inst_pin(const struct inst *in, char buf[INST_PATH_MAX], const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* inst_get(in, pin): a new fd (close-on-exec) of what is pinned as ${pin}, a path of inst_pin(); or -1 with errno.
 * inst_put(in, fd, pin): pin it, mode 0600. The others are the system calls of their names. 0, or -1 with errno. */
int inst_get(const struct inst *in, const char *pin);
int inst_put(const struct inst *in, int fd, const char *pin);
int inst_unlink(const struct inst *in, const char *pin);
int inst_rename(const struct inst *in, const char *from, const char *to);
int inst_mkdir(const struct inst *in, const char *pin);
DIR *inst_opendir(const struct inst *in, const char *pin);

/* inst_share(in, group): from now on members of ${group} may read the instance, and write what readers write; 0 (root): none
 * may. Recorded in group and mode of the instance's directory. 0, or EXIT_SYSTEM after complaining. With the lock. */
int inst_share(struct inst *in, gid_t group);

/* inst_lend(in, pin, is_dir): the pin or directory ${pin}, which is new, becomes the group's as far as it should, if there is
 * one. 0, or EXIT_SYSTEM after complaining. */
int inst_lend(const struct inst *in, const char *pin, bool is_dir);

/* inst_empty(in, sub): unlink every pin in the directory ${sub} ("maps"), and directories in it. */
int inst_empty(const struct inst *in, const char *sub);

/* inst_drop_empty(in): if there are no pins in it, the directories go. */
void inst_drop_empty(const struct inst *in);

/* inst_remove(in): the directories, which must be empty. */
int inst_remove(const struct inst *in);

#endif
