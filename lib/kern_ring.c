/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_ring.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "diag.h"

/* record_at(r, pos, len): the ${len} bytes at position ${pos}. The data is mapped once, not twice in a row as
 * libbpf does, which would count double in RSS; our records are 128 bytes with their header and never wrap.
 */
static const void *record_at(struct ring *r, uint64_t pos, size_t len)
{
	uint64_t off = pos & (r->size - 1);
	size_t first = r->size - off;

	if (len <= first)
		return r->data + off;
	memcpy(r->copy, r->data + off, first);
	memcpy(r->copy + first, r->data, len - first);
	return r->copy;
}

int ring_drain(struct ring *r, unsigned int max, ring_fn *fn, void *ctx)
{
	uint64_t pos = __atomic_load_n(r->consumer, __ATOMIC_RELAXED);
	uint64_t end = __atomic_load_n(r->producer, __ATOMIC_ACQUIRE);
	unsigned int taken = 0;
	bool stop = false;

	if (end - pos > r->size || pos % 8)
		return -1;
	while (pos < end && taken < max && !stop) {
		const uint32_t *head = (const uint32_t *)(r->data + (pos & (r->size - 1)));
		uint32_t word = __atomic_load_n(head, __ATOMIC_ACQUIRE);
		uint32_t len = word & ~(RING_BUSY | RING_DISCARD);
		uint64_t step = (RING_HEADER + (uint64_t)len + 7) & ~7ull;

		if (word & RING_BUSY)
			break;
		if (step > end - pos)
			return -1;
		if (!(word & RING_DISCARD)) {
			if (len > RING_RECORD_MAX)
				r->bad++;
			else
				stop = fn(ctx, record_at(r, pos + RING_HEADER, len), len);
		}
		pos += step;
		taken++;
	}
	if (taken)
		__atomic_store_n(r->consumer, pos, __ATOMIC_RELEASE);
	return (int)taken;
}

static bool ignore(void *ctx, const void *record, size_t len)
{
	return false;
}

void ring_empty(struct ring *r)
{
	/* Record by record, because a record still being written must not be passed: before 6.10 the kernel
	 * would let a producer overwrite it. Positions that make no sense are a former reader's fault. */
	if (ring_drain(r, UINT32_MAX, ignore, NULL) < 0)
		__atomic_store_n(r->consumer, __atomic_load_n(r->producer, __ATOMIC_ACQUIRE),
				 __ATOMIC_RELEASE);
	r->bad = 0;
}

/* map_ring(c, bytes): the consumer page writable, the producer page and the data read-only. */
static int map_ring(struct claim *c, size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *mem;

	c->lengths[0] = page;
	c->pages[0] = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, c->map, 0);
	c->lengths[1] = page + bytes;
	c->pages[1] = mmap(NULL, page + bytes, PROT_READ, MAP_SHARED, c->map, (off_t)page);
	if (c->pages[0] == MAP_FAILED || c->pages[1] == MAP_FAILED)
		return -1;
	mem = c->pages[1];
	c->ring.consumer = c->pages[0];
	c->ring.producer = (const uint64_t *)mem;
	c->ring.data = mem + page;
	c->ring.size = bytes;
	return 0;
}

/* lock_ring(v, n): the locked directory of ring ${n}; -1 with errno, EWOULDBLOCK when another reader has it.
 */
static int lock_ring(const struct view *v, int n)
{
	char name[24];
	int fd;

	snprintf(name, sizeof(name), FW_RING_DIR, n);
	fd = openat(v->maps, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

/* wait_unprivileged(): who may make no maps (CAP_BPF) has a grace period of membarrier(2), except on a single CPU and with
 * nohz_full: there is only time, of which a program needs microseconds. */
static int wait_unprivileged(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) || sysconf(_SC_NPROCESSORS_ONLN) < 2)
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	return 0;
}

/* wait_programs(): until every program that runs now has ended. The kernel waits for an RCU grace period when an array
 * of maps is changed, so that whoever changes it knows that the old map is out of use; any such array will do. */
static int wait_programs(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "fw_wait", 4, 4, 1, NULL), outer = -1, err = -1;
	uint32_t zero = 0;

	if (inner < 0 && errno == EPERM)
		return wait_unprivileged();
	if (inner >= 0) {
		opts.inner_map_fd = (uint32_t)inner;
		outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "fw_wait", 4, 4, 1, &opts);
	}
	if (outer >= 0) {
		err = bpf_map_update_elem(outer, &zero, &inner, BPF_ANY);
		close(outer);
	}
	if (inner >= 0)
		close(inner);
	return err;
}

static int take_ring(struct claim *c, const struct view *v, int n)
{
	struct map_facts facts;
	char name[24];

	snprintf(name, sizeof(name), FW_RING_DIR "/events", n);
	c->map = view_map(v, name, 1, &facts);
	if (c->map < 0) {
		complain("cannot open map %s of instance %s: %m", name, v->instance);
		return EXIT_SYSTEM;
	}
	if (facts.type != BPF_MAP_TYPE_RINGBUF) {
		complain("map %s of instance %s is not a ring buffer", name, v->instance);
		return EXIT_SYSTEM;
	}
	if (map_ring(c, facts.max_entries)) {
		complain("cannot mmap map %s of instance %s: %m", name, v->instance);
		return EXIT_SYSTEM;
	}
	c->number = n;
	c->readers = v->readers;
	/* A reader that was killed left its bit. */
	__atomic_fetch_and(&c->readers->claimed, ~(1ull << n), __ATOMIC_SEQ_CST);
	if (wait_programs()) {
		complain("cannot make a map, to wait for programs: %m");
		return EXIT_SYSTEM;
	}
	ring_empty(&c->ring);
	if (tally_open(&c->tally, v, n))
		return EXIT_SYSTEM;
	c->lost = claim_lost(c);
	__atomic_fetch_or(&c->readers->claimed, 1ull << n, __ATOMIC_SEQ_CST);
	return 0;
}

int claim_ring(struct claim *c, const struct view *v)
{
	int rings = 0;

	*c = (struct claim)CLAIM_NONE;
	/* A killed reader leaves its bit but not its lock: the lock decides. */
	for (int n = 0; n < FW_RINGS; n++) {
		c->dir = lock_ring(v, n);
		if (c->dir >= 0)
			return take_ring(c, v, n);
		rings += errno == EWOULDBLOCK;
		if (errno != EWOULDBLOCK && errno != ENOENT) {
			complain("cannot lock " FW_RING_DIR " of instance %s: %m", n, v->instance);
			return EXIT_SYSTEM;
		}
	}
	if (!rings) {
		complain("instance %s has no event rings", v->instance);
		return EXIT_SYSTEM;
	}
	complain("instance %s: all %d event rings have a reader (other fwmon processes)", v->instance, rings);
	return EXIT_BUSY;
}

void claim_mute(struct claim *c)
{
	uint64_t bit;

	if (!c->readers)
		return;
	bit = 1ull << c->number;
	if (__atomic_fetch_and(&c->readers->claimed, ~bit, __ATOMIC_SEQ_CST) & bit)
		wait_programs();
}

uint64_t claim_lost(const struct claim *c)
{
	return __atomic_load_n(&c->readers->lost[c->number], __ATOMIC_RELAXED);
}

void claim_drop(struct claim *c)
{
	claim_mute(c);
	tally_close(&c->tally);
	for (int i = 0; i < 2; i++)
		if (c->pages[i] && c->pages[i] != MAP_FAILED)
			munmap(c->pages[i], c->lengths[i]);
	if (c->map >= 0)
		close(c->map);
	if (c->dir >= 0)
		close(c->dir); /* and with it the lock */
	*c = (struct claim)CLAIM_NONE;
}
