/* SPDX-License-Identifier: GPL-2.0-only */
/* What the benchmarks read: files, and what an instance has pinned. All of it ends the program where it
 * fails. */
#ifndef FW_BENCH_PIN_H
#define FW_BENCH_PIN_H

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/fw_abi.h"
#include "tests/bench.h"

/* A file descriptor of ${what}, as "maps/control", of ${instance}. */
static inline int pin_open(const char *instance, const char *what)
{
	const char *root = getenv("FW_BPFFS");
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s/%s", root ? root : "/sys/fs/bpf/fw", instance, what);
	fd = bpf_obj_get(path);
	if (fd < 0)
		fail("cannot open", path);
	return fd;
}

/* ---- flows ---- */

struct flow_pins {
	void *table;
	size_t bytes;
	int stats;
};

static inline struct flow_pins flow_pins_open(const char *instance)
{
	struct flow_pins f = {.stats = pin_open(instance, "maps/state_stats")};
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	int fd = pin_open(instance, "maps/flows");

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		fail("cannot ask about", "maps/flows");
	f.bytes = (size_t)info.max_entries * info.value_size;
	f.table = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (f.table == MAP_FAILED)
		fail("cannot map", "maps/flows");
	return f;
}

/* Of all CPUs. */
static inline struct fw_state_stats flow_stats(const struct flow_pins *f)
{
	int cpus = libbpf_num_possible_cpus();
	struct fw_state_stats *v = calloc((size_t)cpus, sizeof(*v)), sum = {0};
	uint32_t zero = 0;

	if (!v || bpf_map_lookup_elem(f->stats, &zero, v))
		fail("cannot read", "maps/state_stats");
	for (int i = 0; i < cpus; i++) {
		sum.flows_created += v[i].flows_created;
		sum.flows_evicted += v[i].flows_evicted;
	}
	free(v);
	return sum;
}

/* ---- files ---- */

/* To be freed; a 0 stands behind the ${len} bytes. */
static inline void *slurp(const char *path, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *p;

	if (fd < 0 || fstat(fd, &st))
		fail("cannot open", path);
	p = malloc((size_t)st.st_size + 1);
	if (!p || read(fd, p, (size_t)st.st_size) != st.st_size)
		fail("cannot read", path);
	close(fd);
	p[st.st_size] = 0;
	*len = (size_t)st.st_size;
	return p;
}

struct lpm_key {
	uint32_t len;
	struct in_addr a;
};

/* ${n} prefixes, one to a line; to be freed. */
static inline struct lpm_key *read_prefixes(const char *path, uint32_t *n)
{
	size_t len;
	char *text = slurp(path, &len), *rest = NULL;
	struct lpm_key *v = malloc((len / 8 + 1) * sizeof(*v)); /* "1.2.3.4/\n" is longer than 8 */

	*n = 0;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *slash = strchr(line, '/');

		v[*n].len = slash ? (uint32_t)atoi(slash + 1) : 32;
		if (slash)
			*slash = 0;
		*n += inet_pton(AF_INET, line, &v[*n].a) == 1;
	}
	free(text);
	return v;
}

#endif
