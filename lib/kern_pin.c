/* SPDX-License-Identifier: GPL-2.0-only */
/* Pins of maps, programs and the meta blob. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kern_load.h"
#include "kern_slot.h"

static const char *const map_pins[KM_COUNT] = {
	[KM_CONTROL] = "control", [KM_ARENAS] = "arenas",   [KM_COUNTERS] = "counters",
	[KM_LOG_LIMITS] = "log_limits", [KM_RINGS] = "rings", [KM_READERS] = "readers",
	[KM_LIMITS] = "limits",	  [KM_FLOWS] = "flows",	    [KM_FLOW_HEAD] = "flow_head",
	[KM_STATE_STATS] = "state_stats", [KM_AUDIT_STATS] = "audit_stats",
};

const char *kern_map_name(enum kern_map m)
{
	return map_pins[m];
}

/* The blob in a meta map; NULL with a reason, and errno if that is the system's. */
static struct meta *read_meta(int fd, const char **why)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info), zero = 0;
	void *blob;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return NULL;
	errno = 0;
	*why = "not a meta map";
	if (info.type != BPF_MAP_TYPE_ARRAY || info.max_entries != 1 || info.key_size != sizeof(zero))
		return NULL;
	blob = calloc(1, (info.value_size + 8ul) & ~7ul); /* the kernel copies in units of 8 bytes */
	if (blob && !bpf_map_lookup_elem(fd, &zero, blob)) {
		errno = 0;
		return meta_parse(blob, info.value_size, why);
	}
	free(blob);
	return NULL;
}

/* Of the active generation it must be there, or who says what decides? */
static int no_meta(const char *path, const char *why)
{
	if (errno && errno != ENOENT) {
		complain("cannot read %s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	complain("%s: %s: loaded by another version of fw, or damaged; load anew by --upgrade POLICY, or --unload", path,
		 errno ? strerror(errno) : why);
	return EXIT_JUDGED;
}

int kern_open_metas(struct kern *k)
{
	__u32 slots[] = { FW_WORD_ACTIVE(k->word), FW_WORD_FALLBACK(k->word), FW_WORD_CANDIDATE(k->word) };
	char path[INST_PATH_MAX];
	const char *why = NULL;
	int fd, err = 0;

	for (size_t i = 0; i < sizeof(slots) / sizeof(*slots); i++) {
		if (!slots[i] || slots[i] >= FW_SLOTS)
			continue;
		fd = inst_get(k->in, inst_pin(k->in, path, "maps/meta%u", slots[i]));
		k->metas[slots[i]] = fd < 0 ? NULL : read_meta(fd, &why);
		if (!k->metas[slots[i]] && slots[i] == k->slot)
			err = no_meta(path, why);
		if (fd >= 0)
			close(fd);
		if (err)
			return err;
	}
	k->meta = k->metas[k->slot];
	return 0;
}

/* What the programs of this build expect of a pinned map. */
static const struct map_shape {
	__u32 type, value_size, key_size, entries; /* entries: at least */
} map_shapes[KM_COUNT] = {
	[KM_CONTROL] = { BPF_MAP_TYPE_ARRAY, sizeof(struct fw_control), sizeof(__u32), 1 },
	[KM_ARENAS] = { BPF_MAP_TYPE_ARRAY_OF_MAPS, sizeof(__u32), sizeof(__u32), FW_SLOTS },
	[KM_COUNTERS] = { BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct fw_counter), sizeof(__u32), FW_RULE_ID_FIRST },
	[KM_LOG_LIMITS] = { BPF_MAP_TYPE_ARRAY, sizeof(struct fw_log_limit), sizeof(__u32), FW_RULE_ID_FIRST },
	[KM_RINGS] = { BPF_MAP_TYPE_ARRAY_OF_MAPS, sizeof(__u32), sizeof(__u32), FW_RINGS },
	[KM_READERS] = { BPF_MAP_TYPE_ARRAY, sizeof(struct fw_readers), sizeof(__u32), 1 },
	[KM_LIMITS] = { BPF_MAP_TYPE_LRU_HASH, sizeof(__u64), sizeof(struct fw_limit_key), 1 },
	[KM_FLOWS] = { BPF_MAP_TYPE_ARRAY, sizeof(struct fw_flow_bucket), sizeof(__u32), 1 },
	[KM_FLOW_HEAD] = { BPF_MAP_TYPE_ARRAY, sizeof(struct fw_flow_head), sizeof(__u32), 1 },
	[KM_STATE_STATS] = { BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct fw_state_stats), sizeof(__u32), 1 },
	[KM_AUDIT_STATS] = { BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(struct fw_audit_stats), sizeof(__u32), 1 },
};

int kern_check_map(const struct kern *k, enum kern_map m)
{
	const struct map_shape *want = &map_shapes[m];
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);
	char path[INST_PATH_MAX];

	if (!bpf_obj_get_info_by_fd(k->maps[m], &info, &len) && info.type == want->type &&
	    info.value_size == want->value_size && info.key_size == want->key_size && info.max_entries >= want->entries &&
	    (m != KM_FLOWS || info.max_entries == k->flow_head.n_buckets))
		return 0;
	inst_pin(k->in, path, "maps/%s", map_pins[m]);
	if (m == KM_FLOWS && info.type == want->type && info.value_size == want->value_size)
		complain("%s has %u buckets, its head says %u: damaged; load anew by --upgrade POLICY, or --unload", path,
			 info.max_entries, k->flow_head.n_buckets);
	else
		complain("%s: map type %u, key %u bytes, value %u, %u entries; this fwload has type %u, %u, %u, at least %u: loaded by "
			 "another version of fw; load anew by --upgrade POLICY, or --unload", path, info.type, info.key_size,
			 info.value_size, info.max_entries, want->type, want->key_size, want->value_size, want->entries);
	return EXIT_JUDGED;
}

/* ---- pins are replaced together ---- */

/* All are made under temporary names; when the last is there this mark says so, and they are renamed. A process that is
 * killed before leaves names that nobody asks for; one that is killed later, work for the next one to finish. */
#define MARK "maps/renaming"

#define PINS_MAX (2 * FW_RINGS + KM_COUNT + KP_COUNT + FW_SLOTS + 1)

struct pins {
	struct pin {
		char dir[24], name[24]; /* below the instance's directory */
		int fd;			/* what is to be pinned; borrowed */
		int old;		/* what was pinned there, or -1 */
	} list[PINS_MAX];
	size_t n;
};

static void add_pin(struct pins *p, int fd, const char *dir, const char *name)
{
	struct pin *one = &p->list[p->n];

	if (fd < 0)
		return;
	one->fd = fd;
	one->old = -1;
	snprintf(one->dir, sizeof(one->dir), "%s", dir);
	snprintf(one->name, sizeof(one->name), "%s", name);
	p->n++;
}

/* Everything that this load has made. */
static void list_pins(const struct kern *k, struct pins *p)
{
	char name[24];

	p->n = 0;
	for (int i = 0; i < FW_RINGS; i++) {
		snprintf(name, sizeof(name), "maps/" FW_RING_DIR, i);
		add_pin(p, k->rings[i], name, "events");
	}
	for (int i = 0; i < KM_COUNT; i++)
		if (k->fresh_maps[i])
			add_pin(p, k->maps[i], "maps", map_pins[i]);
	for (int i = 0; k->skel && i < KP_COUNT; i++)
		add_pin(p, k->progs[i], "progs", kern_program_name(i));
	/* images by their slots, for slot_image_fd() */
	for (__u32 slot = 1; slot < FW_SLOTS; slot++) {
		snprintf(name, sizeof(name), SLOT_PIN "%u", slot);
		add_pin(p, k->staged && slot == k->new_slot ? k->new_arena : k->copies[slot], "maps", name);
	}
	snprintf(name, sizeof(name), "meta%u", k->staged ? k->new_slot : k->slot);
	add_pin(p, k->new_meta, "maps", name);
}

static int make_ring_dirs(const struct kern *k)
{
	char path[INST_PATH_MAX];
	int err = 0;

	for (int i = 0; !err && i < FW_RINGS; i++) {
		if (k->rings[i] < 0)
			continue;
		inst_pin(k->in, path, "maps/" FW_RING_DIR, i);
		if (!inst_mkdir(k->in, path) || errno == EEXIST) {
			err = inst_lend(k->in, path, true);
			continue;
		}
		complain("cannot make %s: %s", path, strerror(errno));
		err = EXIT_SYSTEM;
	}
	return err;
}

static int pin_temporary(const struct kern *k, const struct pin *p, int fd)
{
	char temp[INST_PATH_MAX];

	inst_unlink(k->in, inst_pin(k->in, temp, "%s/%s_new", p->dir, p->name));
	if (!inst_put(k->in, fd, temp))
		return inst_lend(k->in, temp, false);
	complain("cannot pin %s: %s", temp, strerror(errno));
	return EXIT_SYSTEM;
}

static int pin_rename(const struct kern *k, const struct pin *p)
{
	char path[INST_PATH_MAX], temp[INST_PATH_MAX];

	inst_pin(k->in, path, "%s/%s", p->dir, p->name);
	if (!inst_rename(k->in, inst_pin(k->in, temp, "%s/%s_new", p->dir, p->name), path))
		return 0;
	complain("cannot rename %s: %s", temp, strerror(errno));
	return EXIT_SYSTEM;
}

/* The first ${n} have been renamed, and the next could not be. */
static void pins_back(struct kern *k, const struct pins *p, size_t n)
{
	char path[INST_PATH_MAX];

	for (size_t i = 0; i < n; i++) {
		const struct pin *one = &p->list[i];

		if (one->old < 0)
			inst_unlink(k->in, inst_pin(k->in, path, "%s/%s", one->dir, one->name));
		else if (!pin_temporary(k, one, one->old))
			pin_rename(k, one);
	}
	inst_unlink(k->in, inst_pin(k->in, path, MARK));
	kern_repair(k); /* the others' temporary names */
}

static int rename_all(struct kern *k, struct pins *p)
{
	char mark[INST_PATH_MAX], path[INST_PATH_MAX];
	int err = 0;
	size_t n;

	for (size_t i = 0; i < p->n; i++)
		p->list[i].old = inst_get(k->in, inst_pin(k->in, path, "%s/%s", p->list[i].dir, p->list[i].name));
	if (inst_put(k->in, k->maps[KM_CONTROL], inst_pin(k->in, mark, MARK)) && errno != EEXIST) {
		complain("cannot pin %s: %s", mark, strerror(errno));
		return EXIT_SYSTEM;
	}
	for (n = 0; !err && n < p->n; n++)
		err = pin_rename(k, &p->list[n]);
	if (err)
		pins_back(k, p, n - 1);
	else
		inst_unlink(k->in, mark);
	return err;
}

int kern_pin(struct kern *k)
{
	char path[INST_PATH_MAX];
	struct pins p;
	int err = make_ring_dirs(k);

	list_pins(k, &p);
	for (size_t i = 0; !err && i < p.n; i++)
		err = pin_temporary(k, &p.list[i], p.list[i].fd);
	if (!err)
		err = rename_all(k, &p);
	/* what this load had no use for is of another build, or of maps that are given up */
	for (int i = 0; !err && k->skel && i < KP_COUNT; i++)
		if (k->progs[i] < 0)
			inst_unlink(k->in, inst_pin(k->in, path, "progs/%s", kern_program_name(i)));
	for (size_t i = 0; i < p.n; i++)
		if (p.list[i].old >= 0)
			close(p.list[i].old);
	return err;
}

/* Temporary names in ${dir}: to be given their own, or not to be at all. */
static void end_temporary(const struct inst *in, const char *dir, bool keep)
{
	char path[INST_PATH_MAX], to[INST_PATH_MAX];
	DIR *d = inst_opendir(in, inst_pin(in, path, "%s", dir));
	struct dirent *e;

	while (d && (e = readdir(d))) {
		int n = (int)strlen(e->d_name) - (int)strlen("_new");

		if (n <= 0 || strcmp(e->d_name + n, "_new"))
			continue;
		inst_pin(in, path, "%s/%s", dir, e->d_name);
		if (!keep || inst_rename(in, path, inst_pin(in, to, "%s/%.*s", dir, n, e->d_name)))
			inst_unlink(in, path);
	}
	if (d)
		closedir(d);
}

void kern_repair(struct kern *k)
{
	char path[INST_PATH_MAX], dir[32];
	int mark = inst_get(k->in, inst_pin(k->in, path, MARK));

	end_temporary(k->in, "maps", mark >= 0);
	end_temporary(k->in, "progs", mark >= 0);
	for (int i = 0; i < FW_RINGS; i++) {
		snprintf(dir, sizeof(dir), "maps/" FW_RING_DIR, i);
		end_temporary(k->in, dir, mark >= 0);
	}
	if (mark < 0)
		return;
	close(mark);
	inst_unlink(k->in, inst_pin(k->in, path, MARK));
}

/* Element 0 of the map pinned for ${slot} is ${m}'s blob. */
static int write_meta(struct kern *k, __u32 slot, const struct meta *m)
{
	char path[INST_PATH_MAX];
	int fd = inst_get(k->in, inst_pin(k->in, path, "maps/meta%u", slot));
	__u32 zero = 0;
	int err = fd < 0 || bpf_map_update_elem(fd, &zero, m->blob, 0);

	if (err)
		complain("cannot write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return err ? EXIT_SYSTEM : 0;
}

int kern_metas_follow(struct kern *k)
{
	int err = 0;

	for (__u32 slot = 1; !err && slot < FW_SLOTS; slot++) {
		/* what has been given up may have left its slot to this load */
		struct meta *m = k->staged && slot == k->new_slot ? NULL : k->metas[slot];

		for (__u32 i = 0; m && i < m->head->n_links; i++) {
			struct fw_meta_link *l = (struct fw_meta_link *)&m->links[i];
			struct target t = { .hook = l->hook, .has_link = l->flags & FW_LINK_HEADER };
			int prog = l->hook < FW_HOOK_COUNT ? k->progs[kern_program_for(&t)] : -1;

			if (prog < 0)
				continue;
			l->prog_id = kern_prog_id(prog);
			kern_prog_tag(prog, l->prog_tag);
		}
		if (m)
			err = write_meta(k, slot, m);
	}
	return err;
}
