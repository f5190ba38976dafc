/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_gauge.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bpf/tables_abi.h"
#include "diag.h"

/* read_header(fd, s): from the first page of the image, whose size can be half a gigabyte. */
static int read_header(int fd, struct slot_gauge *s)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const struct fw_arena *a = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);

	if (a == MAP_FAILED)
		return -1;
	/* zero: a slot that was never filled */
	if (a->magic == FW_ARENA_MAGIC && a->abi == FW_ABI) {
		s->generation = a->generation;
		s->used = a->size;
	}
	munmap((void *)(uintptr_t)a, page);
	return 0;
}

/* read_slot(g, arenas, slot): 0 also for an empty slot. */
static int read_slot(struct gauges *g, int arenas, uint32_t slot)
{
	struct slot_gauge *s = &g->slots[g->n_slots];
	struct bpf_map_info info = {};
	uint32_t id, len = sizeof(info);
	int fd, err;

	if (bpf_map_lookup_elem(arenas, &slot, &id))
		return errno == ENOENT ? 0 : -1;
	fd = bpf_map_get_fd_by_id(id); /* writable, because the kernel maps no memory of a read-only one */
	if (fd < 0)
		return errno == ENOENT ? 0 : -1; /* replaced meanwhile */
	*s = (struct slot_gauge){.slot = slot};
	err = bpf_obj_get_info_by_fd(fd, &info, &len) || read_header(fd, s);
	if (!err) {
		s->size = info.value_size;
		s->memory = map_memory(fd);
		g->memory += s->memory;
		g->n_slots++;
		if (slot == g->active)
			g->generation = s->generation;
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
		err = read_slot(g, fd, slot);
		if (err)
			complain("cannot read slot %u of instance %s: %m", slot, v->instance);
	}
	close(fd);
	return err;
}
