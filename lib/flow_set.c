/* SPDX-License-Identifier: GPL-2.0-only */
#include "flow_set.h"

#include <string.h>
#include <sys/mman.h>

#include "bpf/flow_table.h"

#define STATE_NAME(id, name, timeout, evictable) [FW_FLOW_##id] = name,
const char *const flow_state_names[FW_FLOW_STATE_COUNT] = { FW_FLOW_STATES(STATE_NAME) };

static struct flow_table table_of(const struct flow_set *s)
{
	return (struct flow_table){ .buckets = s->buckets, .head = &s->head };
}

/* The entry in a place; false if there is none, or it changed while it was read. */
static bool read_way(const struct flow_set *s, uint32_t bucket, uint32_t way, struct flow_entry *e)
{
	const struct fw_flow_bucket *b = &s->buckets[bucket];
	struct fw_flow f;
	uint64_t word = flow_word(b, way);

	if (FW_FLOW_STATE(word) <= FW_FLOW_BUSY || FW_FLOW_STATE(word) >= FW_FLOW_STATE_COUNT)
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	memcpy(&f, &b->flow[way], sizeof(f));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (FW_FLOW_VERSION(flow_word(b, way)) != FW_FLOW_VERSION(word) ||
	    FW_FLOW_STATE(flow_word(b, way)) <= FW_FLOW_BUSY)
		return false;
	*e = (struct flow_entry){
		.key = f.key,
		.word = word,
		.id = FLOW_REF_ID(FLOW_REF(bucket, way, 0, FW_FLOW_VERSION(word))),
		.idle = flow_idle(word, s->now),
		.rule = FW_FLOW_RULE(f.stamp),
		.generation = FW_FLOW_GENERATION(f.stamp),
		.cgroup_id = f.cgroup_id,
		.uid = f.uid,
		.ifindex = f.ifindex,
		.expired = flow_expired(word, s->now, s->tmo),
		.bucket = bucket,
		.way = way,
	};
	if (FW_FLOW_STATE(word) == FW_FLOW_FRAGMENT) { /* there the same bytes are ranges */
		e->cgroup_id = 0;
		e->uid = ~0u;
		e->ifindex = 0;
	}
	return true;
}

bool flow_set_next(const struct flow_set *s, size_t *at, struct flow_entry *out)
{
	while (*at < (size_t)s->head.n_buckets * FW_FLOW_WAYS) {
		size_t i = (*at)++;

		if (read_way(s, i / FW_FLOW_WAYS, i % FW_FLOW_WAYS, out))
			return true;
	}
	return false;
}

bool flow_set_find(const struct flow_set *s, const struct fw_tuple *key, struct flow_entry *out)
{
	struct flow_table t = table_of(s);
	struct flow_hash h;
	uint64_t ref;

	flow_hash(&t, key, &h);
	ref = flow_other(&t, &h, key, FLOW_NOWHERE);
	return ref != FLOW_NOWHERE && read_way(s, FLOW_REF_BUCKET(ref), FLOW_REF_WAY(ref), out);
}

int flow_set_add(const struct flow_set *s, const struct flow_entry *e)
{
	struct flow_table t = table_of(s);
	enum flow_taken taken;
	struct fw_flow_bucket *b;
	struct flow_hash h;
	uint64_t ref;
	uint32_t way;

	flow_hash(&t, &e->key, &h);
	ref = flow_other(&t, &h, &e->key, FLOW_NOWHERE);
	if (ref != FLOW_NOWHERE) {
		b = &s->buckets[FLOW_REF_BUCKET(ref)];
		if (!flow_expired(flow_word(b, FLOW_REF_WAY(ref)), s->now, s->tmo))
			return 0;
		ref = flow_take_same(b, ref, s->now);
	} else {
		ref = flow_take(&t, &h, s->now, s->tmo, &taken);
	}
	if (ref == FLOW_NOWHERE)
		return -1;
	b = &s->buckets[FLOW_REF_BUCKET(ref)];
	way = FLOW_REF_WAY(ref);
	b->flow[way] = (struct fw_flow){
		.key = e->key,
		.stamp = FW_FLOW_STAMP(e->generation, e->rule),
		.cgroup_id = e->cgroup_id,
		.uid = e->uid,
		.ifindex = e->ifindex,
	};
	__atomic_thread_fence(__ATOMIC_RELEASE);
	flow_publish(b, way, h.tag, FW_FLOW_WORD(0, e->word & 0xffff, FLOW_REF_VERSION(ref), s->now - e->idle));
	return flow_settle(&t, ref, flow_other(&t, &h, &e->key, ref)) == ref;
}

bool flow_set_update(const struct flow_set *s, const struct flow_entry *e, uint64_t word)
{
	uint64_t kept = 0xffff00; /* flags and version */

	return flow_swap(&s->buckets[e->bucket], e->way, e->word, (e->word & kept) | (word & ~kept));
}

bool flow_set_remove(const struct flow_set *s, const struct flow_entry *e)
{
	return flow_release(&s->buckets[e->bucket], e->way, e->word);
}

void flow_set_close(struct flow_set *s)
{
	if (s->bytes)
		munmap(s->buckets, s->bytes);
	memset(s, 0, sizeof(*s));
}

uint32_t flow_buckets_for(uint32_t max_flows)
{
	return ((uint64_t)max_flows * 5 + 20) / (3 * FW_FLOW_WAYS) + 2;
}
