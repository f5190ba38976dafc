/* SPDX-License-Identifier: GPL-2.0-only */
/* A resident policy image (struct fw_arena) as its readers see it. It is data from a map, so nothing in it is trusted. */
#ifndef FW_KERN_SLOT_H
#define FW_KERN_SLOT_H

#include <stddef.h>

#include "bpf/tables_abi.h"
#include "kern_view.h"

struct slot_view {
	const struct fw_arena *arena; /* shared memory of ${bytes} bytes, read-only; NULL: none */
	size_t bytes;
};

/* slot_open(s, v, slot): map the image in ${slot}. 0, also when the slot is empty or holds no image of this ABI, which
 * leaves ${s->arena} NULL; or -1 with errno. A loader may give the slot another image: this one stays as it is. */
int slot_open(struct slot_view *s, const struct view *v, uint32_t slot);

/* slot_open_header(s, v, slot): as slot_open(), but only the first page: struct fw_arena, not what its offsets lead to.
 * An image can have half a gigabyte, and the kernel maps all of it at once. */
int slot_open_header(struct slot_view *s, const struct view *v, uint32_t slot);

/* slot_map_header(s, fd): the same of the image map ${fd}, which can be closed then. */
int slot_map_header(struct slot_view *s, int fd);

/* The image in a slot is pinned, too, for who may not open maps by their ids (that takes CAP_SYS_ADMIN). */
#define SLOT_PIN "arena"

/* slot_image_fd(dir, arenas, slot): the image map in ${slot} of the map ${arenas}: an fd, or -1 with errno; ENOENT for an
 * empty slot and for an image that was replaced meanwhile. ${dir} is the instance's directory. The fd is read-only if the
 * caller may no more than read. */
int slot_image_fd(int dir, int arenas, uint32_t slot);

/* slot_close(s): unmap; harmless on {} and twice. */
void slot_close(struct slot_view *s);

/* slot_rate(s, id, rate): a copy of the rate limit of the rule with counter id ${id}; false if it has none. */
bool slot_rate(const struct slot_view *s, uint32_t id, struct fw_rate *rate);

#endif
