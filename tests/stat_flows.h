/* SPDX-License-Identifier: GPL-2.0-only */
/* Part of stat_fixture.c: the flow table, its clock, what happened to flows, and rate limits, all with known contents. */
#ifndef FW_STAT_FLOWS_H
#define FW_STAT_FLOWS_H

#define NOW 5000000 /* what the clock of flows says, always */

static void map_flows(struct flow_set *set)
{
	static uint32_t tmo[FW_FLOW_STATE_ROOM];
	int head = open_map("/maps/flow_head"), flows = open_map("/maps/flows");
	uint32_t zero = 0;

	memset(tmo, 0xff, sizeof(tmo));
	*set = (struct flow_set){.tmo = tmo, .now = NOW};
	need(!bpf_map_lookup_elem(head, &zero, &set->head), "flow_head");
	set->head.n_buckets = flow_buckets_for(FLOWS); /* also when it is noise */
	set->bytes = set->head.n_buckets * sizeof(struct fw_flow_bucket);
	set->buckets = mmap(NULL, set->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, flows, 0);
	need(set->buckets != MAP_FAILED, "mmap of flows");
}

static void put4(uint8_t addr[16], uint32_t v)
{
	const uint8_t mapped[16] = {[10] = 0xff, 0xff, (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

	memcpy(addr, mapped, sizeof(mapped));
}

/* flow(n, state, rule, idle): a TCP flow from 10.1.0.n:40000 to 10.9.0.1:443, idle for so many seconds. */
static struct flow_entry flow(uint32_t n, uint64_t state, uint32_t rule, uint32_t idle)
{
	struct flow_entry e = {.key = {.sport = 40000, .dport = 443, .proto = 6},
			       .word = state,
			       .rule = rule,
			       .generation = 7,
			       .uid = ~0u,
			       .idle = idle * HZ};

	put4(e.key.src, 0x0a010000 + n);
	put4(e.key.dst, 0x0a090001);
	return e;
}

static void add(const struct flow_set *set, struct flow_entry e)
{
	errno = ENOSPC;
	need(flow_set_add(set, &e) == 1, "room for a flow");
}

/* Flows of a kind each: IPv6 with an owner, an echo, both FIN_WAITs, one that no rule allowed, one of a rule that is gone;
 * three that have expired; and two entries of fragments. */
static void add_odd(const struct flow_set *set)
{
	struct flow_entry e = flow(1, FW_FLOW_UDP_STREAM | FW_FLOW_EGRESS | FW_FLOW_V6, 66, 12);
	const uint8_t from[16] = {0xfd, 0x77, [15] = 1}, to[16] = {0xfd, 0x77, [15] = 2};

	memcpy(e.key.src, from, 16);
	memcpy(e.key.dst, to, 16);
	e.key.proto = 17;
	e.uid = 1000;
	e.cgroup_id = UINT64_MAX - 1;
	e.generation = 6;
	add(set, e);
	e = flow(2, FW_FLOW_ICMP_NEW, 64, 3);
	e.key.proto = 1;
	e.key.sport = e.key.dport = 0x3412;
	add(set, e);
	add(set, flow(3, FW_FLOW_FIN_WAIT_O, 64, 1));
	add(set, flow(4, FW_FLOW_FIN_WAIT_R, 64, 1));
	add(set, flow(5, FW_FLOW_ESTABLISHED, FW_REASON_ID(FW_REASON_DEFAULT, FW_INGRESS), 7200));
	e = flow(6, FW_FLOW_SYN_SENT, 99, 99);
	e.generation = 6;
	add(set, e);
	for (uint32_t n = 7; n < 10; n++)
		add(set, flow(n, FW_FLOW_SYN_SENT, 64, 200));
	for (uint32_t n = 10; n < 12; n++) {
		e = flow(n, FW_FLOW_FRAGMENT, 64, 1);
		e.key.hook = 1;
		add(set, e);
	}
}

#define ODD 8 /* live ones of those */

static void fill(uint32_t n)
{
	struct flow_set set;

	map_flows(&set);
	memset(set.buckets, 0, set.bytes);
	add_odd(&set);
	for (uint32_t i = ODD; i < n; i++)
		add(&set, flow(1000 + i, FW_FLOW_ESTABLISHED, 65, 0));
}

static void make_clock(void)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = NOW},
		{.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_2},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_SLEEPABLE);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SYSCALL, "t", "GPL", code, 4, &opts);

	need(fd >= 0 && !mkdir(pin_path("/progs"), 0700) && !bpf_obj_pin(fd, pin_path("/progs/clock")) &&
		     !bpf_obj_pin(fd, pin_path("/progs/commit")),
	     "clock");
}

static void make_state(void)
{
	struct fw_flow_head head = {.n_buckets = flow_buckets_for(FLOWS), .max_flows = FLOWS};
	int cpus = libbpf_num_possible_cpus(), fd;
	struct fw_state_stats *all = calloc((size_t)cpus, sizeof(*all));

	for (int i = 0; i < FW_FLOW_SEEDS; i++)
		head.seed[i] = 0x9e3779b97f4a7c15ull * (uint64_t)(i + 1);
	put(make_map("/maps/flow_head", BPF_MAP_TYPE_ARRAY, 4, sizeof(head), 1, -1), 0, &head);
	make_map("/maps/flows", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct fw_flow_bucket), head.n_buckets, -1);
	fd = make_map("/maps/state_stats", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(*all), 1, -1);
	all[0] = (struct fw_state_stats){1000, 30, 20, 10, 4, 9, 25, 6};
	all[cpus - 1].flows_created += 1; /* every CPU counts */
	all[cpus - 1].limits_created += 5;
	put(fd, 0, all);
	free(all);
	make_clock();
	fill(500);
}

/* 22 keys: of web three above the limit and 17 that are not, by a hair; of ssh, which has no limit any more, two. */
static void make_limits(void)
{
	int fd = make_map("/maps/limits", BPF_MAP_TYPE_LRU_HASH, sizeof(struct fw_limit_key), 8, FLOWS, -1);
	struct timespec ts;
	uint64_t now, at;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000u;
	for (uint32_t i = 0; i < 22; i++) {
		struct fw_limit_key key = {.rule = i < 20 ? 65 : 64};

		put4(key.addr, 0x0a020000 + i);
		at = i < 3 || i >= 20 ? now + 3600000000000ull : i < 10 ? now + 10000000000ull : now / 2;
		need(!bpf_map_update_elem(fd, &key, &at, 0), "limits");
	}
}

/* What nobody would write: no reader may follow it anywhere. */
static void noise(unsigned int seed)
{
	struct flow_set set;
	struct fw_arena *a;
	struct fw_flow_head head;
	uint32_t slot = 1, id, limits = 0;
	int fd;

	srandom(seed);
	map_flows(&set);
	for (size_t i = 0; i < set.bytes; i += 2)
		*(uint16_t *)((uint8_t *)set.buckets + i) = (uint16_t)random();
	/* most states would be none */
	for (uint32_t b = 0; b < set.head.n_buckets; b++)
		for (int w = 0; w < FW_FLOW_WAYS; w++)
			set.buckets[b].word[w] = (set.buckets[b].word[w] & 0xffff1f) | (uint64_t)NOW << 24;
	memset(&head, 0xff, sizeof(head));
	put(open_map("/maps/flow_head"), 0, &head);
	need(!bpf_map_lookup_elem(open_map("/maps/arenas"), &slot, &id), "arena");
	fd = bpf_map_get_fd_by_id(id);
	a = mmap(NULL, FW_ARENA_MIN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(a != MAP_FAILED, "mmap of an arena");
	a->n_ids = UINT32_MAX;
	a->by_id = seed % 2 ? UINT32_MAX : FW_ARENA_MIN - 4 * 66; /* the last row, or far outside */
	memset((uint8_t *)a + FW_ARENA_MIN - 4 * 66, 0xfe, 4 * 66);
	a->jiffies_per_s = seed % 3 ? UINT32_MAX : 0;
	fd = open_map("/maps/limits");
	for (; limits < 100; limits++) {
		struct fw_limit_key key = {.rule = limits % 2 ? (uint32_t)random() * 2 : limits};
		uint64_t at = UINT64_MAX;

		need(!bpf_map_update_elem(fd, &key, &at, 0), "limits");
	}
}

#endif
