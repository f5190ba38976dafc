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
	k->new_arena = k->new_meta = k->meta_fd = k->old_arenas = k->old_flows = -1;
}

int kern_map_word(struct kern *k)
{
	void *p;

	if (k->word)
		return 0;
	p = mmap(NULL, sizeof(struct fw_control), PROT_READ | PROT_WRITE, MAP_SHARED, k->maps[KM_CONTROL], 0);
	if (p == MAP_FAILED) {
		complain("cannot map the control word: %s", strerror(errno));
		return EXIT_SYSTEM;
	}
	k->word = &((struct fw_control *)p)->word;
	return 0;
}

/* The arena map in ${slot} of ${arenas}: fd or -1; its size in ${*bytes}. */
static int arena_in_slot(int arenas, __u32 slot, size_t *bytes)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);
	int fd = slot_image_fd(arenas, slot);

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

static int read_active(struct kern *k)
{
	size_t bytes;
	void *mem;
	int fd;

	k->slot = FW_WORD_ACTIVE(*k->word);
	if (!k->slot)
		return 0;
	fd = arena_in_slot(k->maps[KM_ARENAS], k->slot, &bytes);
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

int kern_open(struct kern *k)
{
	char path[INST_PATH_MAX];
	int err, found = 0;

	for (int i = 0; i < KM_COUNT; i++) {
		k->maps[i] = bpf_obj_get(inst_pin(k->in, path, "maps/%s", kern_map_name(i)));
		if (k->maps[i] >= 0)
			found++;
		else if (errno != ENOENT) {
			complain("cannot open %s: %s", path, strerror(errno));
			return EXIT_SYSTEM;
		}
	}
	for (int i = 0; i < KP_COUNT; i++)
		k->progs[i] = bpf_obj_get(inst_pin(k->in, path, "progs/%s", kern_program_name(i)));
	/* A load that was killed before it was done left some maps: not in use, begin anew. */
	if (found < KM_COUNT) {
		for (int i = 0; i < KM_COUNT; i++) {
			if (k->maps[i] >= 0)
				close(k->maps[i]);
			k->maps[i] = -1;
		}
		return 0;
	}
	err = kern_map_word(k);
	if (!err)
		err = kern_flows_open(k);
	if (!err)
		err = kern_open_meta(k);
	return err ? err : read_active(k);
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

/* The generation that decides now, into the new slots map of another size class. */
static int copy_active(struct kern *k, size_t bytes)
{
	size_t old_bytes;
	int old, fd = -1;
	void *mem = NULL;

	if (!k->slot || k->old_arenas < 0)
		return 0;
	old = arena_in_slot(k->old_arenas, k->slot, &old_bytes);
	if (old >= 0)
		mem = map_arena(old, old_bytes, PROT_READ);
	if (mem)
		fd = fill_arena(mem, k->active->size, bytes);
	if (mem)
		munmap(mem, old_bytes);
	if (old >= 0)
		close(old);
	if (fd >= 0 && !bpf_map_update_elem(k->maps[KM_ARENAS], &k->slot, &fd, 0)) {
		close(fd);
		return 0;
	}
	complain("cannot copy the active tables: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return EXIT_SYSTEM;
}

int kern_stage(struct kern *k, const struct image *im)
{
	size_t bytes = k->stage_bytes;
	int err = 0;

	if (k->fresh_maps[KM_ARENAS])
		err = copy_active(k, bytes);
	if (err)
		return err;
	/* Not the active slot, and not the one before: programs that still run in it are done by then, because
	 * the update of the slot in between waited for them. */
	k->new_slot = k->slot % (FW_SLOTS - 1) + 1;
	k->new_arena = fill_arena(im->data, im->size, bytes);
	if (k->new_arena < 0 || bpf_map_update_elem(k->maps[KM_ARENAS], &k->new_slot, &k->new_arena, 0)) {
		complain("cannot place the tables (%zu bytes): %s", bytes, strerror(errno));
		return EXIT_SYSTEM;
	}
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

/* Compare and swap: under our lock nobody else should write, but the word is not ours alone. */
static void set_word(struct kern *k, __u64 word)
{
	__u64 old = *k->word;

	while (!__atomic_compare_exchange_n((__u64 *)k->word, &old, word, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

void kern_switch(struct kern *k)
{
	set_word(k, k->new_slot);
}

void kern_stop(struct kern *k)
{
	set_word(k, 0);
}

void kern_settle(struct kern *k)
{
	for (__u32 s = 1; s < FW_SLOTS; s++)
		if (s != k->new_slot && s != k->slot)
			bpf_map_delete_elem(k->maps[KM_ARENAS], &s);
}

void kern_undo(struct kern *k)
{
	if (k->staged && !k->fresh_maps[KM_ARENAS])
		bpf_map_delete_elem(k->maps[KM_ARENAS], &k->new_slot);
}

void kern_close(struct kern *k)
{
	if (k->word)
		munmap((void *)(uintptr_t)k->word, sizeof(struct fw_control));
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
	if (k->new_arena >= 0)
		close(k->new_arena);
	if (k->new_meta >= 0)
		close(k->new_meta);
	if (k->meta_fd >= 0)
		close(k->meta_fd);
	if (k->old_arenas >= 0)
		close(k->old_arenas);
	if (k->old_flows >= 0)
		close(k->old_flows);
	free(k->active);
	meta_free(k->meta);
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
