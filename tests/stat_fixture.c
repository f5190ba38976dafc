/* SPDX-License-Identifier: GPL-2.0-only */
/* An instance "t" with known contents, built by hand below $FW_BPFFS/fw, for tests/fwstat.t.
 * usage: stat_fixture make CGROUP   maps, pins, and two hooks on the cgroup of that path
 *        stat_fixture word WORD     write the control word
 *        stat_fixture reverted MS   generation 8 was taken back at MS of CLOCK_BOOTTIME
 *        stat_fixture lose MS       events of ring 0, as if they did not fit, for so long
 *        stat_fixture poke OFFSET   one bit of the tables in slot 1
 *        stat_fixture tag BITS      turned in the tag that is written down of the first hook's program
 *        stat_fixture fill N        live entries of the flow table (max_flows 1000), at least 12: make_flows()
 *        stat_fixture noise SEED    random bytes in the flow table, its head, its clock's tables and the rate limits
 *        stat_fixture events N      events of 16 bytes into ring 0 (4096 bytes), without a wake-up
 *        stat_fixture claim MASK    the claimed rings */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bpf/fw_abi.h"
#include "bpf/tables_abi.h"
#include "lib/flow_set.h"
#include "lib/image_sum.h"

#define FLOWS 1000 /* max_flows */
#define HZ 250
#define RATES 400000 /* offset of by_id in the arenas */
#define RING 4096

static void need(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "stat_fixture: %s: %s\n", what, strerror(errno));
	exit(1);
}

static const char *pin_path(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/fw/t%s", getenv("FW_BPFFS"), name);
	return path;
}

static int open_map(const char *name)
{
	int fd = bpf_obj_get(pin_path(name));

	need(fd >= 0, name);
	return fd;
}

/* make_map(name, type, key, value, max): created, and pinned unless ${name} is NULL. */
static int make_map(const char *name, enum bpf_map_type type, uint32_t key, uint32_t value, uint32_t max,
		    int inner)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = type == BPF_MAP_TYPE_ARRAY ? BPF_F_MMAPABLE : 0);
	int fd;

	if (inner >= 0)
		opts.inner_map_fd = (uint32_t)inner;
	fd = bpf_map_create(type, "t", key, value, max, &opts);
	need(fd >= 0 && (!name || !bpf_obj_pin(fd, pin_path(name))), name ? name : "map");
	return fd;
}

static void put(int map, uint32_t key, const void *value)
{
	need(!bpf_map_update_elem(map, &key, value, 0), "update");
}

/* Every CPU gets a part, so that a sum that forgets one is wrong. */
static void put_counter(int map, uint32_t id, struct fw_counter c)
{
	int cpus = libbpf_num_possible_cpus();
	struct fw_counter *all = calloc((size_t)cpus, sizeof(*all));

	all[0] = c;
	if (cpus > 1) {
		all[0].allowed = c.allowed / 2;
		all[cpus - 1].allowed = c.allowed - c.allowed / 2;
	}
	put(map, id, all);
	free(all);
}

static void make_counters(void)
{
	int fd = make_map("/maps/counters", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct fw_counter), 128, -1);

	put_counter(fd, FW_REASON_ID(FW_REASON_DEFAULT, FW_INGRESS),
		    (struct fw_counter){.denied = 5, .bytes_dropped = 500});
	put_counter(fd, FW_REASON_ID(FW_REASON_MALFORMED, FW_EGRESS),
		    (struct fw_counter){.denied = 2, .bytes_dropped = 20});
	put_counter(fd, FW_REASON_ID(FW_REASON_DEFAULT, FW_EGRESS), (struct fw_counter){.calls = 4});
	put_counter(fd, 64, (struct fw_counter){.allowed = 101, .flow = 1000, .bytes_passed = 66000});
	put_counter(
		fd, 65,
		(struct fw_counter){
			.allowed = 30, .limited = 7, .bytes_passed = 1800, .bytes_dropped = 420, .lost = 3});
	put_counter(fd, 66,
		    (struct fw_counter){.denied = (1ull << 53) + 1, .bytes_dropped = UINT64_MAX, .calls = 9});
	make_map("/maps/log_limits", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct fw_log_limit), 128, -1);
}

/* An image with timeouts, and one rule with a rate limit: web, 10 s of tolerance. */
static void fill_arena(struct fw_arena *a, uint32_t generation)
{
	uint32_t ids[67] = {[65] = RATES + 512};
	struct fw_rate rate = {.interval = 1000000, .tolerance = 10000000000ull};

	*a = (struct fw_arena){.magic = FW_ARENA_MAGIC,
			       .abi = FW_ABI,
			       .size = 300000,
			       .generation = generation,
			       .jiffies_per_s = HZ,
			       .by_id = RATES,
			       .n_ids = 67};
	for (int s = 0; s < FW_FLOW_STATE_COUNT; s++)
		a->tmo[s] = 100 * HZ;
	a->tmo[FW_FLOW_ESTABLISHED] = 432000 * HZ;
	memcpy((uint8_t *)a + RATES, ids, sizeof(ids));
	memcpy((uint8_t *)a + RATES + 512, &rate, sizeof(rate));
}

static struct fw_arena *arena_of(uint32_t generation)
{
	struct fw_arena *a = calloc(1, FW_ARENA_MIN);

	need(a, "memory");
	fill_arena(a, generation);
	memset(a->digest, generation == 7 ? 0xab : 0xcd, sizeof(a->digest));
	return a;
}

static void make_arenas(void)
{
	int outer, inner[2];

	for (int i = 0; i < 2; i++) {
		struct fw_arena *a = arena_of(7 - (uint32_t)i);

		inner[i] = make_map(NULL, BPF_MAP_TYPE_ARRAY, 4, FW_ARENA_MIN, 1, -1);
		put(inner[i], 0, a);
		free(a);
	}
	outer = make_map("/maps/arenas", BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, FW_SLOTS, inner[0]);
	put(outer, 1, &inner[0]);
	put(outer, 2, &inner[1]);
}

static void make_rings(void)
{
	int ring[FW_RINGS], outer;
	char name[40];

	for (int n = 0; n < FW_RINGS; n++) {
		snprintf(name, sizeof(name), "/maps/" FW_RING_DIR, n);
		need(!mkdir(pin_path(name), 0700), name);
		snprintf(name, sizeof(name), "/maps/" FW_RING_DIR "/events", n);
		ring[n] = make_map(name, BPF_MAP_TYPE_RINGBUF, 0, 0, RING, -1);
	}
	outer = make_map("/maps/rings", BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, FW_RINGS, ring[0]);
	for (uint32_t n = 0; n < FW_RINGS; n++)
		put(outer, n, &ring[n]);
}

/* A program that says yes, and works on the maps that ours work on. */
static int make_prog(enum bpf_attach_type type)
{
	const int control = open_map("/maps/control"), arenas = open_map("/maps/arenas");
	const struct bpf_insn code[] = {
		{.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = control},
		{},
		{.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = arenas},
		{},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = type);
	int fd = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SKB, "t", "GPL", code, sizeof(code) / sizeof(*code), &opts);

	need(fd >= 0, "load of a program");
	close(control);
	close(arenas);
	return fd;
}

/* make_link(cgroup, type, pin, l): attached and pinned; what the loader writes down of its program into ${l}. */
static void make_link(const char *cgroup, enum bpf_attach_type type, const char *pin, struct fw_meta_link *l)
{
	int dir = open(cgroup, O_RDONLY | O_DIRECTORY), prog = make_prog(type), link;
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);

	need(dir >= 0, cgroup);
	link = bpf_link_create(prog, dir, type, NULL);
	need(link >= 0 && !bpf_obj_pin(link, pin_path(pin)), pin);
	need(!bpf_obj_get_info_by_fd(prog, &info, &len), "program info");
	close(link);
	close(dir);
	l->prog_id = info.id;
	memcpy(l->prog_tag, info.tag, sizeof(l->prog_tag));
}

#include "tests/stat_flows.h"
#include "tests/stat_meta.h"

static void make_audit(void)
{
	int fd = make_map("/maps/audit_stats", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct fw_audit_stats), 1, -1);
	int cpus = libbpf_num_possible_cpus();
	struct fw_audit_stats *all = calloc((size_t)cpus, sizeof(*all));

	all[0] = (struct fw_audit_stats){.judged = 90, .disagreed = 1};
	all[cpus - 1].judged += 10;
	all[cpus - 1].disagreed += 2;
	put(fd, 0, all);
	free(all);
}

static void make(const char *cgroup)
{
	struct fw_control control = {.word = 1, .abi = FW_ABI};
	struct fw_readers readers = {.claimed = 2, .sent = {128, 0, 5, 0}, .lost = {11, 0, 2, 0}};
	char root[512];

	snprintf(root, sizeof(root), "%s/fw", getenv("FW_BPFFS"));
	need(!mkdir(root, 0700) && !mkdir(pin_path(""), 0700) && !mkdir(pin_path("/maps"), 0700) &&
		     !mkdir(pin_path("/links"), 0700),
	     root);
	put(make_map("/maps/control", BPF_MAP_TYPE_ARRAY, 4, sizeof(control), 1, -1), 0, &control);
	put(make_map("/maps/readers", BPF_MAP_TYPE_ARRAY, 4, sizeof(readers), 1, -1), 0, &readers);
	make_counters();
	make_arenas();
	make_rings();
	make_state();
	make_limits();
	make_audit();
	make_meta(7, cgroup);
	make_meta(6, NULL);
}

/* Producer positions are the kernel's alone: a program has to write. */
static void events(uint32_t n)
{
	int ring = open_map("/maps/ring0/events"), prog;
	const struct bpf_insn code[] = {
		{.code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8},
		{.code = BPF_LD | BPF_IMM | BPF_DW,
		 .dst_reg = BPF_REG_1,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = ring},
		{},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_10},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = 8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_4, .imm = BPF_RB_NO_WAKEUP},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ringbuf_output},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	uint8_t frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = (int)n);

	prog = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "t", "GPL", code, sizeof(code) / sizeof(*code),
			     NULL);
	need(prog >= 0 && !bpf_prog_test_run_opts(prog, &run), "producer");
}

static void change_control(uint64_t word, uint32_t reverted, uint64_t reverted_at)
{
	struct fw_control c = {.word = word, .abi = FW_ABI, .reverted = reverted, .reverted_at = reverted_at};

	put(open_map("/maps/control"), 0, &c);
}

/* Events that get lost, 100 times a second, for ${ms}. */
static void lose(uint64_t ms)
{
	struct fw_readers r;
	uint32_t zero = 0;
	int fd = open_map("/maps/readers");

	need(!bpf_map_lookup_elem(fd, &zero, &r), "readers");
	for (; ms >= 10; ms -= 10) {
		r.lost[0]++;
		put(fd, 0, &r);
		usleep(10000);
	}
}

/* poke(at): write into the tables in slot 1. */
static void poke(uint64_t at)
{
	int arenas = open_map("/maps/arenas"), fd;
	uint32_t slot = 1, id;
	uint8_t *mem;

	need(!bpf_map_lookup_elem(arenas, &slot, &id), "arenas");
	fd = bpf_map_get_fd_by_id(id);
	mem = fd < 0 ? MAP_FAILED : mmap(NULL, FW_ARENA_MIN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(mem != MAP_FAILED, "tables");
	mem[at] ^= 1;
}

int main(int argc, char **argv)
{
	const char *verb = argc == 3 ? argv[1] : "";
	uint64_t n = argc == 3 ? strtoull(argv[2], NULL, 0) : 0;

	umask(077);
	if (!strcmp(verb, "make")) {
		make(argv[2]);
	} else if (!strcmp(verb, "word")) {
		change_control(n, 0, 0);
	} else if (!strcmp(verb, "reverted")) {
		change_control(1, 8, n);
	} else if (!strcmp(verb, "fill")) {
		fill((uint32_t)n);
	} else if (!strcmp(verb, "noise")) {
		noise((unsigned int)n);
	} else if (!strcmp(verb, "lose")) {
		lose(n);
	} else if (!strcmp(verb, "tag")) {
		change_tag((uint8_t)n);
	} else if (!strcmp(verb, "poke")) {
		poke(n);
	} else if (!strcmp(verb, "events")) {
		events((uint32_t)n);
	} else if (!strcmp(verb, "claim")) {
		struct fw_readers r;
		uint32_t zero = 0;
		int fd = open_map("/maps/readers");

		need(!bpf_map_lookup_elem(fd, &zero, &r), "readers");
		r.claimed = n;
		put(fd, 0, &r);
	} else {
		fputs("usage: stat_fixture make CGROUP | word WORD | reverted MS | lose MS | poke OFFSET | tag BITS | fill N | noise SEED | "
		      "events N | claim MASK\n",
		      stderr);
		return 2;
	}
	return 0;
}
