/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_tally.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "diag.h"

#define MAP_NAME "log_limits"

static void unmap(struct tally_map *m)
{
	if (m->limits)
		munmap(m->limits, m->ids * sizeof(*m->limits));
	*m = (struct tally_map){};
}

/* map_counts(m, v, known): 0, or -1 with errno; EPROTO: another layout; EEXIST: it is the one with id ${known}. */
static int map_counts(struct tally_map *m, const struct view *v, uint32_t known)
{
	struct map_facts facts;
	int fd = view_map(v, MAP_NAME, 1, &facts), err = EPROTO;
	void *mem;

	*m = (struct tally_map){};
	if (fd < 0)
		return -1;
	if (facts.id == known) {
		err = EEXIST;
	} else if (facts.type == BPF_MAP_TYPE_ARRAY && facts.value_size == sizeof(*m->limits) &&
		   (facts.flags & BPF_F_MMAPABLE)) {
		mem = mmap(NULL, facts.max_entries * sizeof(*m->limits), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		err = mem == MAP_FAILED ? errno : 0;
		if (!err)
			*m = (struct tally_map){mem, facts.max_entries, facts.id};
	}
	close(fd);
	errno = err;
	return err ? -1 : 0;
}

int tally_open(struct tally *t, const struct view *v, int ring)
{
	*t = (struct tally){.ring = ring};
	if (map_counts(&t->now, v, 0)) {
		if (errno == EPROTO)
			complain("map " MAP_NAME " of instance %s has another layout: loaded by another version?", v->instance);
		else
			complain("cannot open map " MAP_NAME " of instance %s: %m", v->instance);
		return EXIT_SYSTEM;
	}
	for (uint32_t id = 0; id < t->now.ids; id++) {
		__atomic_store_n(&t->now.limits[id].suppressed[ring], 0, __ATOMIC_RELAXED);
		__atomic_store_n(&t->now.limits[id].lost[ring], 0, __ATOMIC_RELAXED);
	}
	return 0;
}

void tally_give(struct tally *t, uint32_t id, uint64_t count)
{
	if (id < t->now.ids)
		__atomic_fetch_add(&t->now.limits[id].suppressed[t->ring], count, __ATOMIC_RELAXED);
}

/* move_on(t): what programs left in the map before the present one. */
static void move_on(struct tally *t)
{
	for (uint32_t id = 0; id < t->before.ids; id++) {
		struct fw_log_limit *old = &t->before.limits[id], *l = &t->now.limits[id];
		uint64_t n = __atomic_exchange_n(&old->suppressed[t->ring], 0, __ATOMIC_RELAXED);

		if (n)
			tally_give(t, id, n);
		if (id < t->now.ids)
			__atomic_fetch_add(&l->lost[t->ring],
					   __atomic_exchange_n(&old->lost[t->ring], 0, __ATOMIC_RELAXED),
					   __ATOMIC_RELAXED);
	}
}

void tally_follow(struct tally *t, const struct view *v)
{
	struct tally_map fresh;

	move_on(t);
	if (map_counts(&fresh, v, t->now.map_id))
		return;
	unmap(&t->before);
	t->before = t->now;
	t->now = fresh;
	move_on(t);
}

uint64_t tally_lost(struct tally *t, tally_fn *fn, void *ctx)
{
	uint64_t sum = 0;

	for (uint32_t id = 0; id < t->now.ids; id++) {
		uint32_t *lost = &t->now.limits[id].lost[t->ring], n;

		if (!__atomic_load_n(lost, __ATOMIC_RELAXED))
			continue;
		n = __atomic_exchange_n(lost, 0, __ATOMIC_RELAXED);
		fn(ctx, id, n);
		sum += n;
	}
	return sum;
}

uint64_t tally_suppressed(struct tally *t, tally_fn *fn, void *ctx)
{
	uint64_t sum = 0;

	for (uint32_t id = 0; id < t->now.ids; id++) {
		__u64 *left = &t->now.limits[id].suppressed[t->ring];
		uint64_t n;

		if (!__atomic_load_n(left, __ATOMIC_RELAXED))
			continue;
		n = __atomic_exchange_n(left, 0, __ATOMIC_RELAXED);
		if (n)
			fn(ctx, id, n); /* else a program has just taken it for its record */
		sum += n;
	}
	return sum;
}

void tally_close(struct tally *t)
{
	unmap(&t->now);
	unmap(&t->before);
}
