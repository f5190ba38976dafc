/* SPDX-License-Identifier: GPL-2.0-only */
#include "event_names.h"

#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "boot_clock.h"
#include "cgroup_path.h"
#include "put.h"

#define SECOND 1000000000ull
#define IFACE_SLOTS 64	 /* both caches are direct-mapped: bounded, and an unlucky pair only costs time */
#define GENERATIONS FW_SLOTS
#define CGROUP_SLOTS 256 /* as many as the top byte of the hash */

/* The rules of one generation; fragments are made when a rule is first met. */
struct rule_names {
	struct meta *meta;
	struct event_rule *rules; /* parallel to meta->rules; json is NULL until made */
};

struct cached {
	uint64_t key;	   /* 0: free */
	uint64_t until;	   /* boottime: then look again */
	struct label name; /* raw is NULL: it has none */
};

struct event_names {
	uint64_t boot, real; /* clocks at the last tick */
	uint32_t netns;	     /* inode of our network namespace */
	struct rule_names known[GENERATIONS]; /* without gaps; the first decides, or did */
	struct cached ifaces[IFACE_SLOTS], cgroups[CGROUP_SLOTS];
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void rule_names_free(struct rule_names *r)
{
	if (r->rules)
		for (uint32_t i = 0; i < r->meta->head->n_rules; i++)
			event_rule_free(&r->rules[i]);
	free(r->rules);
	meta_free(r->meta);
	*r = (struct rule_names){};
}

struct event_names *event_names_new(void)
{
	struct event_names *n = calloc(1, sizeof(*n));
	struct stat st;

	if (!n)
		return NULL;
	event_names_tick(n);
	if (!stat("/proc/self/ns/net", &st))
		n->netns = (uint32_t)st.st_ino;
	return n;
}

void event_names_free(struct event_names *n)
{
	if (!n)
		return;
	for (int i = 0; i < GENERATIONS; i++)
		rule_names_free(&n->known[i]);
	for (int i = 0; i < IFACE_SLOTS; i++)
		label_free(&n->ifaces[i].name);
	for (int i = 0; i < CGROUP_SLOTS; i++)
		label_free(&n->cgroups[i].name);
	free(n);
}

static struct rule_names *find_generation(struct event_names *n, uint32_t generation)
{
	for (int i = 0; i < GENERATIONS && n->known[i].meta; i++)
		if (n->known[i].meta->head->generation == generation)
			return &n->known[i];
	return NULL;
}

/* put(n, m, at): ${m} at place ${at}; what was there moves on, and the last is forgotten. */
static int put(struct event_names *n, struct meta *m, int at)
{
	struct rule_names fresh = {.meta = m}, *old = find_generation(n, m->head->generation);
	int last = old ? (int)(old - n->known) : GENERATIONS - 1;

	fresh.rules = calloc(m->head->n_rules + 1ul, sizeof(*fresh.rules));
	if (!fresh.rules) {
		meta_free(m);
		return -1;
	}
	at = at < last ? at : last;
	rule_names_free(&n->known[last]);
	memmove(&n->known[at + 1], &n->known[at], (size_t)(last - at) * sizeof(n->known[0]));
	n->known[at] = fresh;
	return 0;
}

int event_names_meta(struct event_names *n, struct meta *m)
{
	return put(n, m, 0);
}

int event_names_add(struct event_names *n, struct meta *m)
{
	return put(n, m, n->known[0].meta != NULL);
}

bool event_names_knows(const struct event_names *n, uint32_t generation)
{
	return find_generation((struct event_names *)(uintptr_t)n, generation) != NULL;
}

void event_names_tick(struct event_names *n)
{
	n->boot = boot_ns();
	n->real = clock_ns(CLOCK_REALTIME);
}

uint64_t event_names_now(const struct event_names *n)
{
	return n->real;
}

static void make_rule(const struct meta *m, const struct fw_meta_rule *r, struct event_rule *out)
{
	const char *name = meta_string(m, r->name), *file = meta_string(m, r->file);
	char source[LABEL_MAX + 16];
	size_t len = 0;

	if (!name)
		return;
	if (file) {
		len = strnlen(file, LABEL_MAX);
		memcpy(source, file, len);
		source[len++] = ':';
		len = (size_t)(put_u32(source + len, r->line) - source);
		if (len > LABEL_MAX) { /* the line number matters more than the start of an absurd path */
			memmove(source, source + len - LABEL_MAX, LABEL_MAX);
			len = LABEL_MAX;
		}
	}
	event_rule_make(out, name, strlen(name), r->priority, file ? source : NULL, len);
}

static const struct event_rule *rule_in(struct rule_names *r, uint32_t id)
{
	const struct fw_meta_rule *rule = r->meta && id >= FW_RULE_ID_FIRST ? meta_rule(r->meta, id) : NULL;
	struct event_rule *out;

	if (!rule)
		return NULL;
	out = &r->rules[rule - r->meta->rules];
	if (!out->json)
		make_rule(r->meta, rule, out);
	return out->json ? out : NULL;
}

/* Ids follow names and aren't reused while a generation is resident, so any generation that has it will do when the right
 * one is not known; but a rule that was removed is only in the older, one that is tried only in the newest. */
static const struct event_rule *find_rule(struct event_names *n, uint32_t id, uint32_t generation)
{
	struct rule_names *r = find_generation(n, generation);
	const struct event_rule *rule;

	if (r)
		return rule_in(r, id);
	for (int i = 0; i < GENERATIONS; i++) {
		rule = rule_in(&n->known[i], id);
		if (rule)
			return rule;
	}
	return NULL;
}

static const struct label *find_iface(struct event_names *n, uint32_t ifindex)
{
	struct cached *c = &n->ifaces[ifindex % IFACE_SLOTS];
	char name[IF_NAMESIZE];

	/* names change, and an index without a name may be in another namespace: ask again after a second */
	if (c->key != ifindex || n->boot >= c->until) {
		label_free(&c->name);
		c->key = ifindex;
		c->until = n->boot + SECOND;
		if (if_indextoname(ifindex, name))
			label_make(&c->name, name, strlen(name));
	}
	return c->name.raw ? &c->name : NULL;
}

/* Interface numbers mean those of the loader's network namespace; in another one they name other interfaces. */
static bool ifaces_ours(const struct event_names *n)
{
	uint32_t netns = n->known[0].meta ? n->known[0].meta->head->netns : 0;

	return !netns || netns == n->netns;
}

static const struct label *find_cgroup(struct event_names *n, uint64_t id)
{
	struct cached *c = &n->cgroups[(id * 0x9e3779b97f4a7c15ull) >> 56];
	char path[LABEL_MAX];
	int len;

	/* an id is never given to another cgroup: what was found once stays right, and what is gone stays
	 * gone */
	if (c->key != id) {
		label_free(&c->name);
		c->key = id;
		len = cgroup_path(id, path, sizeof(path));
		if (len >= 0)
			label_make(&c->name, path, (size_t)len);
	}
	return c->name.raw ? &c->name : NULL;
}

void event_names_fill(struct event_names *n, const struct fw_event *e, struct event *ev)
{
	bool audit = e->type == FW_EVENT_DISAGREEMENT;

	ev->type = audit ? EVENT_DISAGREEMENT : EVENT_VERDICT;
	ev->e = e;
	/* the offset of the last tick, so that a stepped clock is followed */
	ev->time = e->time + (n->real - n->boot);
	ev->rule = find_rule(n, e->rule, e->generation);
	ev->candidate = audit ? find_rule(n, e->other_rule, e->other_generation) : NULL;
	ev->iface = e->known & FW_EV_IFACE && e->ifindex && ifaces_ours(n) ? find_iface(n, e->ifindex) : NULL;
	ev->cgroup = e->known & FW_EV_CGROUP && e->cgroup_id ? find_cgroup(n, e->cgroup_id) : NULL;
	ev->comm = (const char *)e->comm;
	ev->comm_len = e->known & FW_EV_TASK ? (uint32_t)strnlen(ev->comm, FW_COMM_LEN) : 0;
	ev->meta = NULL;
	ev->count = 0;
}

struct event event_names_count(struct event_names *n, enum event_type type, uint32_t id, uint64_t count)
{
	struct event ev = {.type = type, .time = n->real, .count = count};

	ev.rule = find_rule(n, id, 0);
	if (id < FW_RULE_ID_FIRST) {
		ev.reason = (uint8_t)(id / 2); /* FW_REASON_ID() */
		ev.direction = id % 2;
	}
	return ev;
}
