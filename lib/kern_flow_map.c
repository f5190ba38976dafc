/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_flow_map.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>

#define BATCH 4096u

/* copy_table(fd, n_buckets): in memory that munmap() frees; MAP_FAILED with errno. */
static void *copy_table(int fd, uint32_t n_buckets)
{
	size_t bytes = (size_t)n_buckets * sizeof(struct fw_flow_bucket);
	struct fw_flow_bucket *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t keys[BATCH], at = 0, n = 0, done = 0;
	int err = 0;

	while (mem != MAP_FAILED && !err && done < n_buckets) {
		n = n_buckets - done < BATCH ? n_buckets - done : BATCH;
		/* ENOENT says that these were the last ones */
		if (bpf_map_lookup_batch(fd, done ? &at : NULL, &at, keys, mem + done, &n, NULL) && (errno != ENOENT || !n))
			err = errno;
		done += n;
	}
	if (!err)
		return mem;
	munmap(mem, bytes);
	errno = err;
	return MAP_FAILED;
}

int flow_map(struct flow_set *s, int fd, uint32_t n_buckets, bool writable)
{
	size_t bytes = (size_t)n_buckets * sizeof(struct fw_flow_bucket);
	void *mem = mmap(NULL, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);

	if (mem == MAP_FAILED && errno == EINVAL && !writable)
		mem = copy_table(fd, n_buckets);
	*s = (struct flow_set){};
	if (mem == MAP_FAILED)
		return -1;
	s->buckets = mem;
	s->bytes = bytes;
	s->head.n_buckets = n_buckets;
	return 0;
}

int flow_clock(int prog_fd, __u64 *now)
{
	struct fw_clock clock = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = &clock, .ctx_size_in = sizeof(clock));

	if (bpf_prog_test_run_opts(prog_fd, &run))
		return -1;
	*now = clock.jiffies;
	return 0;
}
