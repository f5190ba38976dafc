/* SPDX-License-Identifier: GPL-2.0-only */
/* bench_time: what is measured from outside.
 *
 * bench_time run [-r ROUNDS] [-P PREPARE] COMMAND...
 *	"time MEDIAN_MS Q1 P99 BEST PEAK_RSS_KB"; the shell command PREPARE comes before each round,
 *	untimed
 *
 * bench_time memory
 *	what a dependent read costs here and now, as a sentence */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench.h"

/* What a read costs that must wait for the one before: out of the caches of a shared machine this drifts more
 * than anything else, and a look-up in a large set is two or three of them. */
static double read_ns(size_t bytes)
{
	size_t n = bytes / 64, at = 0;
	uint32_t *order = calloc(n, sizeof(*order));
	char *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double best = 1e9;

	if (m == MAP_FAILED || !order)
		fail("cannot allocate", "memory");
	madvise(m, bytes, MADV_NOHUGEPAGE); /* maps have small pages, too */
	for (size_t i = 0; i < n; i++) {    /* inside-out shuffle (Durstenfeld, 1964) */
		size_t j = (size_t)random() % (i + 1);

		order[i] = order[j];
		order[j] = (uint32_t)i;
	}
	for (size_t i = 0; i < n; i++)
		*(size_t *)(m + 64ul * order[i]) = 64ul * order[(i + 1) % n];
	for (int round = 0; round < 9; round++) {
		uint64_t start = ns(CLOCK_THREAD_CPUTIME_ID);

		for (int i = 0; i < 100000; i++)
			at = *(volatile size_t *)(m + at);
		start = ns(CLOCK_THREAD_CPUTIME_ID) - start;
		best = (double)start / 1e5 < best ? (double)start / 1e5 : best;
	}
	munmap(m, bytes);
	free(order);
	return best;
}

static int memory(void)
{
	printf("%.0f ns in 512 kB, %.0f in 8 MB, %.0f in 64 MB\n", read_ns(512 << 10), read_ns(8 << 20),
	       read_ns(64 << 20));
	return 0;
}

static int time_command(char **argv, int rounds, const char *prepare)
{
	double *took = calloc((size_t)rounds, sizeof(*took));
	struct rusage used;
	long peak = 0;

	for (int i = 0; i < rounds; i++) {
		int status = 0;
		uint64_t start;
		pid_t pid;

		if (prepare && system(prepare))
			fprintf(stderr, "bench_time: failed: %s\n", prepare);
		start = ns(CLOCK_MONOTONIC);
		pid = fork();
		if (!pid) {
			execvp(*argv, argv);
			_exit(127);
		}
		wait4(pid, &status, 0, &used);
		took[i] = (double)(ns(CLOCK_MONOTONIC) - start) / 1e6;
		peak = used.ru_maxrss > peak ? used.ru_maxrss : peak;
		if (status) {
			fprintf(stderr, "bench_time: %s: status %d\n", *argv, status);
			return 1;
		}
	}
	qsort(took, (size_t)rounds, sizeof(*took), by_size);
	printf("time %.1f %.1f %.1f %.1f %ld\n", quantile(took, rounds, 0.5), quantile(took, rounds, 0.25),
	       quantile(took, rounds, 0.99), took[0], peak);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *prepare = NULL;
	int c, rounds = 11;

	while ((c = getopt(argc - 1, argv + 1, "+r:P:")) != -1) {
		if (c == 'r')
			rounds = atoi(optarg);
		else if (c == 'P')
			prepare = optarg;
		else
			return 2;
	}
	if (!strcmp(what, "memory"))
		return memory();
	if (!strcmp(what, "run") && argv[1 + optind] && rounds > 0)
		return time_command(argv + 1 + optind, rounds, prepare);
	fprintf(stderr, "usage: bench_time run|memory ... (see the head of bench_time.c)\n");
	return 2;
}
