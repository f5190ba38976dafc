/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_slot.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(sizeof(struct fw_arena) <= 4096, "the header is read from the first page");

/* pinned_image(dir, slot): an fd, or -1 with errno. Writable if possible, because the kernel maps no memory of a read-only
 * one. */
static int pinned_image(int dir, uint32_t slot)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = 0);
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/maps/" SLOT_PIN "%u", dir, slot);
	fd = bpf_obj_get_opts(path, &opts);
	if (fd >= 0 || errno != EACCES)
		return fd;
	opts.file_flags = BPF_F_RDONLY;
	return bpf_obj_get_opts(path, &opts);
}

int slot_image_fd(int dir, int arenas, uint32_t slot)
{
	struct bpf_map_info info = {};
	uint32_t id, len = sizeof(info);
	int fd;

	if (bpf_obj_get_info_by_fd(arenas, &info, &len))
		return -1;
	if (info.key_size != sizeof(slot) || info.value_size != sizeof(id)) {
		errno = EINVAL; /* a look-up would write past ${id} */
		return -1;
	}
	if (bpf_map_lookup_elem(arenas, &slot, &id))
		return -1;
	len = sizeof(info);
	fd = pinned_image(dir, slot);
	/* the pin may be of another moment: what is in the slot counts */
	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) && info.id == id)
		return fd;
	if (fd >= 0)
		close(fd);
	return bpf_map_get_fd_by_id(id);
}

/* copy_image(fd, size): what can't be mapped, in memory that munmap() frees; MAP_FAILED with errno. */
static void *copy_image(int fd, size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t zero = 0;
	int err;

	if (mem == MAP_FAILED || !bpf_map_lookup_elem(fd, &zero, mem))
		return mem;
	err = errno;
	munmap(mem, size);
	errno = err;
	return MAP_FAILED;
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
	if (mem == MAP_FAILED && errno == EINVAL) {
		bytes = (info.value_size + 7ul) & ~7ul; /* the kernel copies in units of 8 bytes */
		mem = copy_image(fd, bytes);
	}
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
	fd = arenas < 0 ? -1 : slot_image_fd(v->dir, arenas, slot);
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
