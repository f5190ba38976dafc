/* SPDX-License-Identifier: GPL-2.0-only */
/* bench_run: what a verdict costs, by BPF_PROG_TEST_RUN over the pinned XDP program.
 *
 * bench_run verdict [-N INSTANCE] -t TRACE [-p PREFIXES] [-e PERCENT] [-r ROUNDS] [-n PACKETS] [-R]
 *		  [-B INSTANCE] [-F PERCENT [-E PERCENT]] [-Z]
 *	prints "fw|lpm MEDIAN Q1 Q3 BEST" in ns over an empty program. -p: the same prefixes in an
 *	LPM_TRIE, too; -e: so many of the packets must be dropped, else it fails; -R: with a reader on
 *	ring 0, on the other CPU; -B: over what another instance takes; -F: so many of the packets must
 *	make a flow, and of all -E in the place of an unanswered one; -Z: no flows before each round
 *
 * bench_run switch [-N INSTANCE] -t TRACE [-r ROUNDS]
 *	slots 1 and 2 hold a policy that denies and logs every packet and, active, one that lets them
 *	pass in silence; "switch P50 P99": ns from writing the control word to the first event, which
 *	the other CPU stamps
 *
 * bench_run flood [-N INSTANCE] -t TRACE -s SECONDS
 *	packets without pause, for a reader that runs beside; "flood SENT LOST" events */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/kern_ring.h"
#include "tests/bench.h"
#include "tests/bench_pin.h"
#include "bench.skel.h"

#define FRAME 64

static struct {
	const char *instance, *base, *trace, *prefixes;
	int expect, rounds, reader, make_flows, evict, no_flows;
	uint32_t packets;
	double seconds;
} opt = {.instance = "default", .expect = -1, .make_flows = -1, .rounds = 61, .packets = 65536};

static struct bench *skel;
static uint32_t frames;
static void *first_frame;

/* ---- set up ---- */

static void fill_lpm(const struct lpm_key *v, uint32_t n)
{
	uint32_t one = 1;

	for (uint32_t i = 0; i < n; i++)
		if (bpf_map_update_elem(bpf_map__fd(skel->maps.lpm), &v[i], &one, BPF_ANY))
			fail("cannot fill", "LPM_TRIE");
}

static void set_next(uint32_t slot, int fd)
{
	if (bpf_map_update_elem(bpf_map__fd(skel->maps.next), &slot, &fd, BPF_ANY))
		fail("cannot put a program into", "PROG_ARRAY");
}

/* ${fw}: the measured program. */
static void set_up(int fw)
{
	size_t len;
	char *frame = slurp(opt.trace, &len);
	uint32_t n_prefixes = 0;
	struct lpm_key *prefixes = opt.prefixes ? read_prefixes(opt.prefixes, &n_prefixes) : NULL;
	void *trace;

	frames = (uint32_t)(len / FRAME);
	if (!frames || frames & (frames - 1)) {
		fprintf(stderr, "bench_run: %s: not a power of two of frames\n", opt.trace);
		exit(2);
	}
	skel = bench__open();
	if (!skel)
		fail("cannot open", "skeleton");
	bpf_map__set_max_entries(skel->maps.trace, frames);
	bpf_map__set_max_entries(skel->maps.lpm, n_prefixes ? n_prefixes : 1);
	if (bench__load(skel))
		fail("cannot load", "bench.bpf.o");
	trace = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(skel->maps.trace), 0);
	if (trace == MAP_FAILED)
		fail("cannot map", "trace");
	memcpy(trace, frame, len);
	first_frame = frame;
	skel->bss->mask = frames - 1;
	fill_lpm(prefixes, n_prefixes);
	free(prefixes);
	set_next(0, bpf_program__fd(skel->progs.empty));
	set_next(1, fw);
	set_next(2, opt.base ? pin_open(opt.base, "progs/xdp") : bpf_program__fd(skel->progs.look_up));
}

/* ns per packet, by the thread's own clock: what others do on this CPU doesn't count. The answer of the last
 * packet goes to ${verdict}. */
static double run(int prog, uint32_t packets, uint32_t *verdict)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = first_frame, .data_size_in = FRAME,
		    .repeat = (int)packets);
	uint64_t start = ns(CLOCK_THREAD_CPUTIME_ID);

	if (bpf_prog_test_run_opts(prog, &o))
		fail("cannot run", "program");
	start = ns(CLOCK_THREAD_CPUTIME_ID) - start;
	if (verdict)
		*verdict = o.retval;
	return (double)start / packets;
}

/* ---- a reader, so that events are made ---- */

static volatile bool reading;

static bool ignore(void *ctx, const void *record, size_t len)
{
	return false;
}

static void *reader(void *arg)
{
	struct view v = VIEW_NONE;
	struct claim c = CLAIM_NONE;

	pin_to(1);
	if (view_open(&v, opt.instance, VIEW_READER) || claim_ring(&c, &v))
		exit(3);
	reading = true;
	while (reading) { /* as fwmon does; one that spins would fight for the ring's position */
		ring_drain(&c.ring, 8192, ignore, NULL);
		usleep(100);
	}
	fprintf(stderr, "bench_run: %llu events lost\n", (unsigned long long)(claim_lost(&c) - c.lost));
	claim_drop(&c);
	view_close(&v);
	return NULL;
}

/* ---- verdict ---- */

/* The feeder's and the program's cost by turns, so that slow drift of the machine hits both. */
static void measure(const char *name, int base, int prog, struct flow_pins *flows)
{
	double *diff = calloc((size_t)opt.rounds, sizeof(*diff)), best[2] = {1e9, 1e9};

	for (int i = 0; i < opt.rounds; i++) {
		double a, b;

		if (opt.no_flows)
			memset(flows->table, 0, flows->bytes);
		a = run(base, opt.packets, NULL);
		b = run(prog, opt.packets, NULL);
		diff[i] = b - a;
		best[0] = a < best[0] ? a : best[0];
		best[1] = b < best[1] ? b : best[1];
	}
	qsort(diff, (size_t)opt.rounds, sizeof(*diff), by_size);
	printf("%s %.1f %.1f %.1f %.1f %.1f\n", name, quantile(diff, opt.rounds, 0.5),
	       quantile(diff, opt.rounds, 0.25), quantile(diff, opt.rounds, 0.75), best[1] - best[0],
	       best[0]);
	free(diff);
}

/* Do the packets meet what they are meant to meet? */
static void check_share(int prog)
{
	int dropped = 0, n = 500;

	for (int i = 0; i < n; i++) {
		uint32_t verdict;

		run(prog, 1, &verdict);
		dropped += verdict == 1; /* XDP_DROP */
	}
	if (dropped * 100 == opt.expect * n)
		return;
	fprintf(stderr, "bench_run: %d %% dropped, not %d %%\n", dropped * 100 / n, opt.expect);
	exit(1);
}

/* Did the packets do to flows what they are meant to do? */
static void check_flows(const struct flow_pins *flows, const struct fw_state_stats *from)
{
	double n = (double)opt.rounds * opt.packets / 100;
	struct fw_state_stats s = flow_stats(flows);
	double made = (double)(s.flows_created - from->flows_created) / n;
	double evicted = (double)(s.flows_evicted - from->flows_evicted) / n;

	if (opt.make_flows < 0 || (fabs(made - opt.make_flows) < 1 && fabs(evicted - opt.evict) < 1))
		return;
	fprintf(stderr, "bench_run: %.1f %% made flows, %.1f %% for others, not %d and %d %%\n", made, evicted,
		opt.make_flows, opt.evict);
	exit(1);
}

static int verdict(void)
{
	int fw = pin_open(opt.instance, "progs/xdp"), base, feed;
	struct flow_pins flows = flow_pins_open(opt.instance);
	struct fw_state_stats from;
	pthread_t thread;

	set_up(fw);
	base = bpf_program__fd(opt.base ? skel->progs.feed_other : skel->progs.feed_empty);
	feed = bpf_program__fd(skel->progs.feed_fw);
	if (opt.reader && pthread_create(&thread, NULL, reader, NULL))
		fail("cannot start", "thread");
	while (opt.reader && !reading)
		usleep(1000);
	run(base, frames, NULL);
	run(feed, 2 * frames, NULL); /* flows, limits, caches */
	if (opt.expect >= 0)
		check_share(feed);
	from = flow_stats(&flows);
	measure("fw", base, feed, &flows);
	check_flows(&flows, &from);
	if (opt.prefixes)
		measure("lpm", base, bpf_program__fd(skel->progs.feed_other), &flows);
	reading = false;
	if (opt.reader)
		pthread_join(thread, NULL);
	return 0;
}

/* ---- switch ---- */

static volatile bool stop;

static void *spin(void *fw)
{
	pin_to(1);
	while (!stop)
		run(*(int *)fw, 10000, NULL);
	return NULL;
}

static bool first_time(void *at, const void *record, size_t len)
{
	const struct fw_event *e = record;

	if (!*(uint64_t *)at)
		*(uint64_t *)at = e->time;
	return false;
}

/* ns from here to the first event of a generation that denies and logs what the one before lets pass in
 * silence. */
static double flip(volatile struct fw_control *control, uint64_t quiet, uint64_t logged, struct ring *ring)
{
	uint64_t first = 0, start;

	control->word = quiet;
	usleep(1000);
	while (ring_drain(ring, 65536, ignore, NULL) > 0)
		;
	start = ns(CLOCK_BOOTTIME);
	control->word = logged;
	while (!first && ns(CLOCK_BOOTTIME) < start + 100000000)
		ring_drain(ring, 1, first_time, &first);
	return first ? (double)(int64_t)(first - start) : 1e8;
}

static int switch_time(void)
{
	int fw = pin_open(opt.instance, "progs/xdp");
	double *took = calloc((size_t)opt.rounds, sizeof(*took));
	volatile struct fw_control *control;
	struct view v = VIEW_NONE;
	struct claim c = CLAIM_NONE;
	pthread_t thread;
	uint64_t quiet;

	set_up(fw);
	control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, pin_open(opt.instance, "maps/control"), 0);
	if (control == MAP_FAILED)
		fail("cannot map", "maps/control");
	if (view_open(&v, opt.instance, VIEW_READER) || claim_ring(&c, &v))
		return 3;
	if (pthread_create(&thread, NULL, spin, &fw))
		fail("cannot start", "thread");
	quiet = control->word;
	for (int i = 0; i < opt.rounds; i++)
		took[i] = flip(control, quiet, FW_WORD_ACTIVE(quiet) == 1 ? 2 : 1, &c.ring);
	control->word = quiet;
	stop = true;
	pthread_join(thread, NULL);
	claim_drop(&c);
	view_close(&v);
	qsort(took, (size_t)opt.rounds, sizeof(*took), by_size);
	printf("switch %.0f %.0f\n", quantile(took, opt.rounds, 0.5), quantile(took, opt.rounds, 0.99));
	return 0;
}

/* ---- flood ---- */

static int flood(void)
{
	int fw = pin_open(opt.instance, "progs/xdp");
	uint64_t end = ns(CLOCK_MONOTONIC) + (uint64_t)(opt.seconds * 1e9);
	struct fw_readers *r, from;

	set_up(fw);
	r = mmap(NULL, 4096, PROT_READ, MAP_SHARED, pin_open(opt.instance, "maps/readers"), 0);
	if (r == MAP_FAILED)
		fail("cannot map", "maps/readers");
	from = *r;
	while (ns(CLOCK_MONOTONIC) < end)
		run(bpf_program__fd(skel->progs.feed_fw), 10000, NULL);
	printf("flood %llu %llu\n", (unsigned long long)(r->sent[0] - from.sent[0]),
	       (unsigned long long)(r->lost[0] - from.lost[0]));
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int c;

	while ((c = getopt(argc - 1, argv + 1, "+N:B:t:p:e:r:n:s:F:E:RZ")) != -1) {
		switch (c) {
		case 'N':
			opt.instance = optarg;
			break;
		case 'B':
			opt.base = optarg;
			break;
		case 't':
			opt.trace = optarg;
			break;
		case 'p':
			opt.prefixes = optarg;
			break;
		case 'e':
			opt.expect = atoi(optarg);
			break;
		case 'r':
			opt.rounds = atoi(optarg);
			break;
		case 'n':
			opt.packets = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 's':
			opt.seconds = atof(optarg);
			break;
		case 'F':
			opt.make_flows = atoi(optarg);
			break;
		case 'E':
			opt.evict = atoi(optarg);
			break;
		case 'Z':
			opt.no_flows = 1;
			break;
		case 'R':
			opt.reader = 1;
			break;
		default:
			return 2;
		}
	}
	pin_to(0);
	if (opt.trace && !strcmp(what, "verdict"))
		return verdict();
	if (opt.trace && !strcmp(what, "switch"))
		return switch_time();
	if (opt.trace && !strcmp(what, "flood"))
		return flood();
	fprintf(stderr, "usage: bench_run verdict|switch|flood ... (see the head of bench_run.c)\n");
	return 2;
}
