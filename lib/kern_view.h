/* SPDX-License-Identifier: GPL-2.0-only */
/* A loaded instance as its readers see it: pinned maps opened by directory fds, nothing changed, nothing
 * locked. Pins are found below $FW_BPFFS (default /sys/fs/bpf) in fw/INSTANCE/maps. */
#ifndef FW_KERN_VIEW_H
#define FW_KERN_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/fw_abi.h"
#include "meta.h"
#include "stat_word.h"

#define INSTANCE_DEFAULT "default"
#define INSTANCE_NAME_MAX 63

/* bpffs_root(): where the bpf file system is looked for: $FW_BPFFS, or /sys/fs/bpf. */
const char *bpffs_root(void);

/* instance_name_ok(s): letters, digits, '_' and '-' (bpffs allows no dots), at most INSTANCE_NAME_MAX. */
bool instance_name_ok(const char *s);

struct view {
	char instance[INSTANCE_NAME_MAX + 1];
	int dir;				   /* directory of the instance (O_PATH) */
	int maps;				   /* directory "maps" in it (O_PATH) */
	/* what view_control() gives: shared memory, or for who may only read a copy; NULL in views without these maps */
	const volatile struct fw_control *control;
	int copied; /* the map it is a copy of, or -1 */
	struct fw_readers *readers; /* shared memory; written only with VIEW_READER and only by atomics */
};
#define VIEW_NONE                                                                                            \
	{                                                                                                    \
		.dir = -1, .maps = -1, .copied = -1                                                          \
	}

enum view_use {
	VIEW_WATCH,  /* everything read-only */
	VIEW_READER, /* the readers map may be written, to claim a ring */
};

/* What a map is; a copy of the kernel's answer, so that callers need no libbpf. */
struct map_facts {
	uint32_t type, key_size, value_size, max_entries, flags, id;
};

/* view_open(v, instance, use): open and check: a bpf file system, directories owned by root and writable by
 * nobody else, maps of the expected shape. 0, or an exit status (EXIT_SYSTEM, EXIT_USAGE) after complaining
 * on stderr; ${v} can be closed in any case. */
int view_open(struct view *v, const char *instance, enum view_use use);

/* view_close(v): unmap and close; harmless on VIEW_NONE and twice. */
void view_close(struct view *v);

/* view_gone(v): the instance was unloaded (its pin directory is no longer in the file system). */
int view_gone(const struct view *v);

/* view_lacks(instance): the name below the instance's directory of a pin that every loaded instance has and this one has
 * not ("maps/control"); NULL: all are there, or the instance is not. Complains of nothing. */
const char *view_lacks(const char *instance);

/* view_control(v): the control map as it is at this moment. */
const volatile struct fw_control *view_control(const struct view *v);

/* view_word(v): what the control word says at this moment. */
struct word_view view_word(const struct view *v);

/* view_meta(v, why): a fresh copy of the names of what decides now, the caller's to meta_free(). NULL with a text in
 * ${*why} (static, or strerror's); that text is view_unfiltered when there is no such policy. */
struct meta *view_meta(const struct view *v, const char **why);
extern const char view_unfiltered[];

/* view_meta_slot(v, slot, why): the same of the generation in ${slot}, 0 included. */
struct meta *view_meta_slot(const struct view *v, uint32_t slot, const char **why);

/* view_map(v, name, writable, facts): the pinned map maps/${name} ("counters", "ring0/events"); an fd
 * (close-on-exec) or -1 with errno. ${facts} may be NULL. */
int view_map(const struct view *v, const char *name, int writable, struct map_facts *facts);

#endif
