/* SPDX-License-Identifier: GPL-2.0-only */
#include "load_judge.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* classify.h speaks to clang */
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#include "bpf/judge.h"
#include "cgroup_path.h"
#include "route_iface.h"
#include "tables_build.h"

#define LOOPBACK_IFINDEX 1 /* in every network namespace */

static struct tables tables_of(const struct load *l)
{
	return (struct tables){ .base = l->image.data, .mask = image_class(l->image.size) - 8 };
}

/* The tables as the classifier wants them: it may read to the end of an array element. */
static void grow_image(struct image *im)
{
	size_t room = image_class(im->size);

	if (im->room >= room)
		return;
	im->data = realloc(im->data, room);
	if (!im->data)
		die(EXIT_SYSTEM, "out of memory");
	im->room = room;
}

void judge_begin(struct judge *j, struct load *l)
{
	char path[PATH_MAX];

	memset(j, 0, sizeof(*j));
	j->l = l;
	grow_image(&l->image);
	if (l->resolved.cgroup_id && cgroup_path(l->resolved.cgroup_id, path, sizeof(path)) >= 0)
		j->top = strdup(path);
}

void judge_end(struct judge *j)
{
	free(j->top);
	j->top = NULL;
}

/* ---- where its packets go ---- */

static struct judge_group group_look(const struct judge *j, uint64_t id)
{
	const struct resolved *r = &j->l->resolved;
	struct judge_group g = { .id = id, .below = BELOW_MAYBE };
	char path[PATH_MAX];
	size_t len;

	g.alive = id && cgroup_path(id, path, sizeof(path)) >= 0;
	if (!r->cgroup_id)
		g.below = BELOW_NO;
	else if (!r->cgroup_level || id == r->cgroup_id)
		g.below = BELOW_YES;
	else if (g.alive && j->top) {
		len = strlen(j->top);
		g.below = !strncmp(path, j->top, len) && path[len] == '/' ? BELOW_YES : BELOW_NO;
	}
	return g;
}

static const struct judge_group *group_of(struct judge *j, uint64_t id)
{
	struct judge_group *g = &j->groups[id % JUDGE_GROUPS];

	if (!id || g->id != id)
		*g = group_look(j, id);
	return g;
}

/* Interfaces are attached for both directions or not at all. */
static enum judge_below attached(const struct load *l, uint32_t ifindex)
{
	bool any = false;

	for (size_t i = 0; i < l->targets.n; i++) {
		if (l->targets.list[i].hook != FW_HOOK_TC_EGRESS)
			continue;
		any = true;
		if (l->targets.list[i].ifindex == ifindex)
			return BELOW_YES;
	}
	return any && !ifindex ? BELOW_MAYBE : BELOW_NO;
}

static uint32_t iface_of(const struct sock_conn *c)
{
	uint32_t ifindex = c->ifindex;

	if (!ifindex && route_iface(c->remote, c->local, &ifindex))
		return 0; /* no way there now */
	return ifindex;
}

void judge_find(struct judge *j, const struct sock_conn *c, struct judge_place *out)
{
	out->ifindex = iface_of(c);
	out->loopback = out->ifindex == LOOPBACK_IFINDEX;
	out->below = group_of(j, c->cgroup)->below;
	out->cover = attached(j->l, out->ifindex);
	if (out->below > out->cover)
		out->cover = out->below;
}

/* ---- what the hook knows ---- */

/* As query_context() of bpf/context.h: of cgroup egress the owner, of the others none. What the hook will know and we
 * don't has two values. */
static void query_of(struct judge *j, const struct sock_conn *c, const struct fw_dir *d, bool has_sk, uint32_t ifindex,
		     struct query *q)
{
	const struct fw_arena *arena = judge_arena(j->l);
	struct tables t = tables_of(j->l);
	uint32_t v;

	q->user_may = q->user_must = d->user_must;
	q->cgroup_may = q->cgroup_must = d->cgroup_must;
	if (arena->flags & FW_ARENA_IFACES && ifindex) {
		q->iface_may = q->iface_must = FW_IFACE_ROW(FW_LEAF_VALUE(t_walk(&t, arena->iface, ifindex)));
	} else if (arena->flags & FW_ARENA_IFACES) {
		q->iface_may = d->iface_may;
		q->iface_must = d->iface_must;
	}
	if (!has_sk)
		return;
	if (d->n_user > 1) {
		q->user_may = d->user_may;
		if (c->inode || c->uid)
			q->user_may = q->user_must = FW_LEAF_VALUE(t_walk(&t, d->user, c->uid));
	}
	if (d->n_cgroup > 1) {
		/* of a cgroup that has been removed the hook knows the ancestors */
		v = c->cgroup ? FW_LEAF_VALUE(t_walk(&t, d->cgroup, T_KEY(c->cgroup))) : 0;
		if (v)
			q->cgroup_may = q->cgroup_must = v - 1;
		else if (!group_of(j, c->cgroup)->alive)
			q->cgroup_may = d->cgroup_may;
	}
}

/* ---- the verdict ---- */

struct fw_tuple judge_tuple(const struct sock_conn *c, bool by_remote)
{
	struct fw_tuple k = { .proto = c->protocol };

	memcpy(k.src, by_remote ? c->remote : c->local, sizeof(k.src));
	memcpy(k.dst, by_remote ? c->local : c->remote, sizeof(k.dst));
	k.sport = by_remote ? c->remote_port : c->local_port;
	k.dport = by_remote ? c->local_port : c->remote_port;
	return k;
}

static struct packet packet_of(const struct fw_tuple *key, uint8_t version)
{
	struct packet p = { .ip_version = version };

	memcpy(&p, key, sizeof(*key));
	p.known = FW_EV_ADDRS | FW_EV_SADDR | FW_EV_SPORT | FW_EV_DPORT;
	return p;
}

struct judge_answer judge_packet(struct judge *j, const struct sock_conn *c, const struct judge_place *pl, bool remote,
				 uint16_t port)
{
	int direction = remote ? FW_INGRESS : FW_EGRESS;
	const struct fw_dir *d = &judge_arena(j->l)->dir[direction];
	struct judge_answer a = { .rule = FW_REASON_ID(FW_REASON_DEFAULT, direction) };
	struct fw_tuple key = judge_tuple(c, remote);
	struct packet p;
	struct tables t = tables_of(j->l);
	const struct fw_rule_rec *r;
	struct query q = { 0 };
	uint32_t rule;

	if (port)
		key.sport = port;
	p = packet_of(&key, c->version);
	query_of(j, c, d, !remote && pl->below != BELOW_NO, pl->ifindex, &q);
	rule = first_rule(&t, d, &p, &q, 0, 1);
	if (rule == UNDECIDED) {
		a.verdict = JUDGE_UNDECIDED;
	} else if (rule == FW_NO_RULE) {
		a.verdict = d->default_action != ACTION_ALLOW ? JUDGE_DENIED : d->default_flows ? JUDGE_ALLOWED : JUDGE_PASSED;
	} else {
		r = (const struct fw_rule_rec *)(t.base + d->rules) + rule;
		a.rule = r->id;
		a.limited = r->action == ACTION_RATE_LIMIT;
		a.verdict = a.limited || r->action == ACTION_ALLOW ? JUDGE_ALLOWED : JUDGE_DENIED;
	}
	return a;
}

const struct rule *judge_rule(const struct load *l, uint32_t id)
{
	for (size_t i = 0; i < l->p->n_rules; i++)
		if (l->ids[i] == id)
			return &l->p->rules[i];
	return NULL;
}
