/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_slot.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "stat_gauge.h"

_Static_assert(sizeof(struct fw_arena) <= 4096, "the header is read from the first page");

uint32_t slot_active(const struct view *v)
{
	struct gauges g = {};
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	gauges_word(&g, v->control->word, (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000);
	return g.active;
}

int slot_image_fd(int arenas, uint32_t slot)
{
	uint32_t id;

	if (bpf_map_lookup_elem(arenas, &slot, &id))
		return -1;
	return bpf_map_get_fd_by_id(id); /* writable, because the kernel maps no memory of a read-only one */
}

/* map_image(s, fd, most): at most ${most} bytes of it. */
static int map_image(struct slot_view *s, int fd, size_t most)
{
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info);
	size_t bytes;
	void *mem;

	*s = (struct slot_view){};
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -1;
	if (info.type != BPF_MAP_TYPE_ARRAY || info.max_entries != 1 || info.value_size < sizeof(struct fw_arena)) {
		errno = EINVAL;
		return -1;
	}
	bytes = info.value_size < most ? info.value_size : most;
	mem = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		return -1;
	*s = (struct slot_view){.arena = mem, .bytes = bytes};
	if (s->arena->magic != FW_ARENA_MAGIC || s->arena->abi != FW_ABI)
		slot_close(s);
	return 0;
}

static int open_image(struct slot_view *s, const struct view *v, uint32_t slot, size_t most)
{
	int arenas, fd, err;

	*s = (struct slot_view){};
	if (!slot)
		return 0;
	arenas = view_map(v, "arenas", 0, NULL);
	fd = arenas < 0 ? -1 : slot_image_fd(arenas, slot);
	err = fd < 0 || map_image(s, fd, most) ? errno : 0;
	if (fd < 0 && err == ENOENT)
		err = 0;
	if (fd >= 0)
		close(fd);
	if (arenas >= 0)
		close(arenas);
	errno = err;
	return err ? -1 : 0;
}

int slot_open(struct slot_view *s, const struct view *v, uint32_t slot)
{
	return open_image(s, v, slot, SIZE_MAX);
}

int slot_open_header(struct slot_view *s, const struct view *v, uint32_t slot)
{
	return open_image(s, v, slot, (size_t)sysconf(_SC_PAGESIZE));
}

int slot_map_header(struct slot_view *s, int fd)
{
	return map_image(s, fd, (size_t)sysconf(_SC_PAGESIZE));
}

void slot_close(struct slot_view *s)
{
	if (s->arena)
		munmap((void *)(uintptr_t)s->arena, s->bytes);
	*s = (struct slot_view){};
}

bool slot_rate(const struct slot_view *s, uint32_t id, struct fw_rate *rate)
{
	const uint8_t *base = (const uint8_t *)s->arena;
	uint64_t row;
	uint32_t at;

	if (!base || id >= s->arena->n_ids)
		return false;
	row = s->arena->by_id + 4ull * id;
	if (row + sizeof(at) > s->bytes)
		return false;
	memcpy(&at, base + row, sizeof(at));
	if (!at || (uint64_t)at + sizeof(*rate) > s->bytes)
		return false;
	memcpy(rate, base + at, sizeof(*rate));
	return true;
}
