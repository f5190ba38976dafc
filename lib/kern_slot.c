/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_slot.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

uint32_t slot_active(const struct view *v)
{
	uint64_t word = v->control->word, deadline = FW_WORD_DEADLINE(word);
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	if (deadline && (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000 >= deadline)
		return FW_WORD_FALLBACK(word);
	return FW_WORD_ACTIVE(word);
}

/* image_fd(v, slot): -1 with errno; ENOENT for an empty slot and for one that was replaced meanwhile. */
static int image_fd(const struct view *v, uint32_t slot)
{
	int outer = view_map(v, "arenas", 0, NULL), fd = -1, err;
	uint32_t id;

	if (outer < 0)
		return -1;
	if (!bpf_map_lookup_elem(outer, &slot, &id))
		fd = bpf_map_get_fd_by_id(id); /* writable, because the kernel maps no memory of a read-only one */
	err = errno;
	close(outer);
	errno = err;
	return fd;
}

int slot_open(struct slot_view *s, const struct view *v, uint32_t slot)
{
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info);
	void *mem = MAP_FAILED;
	int fd;

	*s = (struct slot_view){};
	fd = slot ? image_fd(v, slot) : -1;
	if (fd < 0)
		return !slot || errno == ENOENT ? 0 : -1;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len)) {
		errno = EINVAL;
		if (info.type == BPF_MAP_TYPE_ARRAY && info.max_entries == 1 && info.value_size >= sizeof(struct fw_arena))
			mem = mmap(NULL, info.value_size, PROT_READ, MAP_SHARED, fd, 0);
	}
	close(fd);
	if (mem == MAP_FAILED)
		return -1;
	*s = (struct slot_view){.arena = mem, .bytes = info.value_size};
	if (s->arena->magic != FW_ARENA_MAGIC || s->arena->abi != FW_ABI)
		slot_close(s);
	return 0;
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
