/* SPDX-License-Identifier: GPL-2.0-only */
/* prog_race: two lists of frames through the pinned XDP program on two CPUs. The frames of one number start at the same
 * moment, so that the program meets itself in places that take a fraction of a microsecond. FILEs as prog_run's.
 * A line per frame: what became of it on the first CPU and on the second, "pass" or "drop". */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#define CPUS 2
#define PATIENCE 100000 /* turns of waiting before the CPU is given to somebody else */

struct list {
	uint8_t *data, *passed;
	size_t size, n;
};

static struct list lists[CPUS];
static size_t arrived[CPUS]; /* frames that each has come to */
static int prog = -1;
static uint32_t ifindex;

static void fail(const char *what, const char *object)
{
	fprintf(stderr, "prog_race: %s %s: %s\n", what, object, strerror(errno));
	exit(3);
}

static uint32_t length_at(const struct list *l, size_t at)
{
	uint32_t len;

	memcpy(&len, l->data + at, sizeof(len));
	if (len > l->size - at - sizeof(len)) {
		fprintf(stderr, "prog_race: record cut\n");
		exit(1);
	}
	return len;
}

static void list_read(struct list *l, const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		fail("cannot open", name);
	l->size = st.st_size;
	l->data = mmap(NULL, l->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (l->data == MAP_FAILED)
		fail("cannot map", name);
	for (size_t at = 0; at + 4 <= l->size; at += 4 + length_at(l, at))
		l->n++;
	l->passed = calloc(l->n + 1, 1);
	if (!l->passed)
		fail("cannot allocate for", name);
	close(fd);
}

static void meet(int me, size_t number)
{
	__atomic_store_n(&arrived[me], number, __ATOMIC_SEQ_CST);
	for (unsigned int turns = 1; __atomic_load_n(&arrived[!me], __ATOMIC_SEQ_CST) < number; turns++)
		if (turns % PATIENCE == 0)
			sched_yield();
}

static void *run(void *arg)
{
	int me = (int)(intptr_t)arg;
	struct list *l = &lists[me];
	static char out[CPUS][4096];
	cpu_set_t cpu;
	size_t at = 0;

	CPU_ZERO(&cpu);
	CPU_SET(me, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		fail("cannot run on", "both CPUs");
	for (size_t i = 0; i < l->n; i++) {
		uint32_t len = length_at(l, at);
		struct xdp_md xdp = { .data_end = len, .ingress_ifindex = ifindex };
		LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = l->data + at + 4, .data_size_in = len, .data_out = out[me],
			    .data_size_out = sizeof(out[me]), .ctx_in = &xdp, .ctx_size_in = sizeof(xdp), .repeat = 1);

		meet(me, i + 1);
		if (bpf_prog_test_run_opts(prog, &o))
			fail("cannot run", "xdp");
		l->passed[i] = o.retval == 2;
		at += 4 + len;
	}
	meet(me, SIZE_MAX);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t other;

	if (argc != 5) {
		fprintf(stderr, "usage: prog_race PIN IFINDEX FILE FILE\n");
		return 2;
	}
	prog = bpf_obj_get(argv[1]);
	if (prog < 0)
		fail("cannot open", argv[1]);
	ifindex = strtoul(argv[2], NULL, 10);
	for (int i = 0; i < CPUS; i++)
		list_read(&lists[i], argv[3 + i]);
	if (lists[0].n != lists[1].n) {
		fprintf(stderr, "prog_race: the lists differ in length\n");
		return 2;
	}
	errno = pthread_create(&other, NULL, run, (void *)1);
	if (errno)
		fail("cannot start", "thread");
	run(NULL);
	pthread_join(other, NULL);
	for (size_t i = 0; i < lists[0].n; i++)
		printf("%s %s\n", lists[0].passed[i] ? "pass" : "drop", lists[1].passed[i] ? "pass" : "drop");
	return fflush(stdout) ? 3 : 0;
}
