/* SPDX-License-Identifier: GPL-2.0-only */
/* Pins of maps, programs and the meta blob. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kern_load.h"

static const char *const map_pins[KM_COUNT] = {
	[KM_CONTROL] = "control", [KM_ARENAS] = "arenas",   [KM_COUNTERS] = "counters",
	[KM_LOG_LIMITS] = "log_limits", [KM_RINGS] = "rings", [KM_READERS] = "readers",
	[KM_LIMITS] = "limits",	  [KM_FLOWS] = "flows",	    [KM_FLOW_HEAD] = "flow_head",
	[KM_STATE_STATS] = "state_stats",
};

const char *kern_map_name(enum kern_map m)
{
	return map_pins[m];
}

/* The blob in a meta map; NULL with a reason. */
static struct meta *read_meta(int fd, const char **why)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info), zero = 0;
	void *blob = NULL;

	*why = "not a meta map";
	if (!bpf_obj_get_info_by_fd(fd, &info, &len) && info.max_entries == 1)
		blob = malloc(info.value_size + 1);
	if (blob && !bpf_map_lookup_elem(fd, &zero, blob))
		return meta_parse(blob, info.value_size, why);
	free(blob);
	return NULL;
}

int kern_open_meta(struct kern *k)
{
	char path[INST_PATH_MAX];
	const char *why;

	k->meta_fd = bpf_obj_get(inst_pin(k->in, path, "maps/meta"));
	if (k->meta_fd < 0)
		return 0;
	k->meta = read_meta(k->meta_fd, &why);
	if (k->meta)
		return 0;
	complain("%s: %s: loaded by another version of fw? --unload it first", path, why);
	return EXIT_JUDGED;
}

struct meta *kern_meta_previous(struct kern *k)
{
	char path[INST_PATH_MAX];
	const char *why;
	struct meta *m;
	int fd = bpf_obj_get(inst_pin(k->in, path, "maps/meta_previous"));

	if (fd < 0)
		return NULL;
	m = read_meta(fd, &why);
	close(fd);
	return m;
}

/* Pin under a temporary name, then rename: the name always leads to something whole. */
static int pin_over(struct kern *k, int fd, const char *dir, const char *name)
{
	char path[INST_PATH_MAX], temp[INST_PATH_MAX];

	inst_pin(k->in, path, "%s/%s", dir, name);
	unlink(inst_pin(k->in, temp, "%s/%s_new", dir, name));
	if (bpf_obj_pin(fd, temp)) {
		complain("cannot pin %s: %s", temp, strerror(errno));
		return EXIT_SYSTEM;
	}
	if (rename(temp, path)) {
		complain("cannot rename %s: %s", temp, strerror(errno));
		unlink(temp);
		return EXIT_SYSTEM;
	}
	return 0;
}

static int pin_rings(struct kern *k)
{
	char path[INST_PATH_MAX], dir[32];
	int err = 0;

	for (int i = 0; !err && i < FW_RINGS; i++) {
		if (k->rings[i] < 0)
			continue;
		snprintf(dir, sizeof(dir), "maps/" FW_RING_DIR, i);
		if (mkdir(inst_pin(k->in, path, "%s", dir), 0700) && errno != EEXIST) {
			complain("cannot make %s: %s", path, strerror(errno));
			return EXIT_SYSTEM;
		}
		err = pin_over(k, k->rings[i], dir, "events");
	}
	return err;
}

int kern_pin(struct kern *k)
{
	int err = pin_rings(k);

	for (int i = 0; !err && i < KM_COUNT; i++)
		if (k->fresh_maps[i])
			err = pin_over(k, k->maps[i], "maps", map_pins[i]);
	for (int i = 0; !err && k->skel && i < KP_COUNT; i++)
		if (k->progs[i] >= 0)
			err = pin_over(k, k->progs[i], "progs", kern_program_name(i));
	if (!err && k->meta_fd >= 0 && k->staged)
		err = pin_over(k, k->meta_fd, "maps", "meta_previous");
	if (!err)
		err = pin_over(k, k->new_meta, "maps", "meta");
	return err;
}
