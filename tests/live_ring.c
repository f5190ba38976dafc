/* SPDX-License-Identifier: GPL-2.0-only */
/* fwmon against real ring buffers: order, losses, several readers, ways to end, refusals, speed. TAP; needs
 * root. usage: live_ring FWMON RING.BPF.O [any: don't judge the memory, as under a sanitizer] */
#include <mntent.h>

#include "tests/live_instance.h"

static void test_order(void)
{
	struct child c = start(NULL, -1);
	char line[2048];
	uint64_t next = 1;
	bool good = true;

	ok(next_is(&c, "{\"event_type\":\"meta\"") && claimed(1), "first a meta record, and ring 0 claimed");
	for (uint32_t d = 0; d <= 24; d += 8) {
		if (d == 16)
			continue;
		for (int round = 0; round < 20; round++) {
			produce(250, next, 5, d);
			for (int i = 0; i < 250; i++, next++)
				good &= fgets(line, sizeof(line), c.out) &&
					number(line, "\"flow_id\":\"") == next &&
					strstr(line, "\"rule\":\"rule_g5\",\"priority\":10,");
		}
	}
	ok(good, "15,000 events in order, discarded records and wraps among them");
	put_meta(6);
	produce(1, next, 5, 0);
	produce(1, next, 6, 0);
	ok(next_is(&c, "{\"event_type\":\"meta\"") && next_is(&c, "\"rule_g5\"") && next_is(&c, "\"rule_g6\""),
	   "a new generation: its meta record first, then its names");
	produce(1, next, 5, 0);
	ok(next_is(&c, "\"rule_g5\""), "late events of the generation before keep their names");
	produce(1, next, 77, 0);
	ok(next_is(&c, "\"generation\":77"), "a generation that never appears is not waited for");
	produce(3, next, 6, 0);
	ok(end(&c, SIGTERM) == 0 && claimed(0), "SIGTERM: exit 0, ring given back");
	put_meta(5);
}

static void test_names(void)
{
	FILE *mounts = setmntent("/proc/mounts", "re");
	struct mntent *m;
	struct child c;
	struct stat st;
	char path[4096];

	while (mounts && (m = getmntent(mounts)) && strcmp(m->mnt_type, "cgroup2"))
		;
	if (!mounts || !m || stat(m->mnt_dir, &st)) {
		ok(true, "cgroup names # SKIP no cgroup v2");
		return;
	}
	c = start(NULL, -1);
	claimed(1);
	next_is(&c, "\"meta\"");
	cgroup = st.st_ino;
	produce(1, 1, 5, 0);
	ok(next_is(&c, "\"cgroup\":\"/\""), "the root cgroup is /");
	produce(1, 1, 5, 0);
	ok(next_is(&c, "\"in_iface\":\"lo\""), "interface name");
	snprintf(path, sizeof(path), "%s/fw-ring-%d", m->mnt_dir, (int)getpid());
	need(!mkdir(path, 0755) && !stat(path, &st), path);
	cgroup = st.st_ino;
	produce(1, 1, 5, 0);
	ok(next_is(&c, "\"cgroup\":\"/fw-ring-"), "a cgroup below it");
	rmdir(path);
	mkdir(path, 0755);
	stat(path, &st);
	rmdir(path);
	cgroup = st.st_ino;
	produce(1, 1, 5, 0);
	ok(next_is(&c, "\"cgroup_id\":\"") && end(&c, SIGTERM) == 0, "a cgroup that is gone has only its id");
	endmntent(mounts);
	cgroup = 0;
}

static void test_loss(void)
{
	struct child c = start(NULL, -1);
	uint64_t seen = 0, lost = 0, total = 0, before;
	char line[2048];

	claimed(1);
	before = readers->lost[0];
	kill(c.pid, SIGSTOP);
	for (int i = 0; i < 20; i++, total += 500)
		produce(500, total, 5, 0);
	kill(c.pid, SIGCONT);
	while (seen + lost < total && fgets(line, sizeof(line), c.out)) {
		seen += strstr(line, "\"verdict\":") != NULL;
		lost += strstr(line, "\"lost\"") ? number(line, "\"count\":") : 0;
	}
	ok(seen + lost == total && lost == readers->lost[0] - before && seen == (RING_BYTES - 1) / (sizeof(struct fw_event) + 8),
	   "overflow: %llu seen + %llu lost = all", (unsigned long long)seen, (unsigned long long)lost);
	ok(end(&c, SIGINT) == 0 && claimed(0), "SIGINT: exit 0, ring given back");
}

static void test_readers(void)
{
	struct child c[FW_RINGS], last;
	char line[2048];

	for (int i = 0; i < FW_RINGS; i++) {
		c[i] = start(NULL, -1);
		claimed((2ull << i) - 1);
	}
	last = start(NULL, -1);
	ok(end(&last, 0) == 4, "one reader more than rings: exit 4");
	end(&c[0], SIGKILL);
	ok(claimed((1ull << FW_RINGS) - 1), "a killed reader leaves its bit");
	produce(10, 0, 5, 0);
	last = start(NULL, -1);
	ok(next_is(&last, "\"meta\""), "its ring is taken over");
	usleep(100000);
	produce(1, 4711, 5, 0);
	ok(fgets(line, sizeof(line), last.out) && number(line, "\"flow_id\":\"") == 4711,
	   "and emptied first");
	end(&last, SIGTERM);
	for (int i = 1; i < FW_RINGS; i++)
		end(&c[i], SIGTERM);
	ok(claimed(0), "all given back");
}

static void test_ends(void)
{
	struct child c = start((const char *const[]){"-c", "3", "--port", "22", NULL}, -1);
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), lines = 0;
	char line[2048];

	claimed(1);
	produce(100, 0, 5, 0);
	while (lines < 4 && fgets(line, sizeof(line), c.out))
		lines += strstr(line, lines ? "\"verdict\"" : "\"meta\"") != NULL;
	ok(lines == 4 && next_is(&c, "\"event_type\":\"suppressed\"") && !fgets(line, sizeof(line), c.out) &&
		   end(&c, 0) == 0,
	   "-c 3: the meta record, three events, and how many came after them");
	c = start((const char *const[]){"--port", "23", "-c", "1", NULL}, -1);
	claimed(1);
	produce(100, 0, 5, 0);
	next_is(&c, "\"meta\"");
	fclose(c.out);
	c.out = NULL;
	ok(end(&c, 0) == 0 && claimed(0), "the reader leaves while nothing passes the filter: exit 0");
	c = start(NULL, full);
	ok(end(&c, 0) == 3 && claimed(0), "/dev/full: exit 3");
	close(full);
	c = start(NULL, -1);
	claimed(1);
	for (int i = 0; i < 20; i++, usleep(20000))
		produce(500, 0, 5, 0); /* 4 MB into a pipe of 64 kB */
	ok(end(&c, SIGTERM) == 3 && claimed(0),
	   "nobody reads the pipe: SIGTERM still ends it, ring given back");
}

/* programs_on(on): begin or end a process that runs the producer over and over, 1024 events each. */
static void programs_on(bool on)
{
	static pid_t pid;

	if (!on) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return;
	}
	fflush(stdout);
	pid = fork();
	/* with pauses, so that the reader has not much else to do when it ends */
	for (; !pid; usleep(100))
		produce(1024, 0, 5, 24);
}

/* A reader that ends while a program is in the middle of its events still has them all. */
static void test_mute(void)
{
	char path[] = "/tmp/fw-mute-XXXXXX", line[2048];
	uint64_t bad = 0;

	programs_on(true);
	for (int round = 0; round < 30; round++) {
		uint64_t before = readers->sent[0] + readers->lost[0], got = 0;
		int fd = mkstemp(path);
		struct child c = start(NULL, fd);
		FILE *f = fdopen(fd, "r");

		claimed(1);
		usleep(3000);
		bad += end(&c, SIGTERM) != 0;
		rewind(f);
		while (fgets(line, sizeof(line), f))
			got += strstr(line, "\"verdict\":") ? 1 : strstr(line, "\"lost\"") ? number(line, "\"count\":") : 0;
		fclose(f);
		unlink(path);
		strcpy(path, "/tmp/fw-mute-XXXXXX");
		bad += got != readers->sent[0] + readers->lost[0] - before;
	}
	programs_on(false);
	ok(!bad, "30 readers that end amid events have all that were meant for them (%llu did not)", (unsigned long long)bad);
}

/* What programs counted for the ring's reader is told when it ends, by rule; what they counted for an earlier one isn't. */
static void test_tally(void)
{
	struct child c;

	limits[64].suppressed[0] = 1;
	limits[64].lost[0] = 2;
	limits[64].suppressed[1] = 3;
	c = start((const char *const[]){"-v", NULL}, -1);
	claimed(1);
	next_is(&c, "\"meta\"");
	ok(!limits[64].suppressed[0] && !limits[64].lost[0] && limits[64].suppressed[1] == 3,
	   "a new reader zeroes the counts of its ring, and no others");
	limits[64].lost[0] = 5;
	limits[65].lost[0] = 1;
	readers->lost[0] += 6;
	ok(next_is(&c, "\"count\":5,\"rule\":\"rule_g5\",\"priority\":10}") && next_is(&c, "\"count\":1}"),
	   "losses by rule, of an unknown rule too");
	limits[64].lost[0] = 1;
	readers->lost[0] += 1 + (5ull << 32);
	ok(next_is(&c, "\"count\":1,\"rule\"") && next_is(&c, "\"count\":21474836480}"),
	   "more losses than a rule's count can hold: the sum is right");
	limits[64].suppressed[0] = 1ull << 33;
	limits[FW_REASON_ID(FW_REASON_DEFAULT, FW_EGRESS)].suppressed[0] = 7;
	kill(c.pid, SIGTERM);
	ok(next_is(&c, "\"event_type\":\"suppressed\"") && next_is(&c, "\"count\":8589934592,\"rule\":\"rule_g5\""),
	   "at the end, what is still suppressed");
	ok(end(&c, 0) == 0 && !limits[64].suppressed[0] && limits[64].suppressed[1] == 3, "and nothing is left");
}

static void test_refusals(void)
{
	struct child c;
	char path[256];

	snprintf(path, sizeof(path), "%s/fw/t", root);
	chmod(path, 0777);
	c = start(NULL, -1);
	ok(end(&c, 0) == 3, "a directory that others may write is refused");
	chmod(path, 0700);
	need(!chown(path, 65534, 0), "chown");
	c = start(NULL, -1);
	ok(end(&c, 0) == 3, "a directory of another owner is refused");
	need(!chown(path, 0, 0), "chown");
	c = start((const char *const[]){"-N", "none", NULL}, -1);
	ok(end(&c, 0) == 3, "no such instance: exit 3");
	c = start((const char *const[]){"-N", "../t", NULL}, -1);
	ok(end(&c, 0) == 2, "not an instance name: exit 2");
	rename(in_maps("ring0/events"), in_maps("ring0/kept"));
	c = start(NULL, -1);
	ok(end(&c, 0) == 3, "a ring without its map: exit 3");
	rename(in_maps("control"), in_maps("ring0/events"));
	rename(in_maps("ring0/kept"), in_maps("control"));
	c = start(NULL, -1);
	ok(end(&c, 0) == 3, "maps of another type: exit 3");
	rename(in_maps("control"), in_maps("ring0/kept"));
	rename(in_maps("ring0/events"), in_maps("control"));
	rename(in_maps("ring0/kept"), in_maps("ring0/events"));
}

static long rss_kb(pid_t pid)
{
	char path[64], line[256];
	long kb = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmRSS:", 6))
			kb = atol(line + 6);
	if (f)
		fclose(f);
	return kb;
}

static void test_speed(bool measure)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct child c = start((const char *const[]){"-v", NULL}, null);
	uint64_t sent;
	double cpu;
	long kb;

	claimed(1);
	sent = readers->sent[0];
	for (int i = 0; i < 4000; i++)
		produce(500, 0, 5, 0);
	kb = rss_kb(c.pid);
	usleep(50000);
	end(&c, SIGTERM);
	close(null);
	sent = readers->sent[0] - sent;
	cpu = (double)(c.used.ru_utime.tv_sec + c.used.ru_stime.tv_sec) * 1e9 +
	      (double)(c.used.ru_utime.tv_usec + c.used.ru_stime.tv_usec) * 1e3;
	printf("# %llu events, %.0f ns of CPU each, RSS %ld kB\n", (unsigned long long)sent,
	       cpu / (double)sent, kb);
	if (measure)
		ok(kb < 4096, "RSS below 4 MB");
}

static void test_unload(void)
{
	struct child c = start(NULL, -1);
	char cmd[300];

	claimed(1);
	snprintf(cmd, sizeof(cmd), "rm -r %s/fw/t", root);
	need(!system(cmd), cmd);
	ok(end(&c, 0) == 0, "unloaded: exit 0");
}

int main(int argc, char **argv)
{
	if (argc < 3 || geteuid()) {
		puts("1..0 # SKIP usage: live_ring FWMON RING.BPF.O, as root");
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(120);
	fwmon = argv[1];
	make_instance(argv[2]);
	test_order();
	test_names();
	test_loss();
	test_readers();
	test_ends();
	test_tally();
	test_mute();
	test_speed(argc < 4);
	test_refusals();
	test_unload();
	umount2(root, MNT_DETACH);
	rmdir(root);
	return done();
}
