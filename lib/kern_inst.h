/* SPDX-License-Identifier: GPL-2.0-only */
/* An instance as its writer sees it: the pin directory /sys/fs/bpf/fw/INSTANCE with maps, progs and links in it,
 * made root-only, verified and locked. ($FW_BPFFS overrides /sys/fs/bpf.) */
#ifndef FW_KERN_INST_H
#define FW_KERN_INST_H

#include <stdbool.h>
#include <stdint.h>

#define INST_PATH_MAX 512

struct inst {
	const char *name;
	char path[INST_PATH_MAX - 128]; /* of the instance's directory */
	int dir;			/* locked */
};
#define INST_NONE { .dir = -1 }

/* inst_open(in, name, create): ${in} for instance ${name}; its directories are made when missing and ${create}
 * is set. Refused: a name that isn't one, no bpf file system, a directory that is not root's or that others can
 * write. 0, or an exit status after complaining; EXIT_JUDGED, silently, if there is no such instance. */
int inst_open(struct inst *in, const char *name, bool create);

/* inst_lock(in, ms): take the writers' lock, waiting up to ${ms} milliseconds. 0, EXIT_BUSY or EXIT_SYSTEM after
 * complaining. */
int inst_lock(struct inst *in, unsigned int ms);

void inst_close(struct inst *in);

/* inst_pin(in, buf, fmt, ...): path of a pin, "maps/control" for one. Returns ${buf}. */
const char *inst_pin(const struct inst *in, char buf[INST_PATH_MAX], const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* inst_empty(in, sub): unlink every pin in the directory ${sub} ("maps"), and directories in it. */
int inst_empty(const struct inst *in, const char *sub);

/* inst_remove(in): the directories, which must be empty. */
int inst_remove(const struct inst *in);

/* now_boot_ms(): CLOCK_BOOTTIME. */
uint64_t now_boot_ms(void);

#endif
