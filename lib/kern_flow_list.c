/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_flow_list.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "diag.h"
#include "kern_flow_map.h"
#include "kern_view_names.h"
#include "kern_slot.h"

/* ask_clock(v, now): 0, or -1 with errno. */
static int ask_clock(const struct view *v, __u64 *now)
{
	/* to run it, reading is enough */
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = BPF_F_RDONLY);
	char path[64];
	int fd, err;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/progs/clock", v->dir);
	fd = bpf_obj_get_opts(path, &opts);
	if (fd < 0)
		return -1;
	err = flow_clock(fd, now) ? errno : 0;
	close(fd);
	errno = err;
	return err ? -1 : 0;
}

/* map_table(f, v, writable): the whole map, whatever its head says of it. 0, or -1 with errno. */
static int map_table(struct flow_view *f, const struct view *v, bool writable)
{
	struct map_facts facts;
	int fd = view_map(v, "flows", 1 /* to be mapped */, &facts), err = EINVAL;

	if (fd < 0 && errno == EACCES && !writable)
		fd = view_map(v, "flows", 0, &facts);
	if (fd < 0)
		return -1;
	if (facts.type == BPF_MAP_TYPE_ARRAY && facts.value_size == sizeof(struct fw_flow_bucket))
		err = flow_map(&f->set, fd, facts.max_entries, writable) ? errno : 0;
	f->set.tmo = f->tmo;
	close(fd);
	errno = err;
	return err ? -1 : 0;
}

/* read_head(f, v): what only people want to know; the size of the map is the map's. */
static int read_head(struct flow_view *f, const struct view *v)
{
	struct fw_flow_head head;
	struct map_facts facts;
	uint32_t zero = 0;
	int fd = view_map(v, "flow_head", 0, &facts), err = EINVAL;

	if (fd < 0)
		return -1;
	if (facts.value_size == sizeof(head))
		err = bpf_map_lookup_elem(fd, &zero, &head) ? errno : 0;
	close(fd);
	errno = err;
	if (err)
		return -1;
	f->set.head.max_flows = head.max_flows;
	return 0;
}

/* read_timeouts(f, v): of the tables that decide. 0, or -1 with errno. */
static int read_timeouts(struct flow_view *f, const struct view *v)
{
	struct slot_view s;

	memset(f->tmo, 0xff, sizeof(f->tmo));
	if (slot_open_header(&s, v, view_word(v).active))
		return -1;
	if (s.arena) {
		memcpy(f->tmo, s.arena->tmo, sizeof(f->tmo));
		f->jiffies_per_s = s.arena->jiffies_per_s;
	}
	slot_close(&s);
	return 0;
}

/* make_names(f, v): those of what decides, and of the other generations that are resident, for rules that are gone since. */
static int make_names(struct flow_view *f, const struct view *v)
{
	const char *why = "out of memory";
	struct meta *m = view_meta(v, &why);

	f->names = event_names_new();
	if (!f->names || (!m && why != view_unfiltered)) {
		complain("cannot read the names of instance %s: %s", v->instance, f->names ? why : "out of memory");
		meta_free(m);
		return EXIT_SYSTEM;
	}
	if (view_names(v, f->names) || (m && event_names_meta(f->names, m))) {
		complain("out of memory");
		return EXIT_SYSTEM;
	}
	return 0;
}

int flow_view_open(struct flow_view *f, const struct view *v, enum flow_view_use use)
{
	const char *what = NULL;

	*f = (struct flow_view){};
	if (map_table(f, v, use == FLOW_CHANGE))
		what = "map flows";
	else if (read_head(f, v))
		what = "map flow_head";
	else if (read_timeouts(f, v))
		what = "the active tables";
	else if (ask_clock(v, &f->set.now))
		what = "the clock of flows (progs/clock)";
	if (what) {
		complain("cannot read %s of instance %s: %s", what, v->instance,
			 errno == EINVAL ? "another layout: loaded by another version?" : strerror(errno));
		return EXIT_SYSTEM;
	}
	return use == FLOW_COUNT ? 0 : make_names(f, v);
}

void flow_view_close(struct flow_view *f)
{
	flow_set_close(&f->set);
	event_names_free(f->names);
	f->names = NULL;
}

struct flow_list flow_view_list(const struct flow_view *f, const struct flow_filter *filter)
{
	return (struct flow_list){
		.set = &f->set, .names = f->names, .filter = filter, .jiffies_per_s = f->jiffies_per_s};
}
