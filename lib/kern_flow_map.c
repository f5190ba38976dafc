/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_flow_map.h"

#include <bpf/bpf.h>
#include <sys/mman.h>

int flow_map(struct flow_set *s, int fd, uint32_t n_buckets, bool writable)
{
	size_t bytes = (size_t)n_buckets * sizeof(struct fw_flow_bucket);
	void *mem = mmap(NULL, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);

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
