/* SPDX-License-Identifier: GPL-2.0-only */
/* prog_run: frames through a pinned program, one BPF_PROG_TEST_RUN each, one line of answer each.
 *
 * FILE holds records of a u32 length (little-endian) and as many bytes. A line is "pass", "drop" or "skip"
 * (the kernel refused the frame: it is too short or too long for this kind of program). With -r every event
 * of the frame follows it on the line: " | verdict reason rule generation hook direction known ip_version
 * proto src sport dst dport icmp_type icmp_code tcp_flags length vlan ifindex uid cgroup", enums as numbers
 * (fw_abi.h). Lines that start with "#" tell what the pins say: generation, rules, and with -c the counters
 * that rose. With -n each frame runs that many times in one go. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/fw_abi.h"

enum kind { KIND_XDP, KIND_TC, KIND_CGROUP };
static const struct hook {
	const char *name;
	enum kind kind;
} hooks[] = {
	{"xdp", KIND_XDP},
	{"tc_ingress", KIND_TC},
	{"tc_egress", KIND_TC},
	{"cgroup_ingress", KIND_CGROUP},
	{"cgroup_egress", KIND_CGROUP},
};

static struct {
	const char *instance;
	const struct hook *hook;
	uint32_t ifindex;
	bool events, counters;
	int repeat;
} opt = {.instance = "default", .repeat = 1};

static struct fw_event seen[16];
static unsigned int n_seen; /* of the present frame; may exceed the array */

static void fail(const char *what, const char *object)
{
	fprintf(stderr, "prog_run: %s %s: %s\n", what, object, strerror(errno));
	exit(3);
}

static int pin_open(const char *what)
{
	const char *root = getenv("FW_BPFFS");
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s/%s", root ? root : "/sys/fs/bpf/fw", opt.instance, what);
	fd = bpf_obj_get(path);
	if (fd < 0)
		fail("cannot open", path);
	return fd;
}

static void map_info(int fd, struct bpf_map_info *info)
{
	uint32_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	if (bpf_obj_get_info_by_fd(fd, info, &len))
		fail("no info of", "map");
}

/* ---- meta and counters ---- */

static void print_meta(void)
{
	int fd = pin_open("maps/control");
	struct fw_control control;
	struct bpf_map_info info;
	const struct fw_meta *m;
	uint32_t zero = 0;
	char *value, name[32];

	if (bpf_map_lookup_elem(fd, &zero, &control))
		fail("cannot read", "maps/control");
	close(fd);
	snprintf(name, sizeof(name), "maps/meta%u", FW_WORD_ACTIVE(control.word));
	fd = pin_open(name);
	map_info(fd, &info);
	value = malloc((info.value_size + 7) & ~7u);
	if (!value || bpf_map_lookup_elem(fd, &zero, value))
		fail("cannot read", name);
	m = (const struct fw_meta *)value;
	if (m->magic != FW_META_MAGIC || m->abi != FW_ABI) {
		fprintf(stderr, "prog_run: %s: another ABI\n", name);
		exit(3);
	}
	printf("# generation %u\n", m->generation);
	for (uint32_t i = 0; i < m->n_rules; i++) {
		const struct fw_meta_rule *r = (const struct fw_meta_rule *)(value + m->rules) + i;

		printf("# rule %u %s\n", r->id, value + r->name);
	}
	free(value);
	close(fd);
}

struct counters {
	uint32_t n;
	struct fw_counter *sum;
};

static struct counters counters_read(void)
{
	int fd = pin_open("maps/counters"), cpus = libbpf_num_possible_cpus();
	struct counters c = {0};
	struct bpf_map_info info;
	struct fw_counter *row;

	map_info(fd, &info);
	if (cpus < 1 || info.value_size != sizeof(*row)) {
		fprintf(stderr, "prog_run: maps/counters: values of %u bytes\n", info.value_size);
		exit(3);
	}
	c.n = info.max_entries;
	c.sum = calloc(c.n, sizeof(*c.sum));
	row = calloc(cpus, sizeof(*row));
	if (!c.sum || !row)
		fail("cannot allocate", "counters");
	for (uint32_t id = 0; id < c.n; id++) {
		if (bpf_map_lookup_elem(fd, &id, row))
			fail("cannot read", "maps/counters");
		for (int cpu = 0; cpu < cpus; cpu++)
			for (size_t k = 0; k < sizeof(*row) / 8; k++)
				((__u64 *)&c.sum[id])[k] += ((__u64 *)&row[cpu])[k];
	}
	free(row);
	close(fd);
	return c;
}

static void counters_print(const struct counters *before, const struct counters *after)
{
	for (uint32_t id = 0; id < after->n; id++) {
		const __u64 *a = (const __u64 *)&after->sum[id], *b = (const __u64 *)&before->sum[id];

		if (!memcmp(a, b, sizeof(*after->sum)))
			continue;
		printf("# counter %u",
		       id); /* allowed denied limited flow bytes_passed bytes_dropped calls lost */
		for (size_t k = 0; k < sizeof(*after->sum) / 8; k++)
			printf(" %llu", (unsigned long long)(a[k] - b[k]));
		printf("\n");
	}
}

/* ---- events ---- */

static int on_event(void *ctx, void *data, size_t size)
{
	if (size < sizeof(struct fw_event)) {
		fprintf(stderr, "prog_run: an event of %zu bytes\n", size);
		exit(3);
	}
	if (n_seen < sizeof(seen) / sizeof(seen[0]))
		memcpy(&seen[n_seen], data, sizeof(seen[0]));
	n_seen++;
	return 0;
}

static struct fw_readers *readers;
static int ring_number = -1, ring_lock = -1;

static void ring_release(void)
{
	if (ring_number >= 0)
		__atomic_fetch_and(&readers->claimed, ~(1ULL << ring_number), __ATOMIC_SEQ_CST);
	close(ring_lock);
}

/* Claims the first free ring as fw_abi.h says: flock the folder, empty the ring, set the bit. */
static struct ring_buffer *ring_claim(void)
{
	const char *root = getenv("FW_BPFFS");
	struct ring_buffer *ring;
	char path[512], what[64], dir[16];
	int fd = pin_open("maps/readers");

	readers = mmap(NULL, sizeof(*readers), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (readers == MAP_FAILED)
		fail("cannot map", "maps/readers");
	for (int n = 0; n < FW_RINGS; n++) {
		snprintf(dir, sizeof(dir), FW_RING_DIR, n);
		snprintf(path, sizeof(path), "%s/%s/maps/%s", root ? root : "/sys/fs/bpf/fw", opt.instance,
			 dir);
		ring_lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (ring_lock < 0)
			fail("cannot open", path);
		if (flock(ring_lock, LOCK_EX | LOCK_NB)) {
			close(ring_lock);
			continue;
		}
		snprintf(what, sizeof(what), "maps/%s/events", dir);
		fd = pin_open(what);
		ring = ring_buffer__new(fd, on_event, NULL, NULL);
		if (!ring)
			fail("cannot read", path);
		ring_buffer__consume(ring); /* what an earlier reader left */
		ring_number = n;
		atexit(ring_release);
		__atomic_fetch_or(&readers->claimed, 1ULL << n, __ATOMIC_SEQ_CST);
		return ring;
	}
	fprintf(stderr, "prog_run: every ring has a reader\n");
	exit(4);
}

static void address_text(const __u8 a[FW_ADDR_LEN], char text[INET6_ADDRSTRLEN])
{
	inet_ntop(AF_INET6, a, text, INET6_ADDRSTRLEN);
}

static void event_print(const struct fw_event *e)
{
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	address_text(e->src, src);
	address_text(e->dst, dst);
	printf(" | %u %u %u %u %u %u %u %u %u %s %u %s %u %u %u %u %u %u %u %u %llu", e->verdict, e->reason,
	       e->rule, e->generation, e->hook, e->direction, e->known, e->ip_version, e->proto, src,
	       e->sport, dst, e->dport, e->icmp_type, e->icmp_code, e->tcp_flags, e->length, e->vlan,
	       e->ifindex, e->uid, (unsigned long long)e->cgroup_id);
}

/* ---- frames ---- */

static const char *verdict(int prog, void *frame, uint32_t size)
{
	static char out[65536]; /* without room for the answer the kernel would say ENOSPC */
	struct xdp_md xdp = {.data_end = size, .ingress_ifindex = opt.ifindex};
	struct __sk_buff skb = {.ifindex = opt.ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = size, .data_out = out,
		    .data_size_out = sizeof(out), .repeat = opt.repeat);

	if (opt.ifindex && opt.hook->kind == KIND_XDP) {
		run.ctx_in = &xdp;
		run.ctx_size_in = sizeof(xdp);
	} else if (opt.ifindex) {
		run.ctx_in = &skb;
		run.ctx_size_in = sizeof(skb);
	}
	if (bpf_prog_test_run_opts(prog, &run)) {
		if (errno == EINVAL || errno == E2BIG)
			return "skip";
		fail("cannot run", opt.hook->name);
	}
	switch (opt.hook->kind) {
	case KIND_XDP:
		return run.retval == 2 ? "pass" : run.retval == 1 ? "drop" : "odd";
	case KIND_TC:
		return run.retval == 2 ? "drop" : "pass";
	default:
		return run.retval == 1 ? "pass" : run.retval == 0 ? "drop" : "odd";
	}
}

static uint8_t *file_read(const char *name, size_t *size)
{
	FILE *f = fopen(name, "rb");
	uint8_t *data = NULL;
	size_t room = 0, got;

	if (!f)
		fail("cannot open", name);
	*size = 0;
	do {
		room = room ? room * 2 : 1 << 16;
		data = realloc(data, room);
		if (!data)
			fail("cannot allocate for", name);
		got = fread(data + *size, 1, room - *size, f);
		*size += got;
	} while (got);
	fclose(f);
	return data;
}

static void run_all(int prog, struct ring_buffer *ring, const char *file)
{
	size_t size, at = 0;
	uint8_t *data = file_read(file, &size);
	uint32_t len;

	while (at + 4 <= size) {
		len = data[at] | data[at + 1] << 8 | data[at + 2] << 16 | (uint32_t)data[at + 3] << 24;
		at += 4;
		if (len > size - at) {
			fprintf(stderr, "prog_run: %s: record cut\n", file);
			exit(1);
		}
		n_seen = 0;
		fputs(verdict(prog, data + at, len), stdout);
		if (ring)
			ring_buffer__consume(ring);
		for (unsigned int i = 0; i < n_seen && i < sizeof(seen) / sizeof(seen[0]); i++)
			event_print(&seen[i]);
		putchar('\n');
		at += len;
	}
	free(data);
}

static void options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "N:i:n:rc")) != -1) {
		switch (c) {
		case 'N':
			opt.instance = optarg;
			break;
		case 'i':
			opt.ifindex = strtoul(optarg, NULL, 10);
			break;
		case 'n':
			opt.repeat = atoi(optarg);
			break;
		case 'r':
			opt.events = true;
			break;
		case 'c':
			opt.counters = true;
			break;
		default:
			exit(2);
		}
	}
	for (size_t i = 0; optind < argc && i < sizeof(hooks) / sizeof(hooks[0]); i++)
		if (!strcmp(hooks[i].name, argv[optind]))
			opt.hook = &hooks[i];
	if (!opt.hook || optind + 2 != argc) {
		fprintf(stderr, "usage: prog_run [-N INSTANCE] [-i IFINDEX] [-n REPEAT] [-r] [-c] HOOK FILE\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct counters before = {0}, after;
	struct ring_buffer *ring = NULL;
	char pin[64];
	int prog;

	options(argc, argv);
	snprintf(pin, sizeof(pin), "progs/%s", opt.hook->name);
	prog = pin_open(pin);
	if (opt.events) {
		print_meta();
		ring = ring_claim();
	}
	if (opt.counters)
		before = counters_read();
	run_all(prog, ring, argv[optind + 1]);
	if (opt.counters) {
		after = counters_read();
		counters_print(&before, &after);
	}
	return fflush(stdout) ? 3 : 0;
}
