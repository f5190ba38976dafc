/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_gauge.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "diag.h"

/* has_reader(v, name): somebody holds the lock of the ring's directory. Asked of /proc/locks, because trying
 * the lock would make a reader that starts at this moment believe that the ring is taken. Locks of processes
 * in other pid namespaces are not listed: without /proc/locks, or there, the claimed bit is all there is. */
static bool has_reader(const struct view *v, const char *name)
{
	unsigned int major, minor;
	uint64_t inode;
	char line[160];
	bool found = false;
	struct stat st;
	FILE *f;

	if (fstatat(v->maps, name, &st, AT_SYMLINK_NOFOLLOW))
		return false;
	f = fopen("/proc/locks", "re");
	if (!f)
		return true;
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%*[^:]: FLOCK %*s %*s %*d %x:%x:%" SCNu64, &major, &minor, &inode) ==
				3 &&
			inode == st.st_ino && makedev(major, minor) == st.st_dev;
	fclose(f);
	return found;
}

/* read_fill(fd, r): bytes submitted or reserved and not yet taken. */
static int read_fill(int fd, struct ring_gauge *r)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const volatile uint64_t *pages = mmap(NULL, 2 * page, PROT_READ, MAP_SHARED, fd, 0);
	uint64_t consumer, producer;

	if (pages == MAP_FAILED)
		return -1;
	/* In this order: read the other way round, the consumer could have passed the producer. */
	consumer = __atomic_load_n(&pages[0], __ATOMIC_ACQUIRE);
	producer = __atomic_load_n(&pages[page / sizeof(*pages)], __ATOMIC_ACQUIRE);
	r->used = producer - consumer < r->size ? producer - consumer : r->size;
	munmap((void *)(uintptr_t)pages, 2 * page);
	return 0;
}

/* read_ring(g, v, n): 0, or -1 with errno. */
static int read_ring(struct gauges *g, const struct view *v, uint32_t n)
{
	struct ring_gauge *r = &g->rings[g->n_rings];
	struct map_facts facts;
	char dir[24], name[40];
	int fd, err;

	snprintf(dir, sizeof(dir), FW_RING_DIR, (int)n);
	snprintf(name, sizeof(name), "%s/events", dir);
	fd = view_map(v, name, 1, &facts); /* or it could not be mapped */
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	*r = (struct ring_gauge){.number = n, .size = facts.max_entries, .memory = map_memory(fd)};
	err = facts.type == BPF_MAP_TYPE_RINGBUF ? read_fill(fd, r) : (errno = EINVAL, -1);
	close(fd);
	if (err)
		return -1;
	if (__atomic_load_n(&v->readers->claimed, __ATOMIC_RELAXED) >> n & 1)
		r->state = has_reader(v, dir) ? RING_READ : RING_ABANDONED;
	r->sent = __atomic_load_n(&v->readers->sent[n], __ATOMIC_RELAXED);
	r->lost = __atomic_load_n(&v->readers->lost[n], __ATOMIC_RELAXED);
	g->memory += r->memory;
	g->n_rings++;
	return 0;
}

int gauge_rings(struct gauges *g, const struct view *v)
{
	for (uint32_t n = 0; n < FW_RINGS; n++) {
		if (!read_ring(g, v, n))
			continue;
		complain("cannot read " FW_RING_DIR " of instance %s: %m", (int)n, v->instance);
		return -1;
	}
	return 0;
}
