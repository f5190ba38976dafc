/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether the program at a hook is ours, and works on the maps that are pinned here: one that works on others, or on none,
 * judges by what nobody sees. */
#include "kern_gauge_progs.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"

#define MAPS_MAX 64 /* of a program */

/* linux/bpf.h of Debian 12 doesn't have them yet */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS 47

static struct pinned *add(struct pins *p, const char *name, uint32_t id)
{
	struct pinned *to = p->n < PINS_MAX ? &p->list[p->n++] : NULL;

	if (to) {
		snprintf(to->name, sizeof(to->name), "%.31s", name);
		to->id = id;
	}
	return to;
}

void pins_maps(struct pins *p, const struct view *v)
{
	static const char *const names[] = {"control", "arenas", "counters",  "log_limits",  "rings",	     "readers",
					    "limits",  "flows",	 "flow_head", "state_stats", "audit_stats"};
	struct map_facts facts;

	p->n = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		int fd = view_map(v, names[i], 0, &facts);

		if (fd < 0)
			continue;
		add(p, names[i], facts.id);
		close(fd);
	}
}

static uint32_t prog_id(int fd)
{
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

void pins_progs(struct pins *p, const struct view *v)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = 0);
	char path[512];
	struct dirent *e;
	DIR *d;

	p->n = 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/progs", v->dir);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		int fd;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d/progs/%.200s", v->dir, e->d_name);
		fd = bpf_obj_get_opts(path, &opts);
		if (fd < 0)
			continue;
		add(p, e->d_name, prog_id(fd));
		close(fd);
	}
	if (d)
		closedir(d);
}

static const struct pinned *by_id(const struct pins *p, uint32_t id)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->list[i].id == id)
			return &p->list[i];
	return NULL;
}

/* is_pinned(p, hook, id): as one of the programs for ${hook}: of TC there are two, with and without a link header. */
static bool is_pinned(const struct pins *p, uint32_t hook, uint32_t id)
{
	const struct pinned *pin = id ? by_id(p, id) : NULL;
	const char *name = hook < FW_HOOK_COUNT ? hook_name((enum fw_hook)hook) : NULL;
	size_t len = name ? strlen(name) : 0;

	return pin && name && !strncmp(pin->name, name, len) && (!pin->name[len] || !strcmp(pin->name + len, "3"));
}

/* strange_map(maps, id): the name of the pinned map that the map ${id} would be, and is not; or NULL. */
static const char *strange_map(const struct pins *maps, uint32_t id)
{
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info);
	const char *found = NULL;
	int fd = bpf_map_get_fd_by_id(id);

	if (fd < 0)
		return NULL;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len))
		for (size_t i = 0; i < maps->n && !found; i++)
			if (!strcmp(maps->list[i].name, info.name))
				found = maps->list[i].name;
	close(fd);
	return found;
}

static bool uses(const struct bpf_prog_info *info, const uint32_t *ids, const struct pins *maps, const char *name)
{
	for (size_t i = 0; i < maps->n; i++)
		for (uint32_t k = 0; !strcmp(maps->list[i].name, name) && k < info->nr_map_ids && k < MAPS_MAX; k++)
			if (ids[k] == maps->list[i].id)
				return true;
	return false;
}

static void check_maps(struct prog_doubt *why, const struct bpf_prog_info *info, const uint32_t *ids, const struct pins *maps)
{
	static const char *const must[] = {"control", "arenas"};

	for (uint32_t k = 0; k < info->nr_map_ids && k < MAPS_MAX; k++) {
		const char *name = by_id(maps, ids[k]) ? NULL : strange_map(maps, ids[k]);

		if (!name)
			continue;
		snprintf(why->text, sizeof(why->text), "its program works on another map %s than the pinned one", name);
		return;
	}
	for (size_t i = 0; i < sizeof(must) / sizeof(*must); i++)
		if (!uses(info, ids, maps, must[i]))
			snprintf(why->text, sizeof(why->text), "its program does not work on the pinned map %s", must[i]);
}

struct prog_doubt prog_check(const struct gauge_pins *p, const struct fw_meta_link *l, uint32_t id)
{
	static const uint8_t none[sizeof(l->prog_tag)];
	uint32_t ids[MAPS_MAX] = {}, len;
	struct bpf_prog_info info = {.map_ids = (uintptr_t)ids, .nr_map_ids = MAPS_MAX};
	struct prog_doubt why = {};
	int fd, err;

	/* a load for another generation may have brought programs of its own to all hooks */
	if (id != l->prog_id && !is_pinned(&p->progs, l->hook, id)) {
		snprintf(why.text, sizeof(why.text), "another program took the place (id %u, loaded as %u)", id, l->prog_id);
		return why;
	}
	fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0) { /* it takes CAP_SYS_ADMIN: who has not is told what its id tells */
		if (errno == ENOENT)
			snprintf(why.text, sizeof(why.text), "its program (id %u) is gone", id);
		return why;
	}
	len = sizeof(info);
	err = bpf_obj_get_info_by_fd(fd, &info, &len);
	close(fd);
	if (err)
		return why;
	if (id == l->prog_id && memcmp(l->prog_tag, none, sizeof(none)) && memcmp(l->prog_tag, info.tag, sizeof(none)))
		snprintf(why.text, sizeof(why.text), "its program (id %u) has another tag than that which was loaded", id);
	else
		check_maps(&why, &info, ids, &p->maps);
	return why;
}

unsigned int progs_before(const struct fw_meta_link *l, uint32_t id)
{
	uint32_t ids[MAPS_MAX] = {};
	LIBBPF_OPTS(bpf_prog_query_opts, q, .prog_ids = ids, .prog_cnt = MAPS_MAX);

	if (l->mode != FW_MODE_TCX)
		return 0;
	if (bpf_prog_query_opts((int)l->ifindex,
				(enum bpf_attach_type)(l->hook == FW_HOOK_TC_INGRESS ? ATTACH_TCX_INGRESS : ATTACH_TCX_EGRESS), &q))
		return 0;
	for (unsigned int i = 0; i < q.prog_cnt && i < MAPS_MAX; i++)
		if (ids[i] == id)
			return i;
	return 0;
}
