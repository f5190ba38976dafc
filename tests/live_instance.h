/* SPDX-License-Identifier: GPL-2.0-only */
/* For tests of fwmon: an instance "t" built by hand in a bpf file system of a private mount namespace, its
 * ring 0 fed by tests/ring.bpf.c, and fwmon as a child. */
#ifndef FW_LIVE_INSTANCE_H
#define FW_LIVE_INSTANCE_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bpf/fw_abi.h"
#include "tests/tap.h"

#define RING_BYTES 1048576 /* of ring 0; the kernel never fills the last record */

static const char *fwmon;
static char root[] = "/tmp/fw-ring-XXXXXX";
static struct fw_readers *readers;
static struct fw_control *control;
static struct fw_log_limit *limits;
static int prog = -1;
static uint64_t cgroup; /* of the next events; 0: unknown */

struct request { /* as in ring.bpf.c */
	uint32_t count, discard;
	uint64_t first;
	struct fw_event event;
};

static void need(bool good, const char *what)
{
	if (good)
		return;
	printf("Bail out! %s: %s\n", what, strerror(errno));
	umount2(root, MNT_DETACH);
	rmdir(root);
	exit(1);
}

/* ---- the instance ---- */

static const char *in_maps(const char *name)
{
	static char path[2][256];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof(path[turn]), "%s/fw/t/maps%s%s", root, *name ? "/" : "", name);
	return path[turn];
}

static uint32_t slot_of(uint32_t generation)
{
	return 1 + generation % (FW_SLOTS - 1);
}

/* put_names(generation): a policy of one rule, not yet named by the control word. */
static void put_names(uint32_t generation)
{
	struct {
		struct fw_meta m;
		struct fw_meta_rule r;
		char name[16];
	} blob = {.m = {.magic = FW_META_MAGIC,
			.abi = FW_ABI,
			.size = sizeof(blob),
			.generation = generation,
			.n_rules = 1,
			.rules = sizeof(blob.m)},
		  .r = {.id = 64, .name = sizeof(blob.m) + sizeof(blob.r), .priority = 10}};
	uint32_t zero = 0;
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "meta", 4, sizeof(blob), 1, NULL);
	char name[16];

	snprintf(blob.name, sizeof(blob.name), "rule_g%u", generation);
	snprintf(name, sizeof(name), "meta%u", slot_of(generation));
	need(fd >= 0 && !bpf_map_update_elem(fd, &zero, &blob, 0) && !bpf_obj_pin(fd, in_maps("meta_new")) &&
		     !rename(in_maps("meta_new"), in_maps(name)),
	     "meta map");
	close(fd);
}

static uint64_t boot_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* put_word(active, fallback, candidate, trial_ms): generations, 0 for none. */
static void put_word(uint32_t active, uint32_t fallback, uint32_t candidate, uint64_t trial_ms)
{
	uint64_t word = FW_WORD(active ? slot_of(active) : 0, fallback ? slot_of(fallback) : 0, candidate ? slot_of(candidate) : 0);

	control->abi = FW_ABI;
	__atomic_store_n(&control->word, trial_ms ? FW_WORD_ON_TRIAL(word, boot_now() + trial_ms) : word, __ATOMIC_SEQ_CST);
}

/* put_meta(generation): decides from now on. */
static void put_meta(uint32_t generation)
{
	put_names(generation);
	put_word(generation, 0, 0, 0);
}

static void make_instance(const char *object)
{
	LIBBPF_OPTS(bpf_map_create_opts, mappable, .map_flags = BPF_F_MMAPABLE);
	struct bpf_object *obj = bpf_object__open_file(object, NULL);
	char path[256];
	int fd;

	need(obj && !bpf_object__load(obj), "load of the producer");
	prog = bpf_program__fd(bpf_object__find_program_by_name(obj, "produce"));
	need(mkdtemp(root) && !unshare(CLONE_NEWNS) && !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		     !mount("bpf", root, "bpf", 0, NULL) && !setenv("FW_BPFFS", root, 1),
	     "private bpf file system");
	snprintf(path, sizeof(path), "%s/fw", root);
	need(!mkdir(path, 0700), path);
	snprintf(path, sizeof(path), "%s/fw/t", root);
	need(!mkdir(path, 0700) && !mkdir(in_maps(""), 0700), path);
	for (int n = 0; n < FW_RINGS; n++) {
		char name[32];

		snprintf(name, sizeof(name), FW_RING_DIR, n);
		need(!mkdir(in_maps(name), 0700), name);
		snprintf(name, sizeof(name), FW_RING_DIR "/events", n);
		fd = n ? bpf_map_create(BPF_MAP_TYPE_RINGBUF, "events", 0, 0, 4096, NULL)
		       : bpf_object__find_map_fd_by_name(obj, "events");
		need(fd >= 0 && !bpf_obj_pin(fd, in_maps(name)), name);
	}
	fd = bpf_object__find_map_fd_by_name(obj, "readers");
	need(!bpf_obj_pin(fd, in_maps("readers")), "readers");
	readers = mmap(NULL, sizeof(*readers), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(readers != MAP_FAILED, "mmap of readers");
	fd = bpf_object__find_map_fd_by_name(obj, "log_limits");
	need(!bpf_obj_pin(fd, in_maps("log_limits")), "log_limits");
	limits = mmap(NULL, 128 * sizeof(*limits), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(limits != MAP_FAILED, "mmap of log_limits");
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "control", 4, sizeof(struct fw_control), 1, &mappable);
	need(fd >= 0 && !bpf_obj_pin(fd, in_maps("control")), "control");
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(control != MAP_FAILED, "mmap of control");
	put_meta(5);
}

static uint32_t candidate; /* generation: the next events are disagreements with it; 0: verdicts */

static void produce(uint32_t count, uint64_t first, uint32_t generation, uint32_t discard)
{
	struct timespec ts;
	struct request q = {.count = count, .first = first, .discard = discard};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = &q, .data_size_in = sizeof(q));

	clock_gettime(CLOCK_BOOTTIME, &ts);
	q.event = (struct fw_event){.time = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec,
				    .rule = 64,
				    .generation = generation,
				    .verdict = FW_VERDICT_DENY,
				    .proto = 6,
				    .ip_version = 4,
				    .known = FW_EV_ADDRS | FW_EV_SADDR | FW_EV_SPORT | FW_EV_DPORT |
					     FW_EV_LENGTH,
				    .src = {[10] = 0xff, 0xff, 192, 0, 2, 1},
				    .dst = {[10] = 0xff, 0xff, 10, 0, 0, 1},
				    .sport = 1234,
				    .dport = 22,
				    .length = 60,
				    .cgroup_id = cgroup,
				    .ifindex = 1};
	if (candidate) {
		q.event.type = FW_EVENT_DISAGREEMENT;
		q.event.other_verdict = FW_VERDICT_ALLOW;
		q.event.other_rule = 64;
		q.event.other_generation = candidate;
	}
	if (cgroup)
		q.event.known |= FW_EV_CGROUP | FW_EV_IFACE;
	need(!bpf_prog_test_run_opts(prog, &run), "test run");
}

/* ---- fwmon as a child ---- */

struct child {
	pid_t pid;
	FILE *out;
	struct rusage used;
};

static struct child start(const char *const *args, int to)
{
	const char *argv[16] = {fwmon, "-N", "t"};
	struct child c = {};
	int fds[2] = {-1, to};

	for (int i = 0; args && args[i]; i++)
		argv[3 + i] = args[i];
	need(to >= 0 || !pipe2(fds, O_CLOEXEC), "pipe");
	fflush(stdout);
	c.pid = fork();
	if (!c.pid) {
		dup2(fds[1], 1);
		execv(fwmon, (char **)(uintptr_t)argv);
		_exit(127);
	}
	if (to < 0) {
		close(fds[1]);
		c.out = fdopen(fds[0], "r");
	}
	return c;
}

static int end(struct child *c, int sig)
{
	int status = 0;

	if (sig)
		kill(c->pid, sig);
	wait4(c->pid, &status, 0, &c->used);
	if (c->out)
		fclose(c->out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/* claimed(bits): wait until exactly these rings are claimed. */
static bool claimed(uint64_t bits)
{
	for (int i = 0; i < 1000; i++) {
		if (__atomic_load_n(&readers->claimed, __ATOMIC_SEQ_CST) == bits)
			return true;
		usleep(5000);
	}
	return false;
}

static inline uint64_t number(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : UINT64_MAX;
}

/* next_has(c, part, other): the next line has both. */
static bool next_has(struct child *c, const char *part, const char *other)
{
	char line[2048] = "nothing\n";

	if (fgets(line, sizeof(line), c->out) && strstr(line, part) && strstr(line, other))
		return true;
	printf("# expected %s and %s in: %s", part, other, line);
	return false;
}

static bool next_is(struct child *c, const char *part)
{
	return next_has(c, part, "");
}

#endif
