/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_gauge.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <unistd.h>

#include "diag.h"
#include "kern_slot.h"

/* read_slot(g, v, arenas, slot): 0 also for an empty slot. */
static int read_slot(struct gauges *g, const struct view *v, int arenas, uint32_t slot)
{
	struct slot_gauge *s = &g->slots[g->n_slots];
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info);
	int fd = slot_image_fd(v->dir, arenas, slot), err;
	struct slot_view header;

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	*s = (struct slot_gauge){.slot = slot};
	err = bpf_obj_get_info_by_fd(fd, &info, &len) || slot_map_header(&header, fd);
	if (!err) {
		if (header.arena) { /* else a slot that was never filled */
			s->generation = header.arena->generation;
			s->used = header.arena->size;
		}
		slot_close(&header);
		s->size = info.value_size;
		s->memory = map_memory(fd);
		g->memory += s->memory;
		g->n_slots++;
	}
	close(fd);
	return err ? -1 : 0;
}

int gauge_slots(struct gauges *g, const struct view *v)
{
	struct map_facts facts;
	int fd = view_map(v, "arenas", 0, &facts), err = 0;

	if (fd < 0) {
		complain("cannot open map arenas of instance %s: %m", v->instance);
		return -1;
	}
	for (uint32_t slot = 1; slot < FW_SLOTS && slot < facts.max_entries && !err; slot++) {
		err = read_slot(g, v, fd, slot);
		if (err)
			complain("cannot read slot %u of instance %s: %m", slot, v->instance);
	}
	close(fd);
	gauges_generations(g);
	return err;
}
