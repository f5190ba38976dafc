/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs and the maps they need, from the skeleton. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fw.skel.h"
#include "kern_load.h"
#include "sha256.h"
#include "tables_build.h"


static const char *const program_pins[KP_COUNT] = {
	[KP_XDP] = "xdp",
	[KP_TC_INGRESS] = "tc_ingress",
	[KP_TC_EGRESS] = "tc_egress",
	[KP_TC_INGRESS3] = "tc_ingress3",
	[KP_TC_EGRESS3] = "tc_egress3",
	[KP_CG_INGRESS] = "cgroup_ingress",
	[KP_CG_EGRESS] = "cgroup_egress",
	[KP_CONNECT4] = "connect4",
	[KP_CONNECT6] = "connect6",
	[KP_SENDMSG4] = "sendmsg4",
	[KP_SENDMSG6] = "sendmsg6",
	[KP_CLOCK] = "clock",
	[KP_COMMIT] = "commit",
};

const char *kern_program_name(enum kern_prog p)
{
	return program_pins[p];
}

enum kern_prog kern_program_for(const struct target *t)
{
	static const enum kern_prog of[FW_HOOK_COUNT] = {
		[FW_HOOK_XDP] = KP_XDP,
		[FW_HOOK_TC_INGRESS] = KP_TC_INGRESS,
		[FW_HOOK_TC_EGRESS] = KP_TC_EGRESS,
		[FW_HOOK_CGROUP_INGRESS] = KP_CG_INGRESS,
		[FW_HOOK_CGROUP_EGRESS] = KP_CG_EGRESS,
		[FW_HOOK_CONNECT4] = KP_CONNECT4,
		[FW_HOOK_CONNECT6] = KP_CONNECT6,
		[FW_HOOK_SENDMSG4] = KP_SENDMSG4,
		[FW_HOOK_SENDMSG6] = KP_SENDMSG6,
	};

	if (t->hook == FW_HOOK_TC_INGRESS && !t->has_link)
		return KP_TC_INGRESS3;
	if (t->hook == FW_HOOK_TC_EGRESS && !t->has_link)
		return KP_TC_EGRESS3;
	return of[t->hook];
}

void kern_need(const struct targets *t, bool need[KP_COUNT])
{
	for (size_t i = 0; i < t->n; i++)
		need[kern_program_for(&t->list[i])] = true;
	need[KP_CLOCK] = need[KP_COMMIT] = true;
}

void kern_build(__u8 digest[32])
{
	struct sha256 s;
	size_t len;
	const void *elf = fw__elf_bytes(&len);

	sha256_init(&s);
	sha256_add(&s, elf, len);
	sha256_end(&s, digest);
}

static void skeleton_programs(struct fw *skel, struct bpf_program *p[KP_COUNT])
{
	p[KP_XDP] = skel->progs.fw_xdp;
	p[KP_TC_INGRESS] = skel->progs.fw_tc_ingress;
	p[KP_TC_EGRESS] = skel->progs.fw_tc_egress;
	p[KP_TC_INGRESS3] = skel->progs.fw_tc_ingress3;
	p[KP_TC_EGRESS3] = skel->progs.fw_tc_egress3;
	p[KP_CG_INGRESS] = skel->progs.fw_cg_ingress;
	p[KP_CG_EGRESS] = skel->progs.fw_cg_egress;
	p[KP_CONNECT4] = skel->progs.fw_connect4;
	p[KP_CONNECT6] = skel->progs.fw_connect6;
	p[KP_SENDMSG4] = skel->progs.fw_sendmsg4;
	p[KP_SENDMSG6] = skel->progs.fw_sendmsg6;
	p[KP_CLOCK] = skel->progs.fw_clock;
	p[KP_COMMIT] = skel->progs.fw_commit_trial;
}

static void skeleton_maps(struct fw *skel, struct bpf_map *m[KM_COUNT])
{
	m[KM_CONTROL] = skel->maps.control;
	m[KM_ARENAS] = skel->maps.arenas;
	m[KM_COUNTERS] = skel->maps.counters;
	m[KM_LOG_LIMITS] = skel->maps.log_limits;
	m[KM_RINGS] = skel->maps.rings;
	m[KM_READERS] = skel->maps.readers;
	m[KM_LIMITS] = skel->maps.limits;
	m[KM_FLOWS] = skel->maps.flows;
	m[KM_FLOW_HEAD] = skel->maps.flow_head;
	m[KM_STATE_STATS] = skel->maps.state_stats;
	m[KM_AUDIT_STATS] = skel->maps.audit_stats;
}

/* libbpf's words are for developers; what it says of a refused program is kept for the message. */
static char last_word[512];

static int keep_word(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[512];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	/* the first line of a failure is the cause, the later ones its echo */
	if (!*last_word && strstr(line, "libbpf:"))
		snprintf(last_word, sizeof(last_word), "%.*s", (int)strcspn(line + 8, "\n"), line + 8);
	return 0;
}

void kern_listen(void)
{
	libbpf_set_print(keep_word);
}

static __u32 map_entries(int fd)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.max_entries;
}

/* Pinned maps are used again, unless they have become too small or, for the arenas, of another class. */
static int choose_maps(struct kern *k, struct bpf_map *m[KM_COUNT], const struct kern_sizes *sizes)
{
	bool small = k->maps[KM_COUNTERS] >= 0 && map_entries(k->maps[KM_COUNTERS]) < sizes->counters;
	bool flows = kern_flows_resize(k, sizes->max_flows);

	bpf_map__set_value_size(bpf_map__inner_map(m[KM_ARENAS]), sizes->arena_bytes);
	bpf_map__set_max_entries(m[KM_COUNTERS], sizes->counters);
	bpf_map__set_max_entries(m[KM_LOG_LIMITS], sizes->counters);
	bpf_map__set_max_entries(m[KM_FLOWS], k->flow_head.n_buckets);
	for (int i = 0; i < KM_COUNT; i++) {
		bool resize = (i == KM_ARENAS && sizes->arena_bytes != k->arena_bytes) ||
			      ((i == KM_COUNTERS || i == KM_LOG_LIMITS) && small) ||
			      ((i == KM_FLOWS || i == KM_FLOW_HEAD) && flows);

		if (k->maps[i] < 0 || resize)
			continue;
		if (bpf_map__reuse_fd(m[i], k->maps[i])) {
			complain("cannot use the pinned map %s again: %s", bpf_map__name(m[i]), strerror(errno));
			return EXIT_SYSTEM;
		}
	}
	return 0;
}

__u32 kern_map_id(int fd)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

__u32 kern_counters(const struct kern *k)
{
	return map_entries(k->maps[KM_COUNTERS]);
}

void kern_zero_counter(const struct kern *k, __u32 id)
{
	int cpus = libbpf_num_possible_cpus();
	struct fw_counter *zeros;

	if (cpus < 1)
		return;
	zeros = xalloc(cpus, sizeof(*zeros));
	bpf_map_update_elem(k->maps[KM_COUNTERS], &id, zeros, 0);
	free(zeros);
}

void kern_zero_audit(const struct kern *k)
{
	int cpus = libbpf_num_possible_cpus();
	struct fw_audit_stats *zeros;
	__u32 zero = 0;

	if (cpus < 1)
		return;
	zeros = xalloc(cpus, sizeof(*zeros));
	bpf_map_update_elem(k->maps[KM_AUDIT_STATS], &zero, zeros, 0);
	free(zeros);
}

static bool prog_info(int fd, struct bpf_prog_info *info)
{
	__u32 len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, info, &len);
}

__u32 kern_prog_id(int fd)
{
	struct bpf_prog_info info;

	return prog_info(fd, &info) ? info.id : 0;
}

void kern_prog_tag(int fd, __u8 tag[8])
{
	struct bpf_prog_info info;

	memset(tag, 0, 8);
	if (prog_info(fd, &info))
		memcpy(tag, info.tag, 8);
}

/* A program that a load had no use for when it made maps of another size has stayed with the old ones, and so would judge
 * by tables that nobody fills. */
static bool uses_maps(const struct kern *k, int prog)
{
	static const enum kern_map needed[] = { KM_CONTROL, KM_ARENAS, KM_COUNTERS, KM_FLOWS };
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info), ids[64] = { 0 }, found = 0;

	info.nr_map_ids = sizeof(ids) / sizeof(*ids);
	info.map_ids = (uintptr_t)ids;
	if (bpf_obj_get_info_by_fd(prog, &info, &len) || info.nr_map_ids > sizeof(ids) / sizeof(*ids))
		return false;
	for (size_t m = 0; m < sizeof(needed) / sizeof(*needed); m++)
		for (__u32 i = 0; i < info.nr_map_ids; i++)
			if (ids[i] == kern_map_id(k->maps[needed[m]])) {
				found++;
				break;
			}
	return found == sizeof(needed) / sizeof(*needed);
}

void kern_drop_stale(struct kern *k)
{
	for (int i = 0; i < KP_COUNT; i++)
		if (i < KP_CLOCK && k->progs[i] >= 0 && !uses_maps(k, k->progs[i])) {
			close(k->progs[i]);
			k->progs[i] = -1;
		}
}

/* Counts of the old, smaller map. */
static void copy_counters(int from, int to)
{
	int cpus = libbpf_num_possible_cpus();
	struct fw_counter *values;
	__u32 n = map_entries(from);

	if (cpus < 1)
		return;
	values = xalloc(cpus, sizeof(*values));
	for (__u32 i = 0; i < n; i++)
		if (!bpf_map_lookup_elem(from, &i, values))
			bpf_map_update_elem(to, &i, values, 0);
	free(values);
}

static int make_rings(struct kern *k)
{
	for (__u32 i = 0; i < FW_RINGS; i++) {
		int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "fw_events", 0, 0, FW_RING_BYTES, NULL);

		if (fd < 0 || bpf_map_update_elem(k->maps[KM_RINGS], &i, &fd, 0)) {
			complain("cannot make event ring %u: %s", i, strerror(errno));
			if (fd >= 0)
				close(fd);
			return EXIT_SYSTEM;
		}
		k->rings[i] = fd;
	}
	return 0;
}

static int take_over(struct kern *k, struct bpf_map *m[KM_COUNT], struct bpf_program *p[KP_COUNT],
		     const bool need[KP_COUNT])
{
	for (int i = 0; i < KM_COUNT; i++) {
		int fd = bpf_map__fd(m[i]), old = k->maps[i];

		/* libbpf duplicates what it uses again: same map, other fd */
		k->fresh_maps[i] = old < 0 || (i == KM_ARENAS && kern_map_id(old) != kern_map_id(fd)) ||
				   ((i == KM_COUNTERS || i == KM_LOG_LIMITS || i == KM_FLOWS || i == KM_FLOW_HEAD) &&
				    kern_map_id(old) != kern_map_id(fd));
		k->maps[i] = dup(fd);
		if (i == KM_COUNTERS && old >= 0 && k->fresh_maps[i])
			copy_counters(old, k->maps[i]);
		if (i == KM_ARENAS)
			k->old_arenas = old;
		else if (i == KM_FLOWS && k->fresh_maps[i])
			k->old_flows = old;
		else if (old >= 0)
			close(old);
	}
	for (int i = 0; i < KP_COUNT; i++) {
		k->old_progs[i] = k->progs[i];
		k->progs[i] = need[i] ? dup(bpf_program__fd(p[i])) : -1;
	}
	if (k->fresh_maps[KM_FLOW_HEAD] && kern_flows_head(k))
		return EXIT_SYSTEM;
	return k->fresh_maps[KM_RINGS] ? make_rings(k) : 0;
}

static int refused(int err)
{
	complain("the kernel refuses the programs: %s%s%s", strerror(err), *last_word ? ": " : "", last_word);
	if (err == EPERM)
		complain("fwload needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (or root)");
	else if (err == EINVAL || err == EOPNOTSUPP || err == ESRCH)
		complain("fw needs Linux 6.1 or newer with BTF (/sys/kernel/btf/vmlinux); when out of memory for that, libbpf says the same");
	return EXIT_SYSTEM;
}

int kern_programs(struct kern *k, const bool need[KP_COUNT], const struct kern_sizes *sizes)
{
	struct bpf_program *p[KP_COUNT];
	struct bpf_map *m[KM_COUNT];
	int err;

	*last_word = 0;
	k->skel = fw__open();
	if (!k->skel)
		return refused(errno);
	skeleton_programs(k->skel, p);
	skeleton_maps(k->skel, m);
	for (int i = 0; i < KP_COUNT; i++)
		bpf_program__set_autoload(p[i], need[i]);
	err = choose_maps(k, m, sizes);
	if (err)
		return err;
	k->skel->rodata->arena_mask = sizes->arena_bytes - 8;
	k->skel->rodata->flow_buckets = k->flow_head.n_buckets;
	memcpy((void *)k->skel->rodata->flow_seed, k->flow_head.seed, sizeof(k->flow_head.seed));
	err = fw__load(k->skel);
	if (err)
		return refused(-err);
	err = take_over(k, m, p, need);
	if (!err)
		err = kern_word_open(k);
	return err;
}

void kern_skeleton_free(struct kern *k)
{
	fw__destroy(k->skel);
	k->skel = NULL;
}
