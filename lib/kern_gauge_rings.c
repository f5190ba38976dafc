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
#include <time.h>
#include <unistd.h>

#include "diag.h"

int lock_held(int parent, const char *name)
{
	unsigned int major, minor;
	uint64_t inode;
	char line[160];
	int found = 0;
	struct stat st;
	FILE *f;

	if (fstatat(parent, name, &st, *name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH))
		return 0;
	f = fopen("/proc/locks", "re");
	if (!f)
		return -1;
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%*[^:]: FLOCK %*s %*s %*d %x:%x:%" SCNu64, &major, &minor, &inode) == 3 &&
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
		/* where nobody knows, the claimed bit is all there is */
		r->state = lock_held(v->maps, dir) ? RING_READ : RING_ABANDONED;
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

void gauge_losing(struct gauges *g, const struct view *v)
{
	bool any = false;

	for (size_t i = 0; i < g->n_rings; i++)
		any |= g->rings[i].state == RING_READ;
	if (!any)
		return;
	nanosleep(&(struct timespec){.tv_nsec = LOSING_MS * 1000000}, NULL);
	for (size_t i = 0; i < g->n_rings; i++) {
		struct ring_gauge *r = &g->rings[i];

		if (r->state == RING_READ)
			r->losing = __atomic_load_n(&v->readers->lost[r->number], __ATOMIC_RELAXED) - r->lost;
	}
}
