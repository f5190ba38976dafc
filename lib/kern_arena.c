/* SPDX-License-Identifier: GPL-2.0-only */
/* Generations: arenas in slots and the control word. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kern_gauge.h"
#include "kern_load.h"
#include "kern_slot.h"
#include "tables_build.h"

void kern_init(struct kern *k, struct inst *in)
{
	kern_listen();
	memset(k, 0, sizeof(*k));
	k->in = in;
	for (int i = 0; i < KP_COUNT; i++)
		k->progs[i] = k->old_progs[i] = -1;
	for (int i = 0; i < KM_COUNT; i++)
		k->maps[i] = -1;
	for (int i = 0; i < FW_RINGS; i++)
		k->rings[i] = -1;
	for (int i = 0; i < FW_SLOTS; i++)
		k->copies[i] = -1;
	k->new_arena = k->new_meta = k->old_arenas = k->old_flows = -1;
}

/* The arena map in ${slot} of ${arenas}: fd or -1; its size in ${*bytes}. */
static int arena_in_slot(const struct kern *k, int arenas, __u32 slot, size_t *bytes)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);
	int fd = slot_image_fd(k->in->dir, arenas, slot);

	if (fd < 0)
		return -1;
	if (bpf_obj_get_info_by_fd(fd, &info, &len)) {
		close(fd);
		return -1;
	}
	*bytes = info.value_size;
	return fd;
}

static void *map_arena(int fd, size_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

int kern_read_active(struct kern *k)
{
	size_t bytes;
	void *mem;
	int fd;

	free(k->active);
	k->active = NULL;
	k->meta = k->metas[k->slot];
	if (!k->slot)
		return 0;
	fd = arena_in_slot(k, k->maps[KM_ARENAS], k->slot, &bytes);
	mem = fd >= 0 ? map_arena(fd, bytes, PROT_READ) : NULL;
	if (fd >= 0)
		close(fd);
	if (!mem) {
		complain("cannot read the active tables of instance %s: %s", k->in->name, strerror(errno));
		return EXIT_SYSTEM;
	}
	k->arena_bytes = bytes;
	k->active = xalloc(1, sizeof(*k->active));
	memcpy(k->active, mem, sizeof(*k->active));
	munmap(mem, bytes);
	return 0;
}

/* What is there is in use if its control word says so: then nothing may be missing. What a first load that was killed has
 * left is not. */
static int forget_unfinished(struct kern *k, enum kern_map missing)
{
	char path[INST_PATH_MAX];

	if (k->maps[KM_CONTROL] >= 0) {
		if (kern_check_map(k, KM_CONTROL) || kern_word_open(k))
			return EXIT_JUDGED;
		if (k->control->word) {
			complain("%s is missing, but in use: loaded by another version of fw, or damaged; load anew by --upgrade "
				 "POLICY, or --unload",
				 inst_pin(k->in, path, "maps/%s", kern_map_name(missing)));
			return EXIT_JUDGED;
		}
	}
	kern_forget(k);
	return 0;
}

void kern_forget(struct kern *k)
{
	for (int i = 0; i < KM_COUNT; i++) {
		if (k->maps[i] >= 0)
			close(k->maps[i]);
		k->maps[i] = -1;
	}
	if (k->control)
		munmap(k->control, sizeof(*k->control));
	k->control = NULL;
	k->slot = k->word = 0;
}

static int open_maps(struct kern *k, enum kern_map *missing)
{
	char path[INST_PATH_MAX];

	*missing = KM_COUNT;
	for (int i = 0; i < KM_COUNT; i++) {
		k->maps[i] = inst_get(k->in, inst_pin(k->in, path, "maps/%s", kern_map_name(i)));
		if (k->maps[i] >= 0)
			continue;
		if (errno != ENOENT) {
			complain("cannot open %s: %s", path, strerror(errno));
			return EXIT_SYSTEM;
		}
		if (*missing == KM_COUNT)
			*missing = i;
	}
	return 0;
}

int kern_open(struct kern *k)
{
	char path[INST_PATH_MAX];
	enum kern_map missing;
	int err = open_maps(k, &missing);

	for (int i = 0; i < KP_COUNT; i++)
		k->progs[i] = inst_get(k->in, inst_pin(k->in, path, "progs/%s", kern_program_name(i)));
	if (err || missing != KM_COUNT)
		return err ? err : forget_unfinished(k, missing);
	kern_drop_stale(k);
	for (int i = 0; !err && i < KM_COUNT; i++)
		if (i != KM_FLOWS)
			err = kern_check_map(k, i);
	if (!err)
		err = kern_flows_open(k);
	if (!err)
		err = kern_check_map(k, KM_FLOWS);
	if (!err)
		err = kern_word_open(k);
	if (err)
		return err;
	kern_word_read(k);
	if (k->word && k->control->abi != FW_ABI) {
		complain("instance %s is of another version of fw (ABI %u; this is %u): load anew by --upgrade POLICY, or --unload",
			 k->in->name, k->control->abi, FW_ABI);
		return EXIT_JUDGED;
	}
	err = kern_open_metas(k);
	return err ? err : kern_read_active(k);
}

static int make_arena(size_t bytes)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY, "fw_arena", sizeof(__u32), bytes, 1, &opts);
}

/* A new arena map with the first ${len} bytes from ${data}. */
static int fill_arena(const void *data, size_t len, size_t bytes)
{
	int fd = make_arena(bytes);
	void *mem;

	if (fd < 0)
		return -1;
	mem = map_arena(fd, bytes, PROT_READ | PROT_WRITE);
	if (!mem) {
		close(fd);
		return -1;
	}
	memcpy(mem, data, len);
	munmap(mem, bytes);
	return fd;
}

/* The generation in ${slot}, into the new slots map of another size class. */
static int copy_slot(struct kern *k, __u32 slot, size_t bytes)
{
	size_t old_bytes;
	int old, fd = -1;
	struct fw_arena *mem = NULL;

	old = arena_in_slot(k, k->old_arenas, slot, &old_bytes);
	if (old >= 0)
		mem = map_arena(old, old_bytes, PROT_READ);
	if (mem && mem->size <= old_bytes && mem->size <= bytes)
		fd = fill_arena(mem, mem->size, bytes);
	if (mem)
		munmap(mem, old_bytes);
	if (old >= 0)
		close(old);
	if (fd >= 0 && !bpf_map_update_elem(k->maps[KM_ARENAS], &slot, &fd, 0)) {
		k->copies[slot] = fd;
		return 0;
	}
	complain("cannot copy the tables in slot %u: %s", slot, strerror(errno));
	if (fd >= 0)
		close(fd);
	return EXIT_SYSTEM;
}

static int copy_resident(struct kern *k, size_t bytes)
{
	__u32 slots[] = { FW_WORD_ACTIVE(k->word), FW_WORD_FALLBACK(k->word), FW_WORD_CANDIDATE(k->word) };
	int err = 0;

	for (size_t i = 0; !err && k->old_arenas >= 0 && i < sizeof(slots) / sizeof(*slots); i++)
		if (slots[i])
			err = copy_slot(k, slots[i], bytes);
	return err;
}

int kern_stage(struct kern *k, const struct image *im)
{
	size_t bytes = k->stage_bytes;
	int err = 0;

	if (k->fresh_maps[KM_ARENAS])
		err = copy_resident(k, bytes);
	if (err)
		return err;
	k->new_slot = kern_slot_free(k);
	/* Should something be left in it: programs that still run there are done when this returns. */
	bpf_map_delete_elem(k->maps[KM_ARENAS], &k->new_slot);
	k->new_arena = fill_arena(im->data, im->size, bytes);
	if (k->new_arena < 0 || bpf_map_update_elem(k->maps[KM_ARENAS], &k->new_slot, &k->new_arena, 0)) {
		complain("cannot place the tables (%zu bytes): %s", bytes, strerror(errno));
		return EXIT_SYSTEM;
	}
	k->new_generation = ((const struct fw_arena *)im->data)->generation;
	k->staged = true;
	return 0;
}

int kern_stage_meta(struct kern *k, const void *meta, size_t len)
{
	__u32 zero = 0;

	k->new_meta = bpf_map_create(BPF_MAP_TYPE_ARRAY, "fw_meta", sizeof(__u32), len, 1, NULL);
	if (k->new_meta >= 0 && !bpf_map_update_elem(k->new_meta, &zero, meta, 0))
		return 0;
	complain("cannot store the policy's names (%zu bytes): %s", len, strerror(errno));
	return EXIT_SYSTEM;
}

void kern_undo(struct kern *k)
{
	char path[INST_PATH_MAX];

	if (k->partial)
		kern_partial(k, k->slot, false);
	kern_repair(k);
	if (!k->staged)
		return;
	if (!k->fresh_maps[KM_ARENAS])
		bpf_map_delete_elem(k->maps[KM_ARENAS], &k->new_slot);
	inst_unlink(k->in, inst_pin(k->in, path, "maps/meta%u", k->new_slot));
	inst_unlink(k->in, inst_pin(k->in, path, "maps/" SLOT_PIN "%u", k->new_slot));
}

void kern_close(struct kern *k)
{
	if (k->control)
		munmap(k->control, sizeof(*k->control));
	for (int i = 0; i < KP_COUNT; i++) {
		if (k->progs[i] >= 0)
			close(k->progs[i]);
		if (k->old_progs[i] >= 0)
			close(k->old_progs[i]);
	}
	for (int i = 0; i < KM_COUNT; i++)
		if (k->maps[i] >= 0)
			close(k->maps[i]);
	for (int i = 0; i < FW_RINGS; i++)
		if (k->rings[i] >= 0)
			close(k->rings[i]);
	for (int i = 0; i < FW_SLOTS; i++)
		if (k->copies[i] >= 0)
			close(k->copies[i]);
	if (k->new_arena >= 0)
		close(k->new_arena);
	if (k->new_meta >= 0)
		close(k->new_meta);
	if (k->old_arenas >= 0)
		close(k->old_arenas);
	if (k->old_flows >= 0)
		close(k->old_flows);
	free(k->active);
	for (int i = 0; i < FW_SLOTS; i++)
		meta_free(k->metas[i]);
	kern_skeleton_free(k);
	kern_init(k, k->in);
}

size_t kern_state_memory(const struct kern *k)
{
	size_t bytes = 0;

	for (int i = 0; i < KM_COUNT; i++)
		if (k->maps[i] >= 0)
			bytes += map_memory(k->maps[i]);
	return bytes;
}
