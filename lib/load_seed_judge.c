/* SPDX-License-Identifier: GPL-2.0-only */
/* An open connection by the rules: which hook would have judged its first packet, and what it would have known. */
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

/* classify.h speaks to clang */
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#include "bpf/judge.h"
#include "cgroup_path.h"
#include "load_seed.h"
#include "route_iface.h"

#define LOOPBACK_IFINDEX 1 /* in every network namespace */

static const struct fw_arena *arena(const struct load *l)
{
	return (const struct fw_arena *)l->image.data;
}

static struct tables tables_of(const struct load *l)
{
	return (struct tables){ .base = l->image.data, .mask = image_class(l->image.size) - 8 };
}

/* ---- where its packets go ---- */

static struct seed_group group_look(const struct load *l, uint64_t id)
{
	struct seed_group g = { .id = id, .below = BELOW_MAYBE };
	const char *top = l->seed->top;
	char path[PATH_MAX];
	size_t len;

	g.alive = id && cgroup_path(id, path, sizeof(path)) >= 0;
	if (!l->resolved.cgroup_id)
		g.below = BELOW_NO;
	else if (!l->resolved.cgroup_level || id == l->resolved.cgroup_id)
		g.below = BELOW_YES;
	else if (g.alive && top) {
		len = strlen(top);
		g.below = !strncmp(path, top, len) && path[len] == '/' ? BELOW_YES : BELOW_NO;
	}
	return g;
}

static const struct seed_group *group_of(struct load *l, uint64_t id)
{
	struct seed_group *g = &l->seed->groups[id % SEED_GROUPS];

	if (!id || g->id != id)
		*g = group_look(l, id);
	return g;
}

/* Interfaces are attached for both directions or not at all. */
static enum seed_below attached(const struct load *l, uint32_t ifindex)
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

/* ---- what the hook knows ---- */

/* As query_context() of bpf/context.h: of cgroup egress the owner, of the others none. What the hook will know and we
 * don't has two values. */
static void query_of(struct load *l, const struct sock_conn *c, const struct fw_dir *d, bool has_sk, uint32_t ifindex,
		     struct query *q)
{
	struct tables t = tables_of(l);
	uint32_t v;

	q->user_may = q->user_must = d->user_must;
	q->cgroup_may = q->cgroup_must = d->cgroup_must;
	if (arena(l)->flags & FW_ARENA_IFACES && ifindex) {
		q->iface_may = q->iface_must = FW_IFACE_ROW(FW_LEAF_VALUE(t_walk(&t, arena(l)->iface, ifindex)));
	} else if (arena(l)->flags & FW_ARENA_IFACES) {
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
		else if (!group_of(l, c->cgroup)->alive)
			q->cgroup_may = d->cgroup_may;
	}
}

/* ---- the verdict ---- */

static struct packet packet_of(const struct fw_tuple *key, uint8_t version)
{
	struct packet p = { .ip_version = version };

	memcpy(&p, key, sizeof(*key));
	p.known = FW_EV_ADDRS | FW_EV_SADDR | FW_EV_SPORT | FW_EV_DPORT;
	return p;
}

struct answer {
	enum seed_verdict verdict;
	uint32_t rule; /* counter id */
	bool limited;
};

static struct answer ask(struct load *l, const struct sock_conn *c, const struct fw_tuple *key, int direction,
			 const struct query *q)
{
	const struct fw_dir *d = &arena(l)->dir[direction];
	struct packet p = packet_of(key, c->version);
	struct tables t = tables_of(l);
	uint32_t rule = first_rule(&t, d, &p, q, 0, 1);
	const struct fw_rule_rec *r = (const struct fw_rule_rec *)(t.base + d->rules) + rule;
	struct answer a = { .rule = FW_REASON_ID(FW_REASON_DEFAULT, direction) };

	if (rule == UNDECIDED) {
		a.verdict = SEED_UNDECIDED;
	} else if (rule == FW_NO_RULE) {
		a.verdict = d->default_action != ACTION_ALLOW ? SEED_DENIED : d->default_flows ? SEED_KEPT : SEED_PASSED;
	} else {
		a.rule = r->id;
		a.limited = r->action == ACTION_RATE_LIMIT;
		a.verdict = a.limited || r->action == ACTION_ALLOW ? SEED_KEPT : SEED_DENIED;
	}
	return a;
}

static struct fw_tuple tuple_of(const struct sock_conn *c, bool by_remote)
{
	struct fw_tuple k = { .proto = c->protocol };

	memcpy(k.src, by_remote ? c->remote : c->local, sizeof(k.src));
	memcpy(k.dst, by_remote ? c->local : c->remote, sizeof(k.dst));
	k.sport = by_remote ? c->remote_port : c->local_port;
	k.dport = by_remote ? c->local_port : c->remote_port;
	return k;
}

/* Where the connection stands, as its packets would have said: ${O} of a pair is for what the opener did. */
static uint32_t state_of(const struct sock_conn *c, bool by_remote)
{
	if (c->protocol != IPPROTO_TCP)
		return FW_FLOW_UDP_STREAM;
	switch (c->state) {
	case TCP_SYN_SENT:
		return FW_FLOW_SYN_SENT;
	case TCP_SYN_RECV:
		return FW_FLOW_SYN_RECV;
	case TCP_FIN_WAIT1:
		return by_remote ? FW_FLOW_FIN_WAIT_R : FW_FLOW_FIN_WAIT_O;
	case TCP_FIN_WAIT2:
		return by_remote ? FW_FLOW_CLOSE_WAIT_R : FW_FLOW_CLOSE_WAIT_O;
	case TCP_CLOSE_WAIT:
		return by_remote ? FW_FLOW_CLOSE_WAIT_O : FW_FLOW_CLOSE_WAIT_R;
	case TCP_CLOSING:
	case TCP_LAST_ACK:
		return by_remote ? FW_FLOW_LAST_ACK_R : FW_FLOW_LAST_ACK_O;
	}
	return FW_FLOW_ESTABLISHED;
}

/* The other end's packets would be denied, too, so that nothing takes the connection up in its middle. */
static bool no_way_back(struct load *l, const struct sock_conn *c, const struct seed_conn *o, enum seed_below below)
{
	int back = o->remote ? FW_EGRESS : FW_INGRESS;
	struct fw_tuple key = tuple_of(c, !o->remote);
	struct query q = { 0 };

	if (c->protocol == IPPROTO_TCP && arena(l)->flags & FW_ARENA_TCP_STRICT)
		return true;
	query_of(l, c, &arena(l)->dir[back], back == FW_EGRESS && below != BELOW_NO, o->flow.ifindex, &q);
	return ask(l, c, &key, back, &q).verdict == SEED_DENIED;
}

void seed_view(const struct sock_conn *c, struct seed_conn *o)
{
	memset(o, 0, sizeof(*o));
	/* whoever is in SYN_SENT has called connect(), also from a port on which others listen */
	o->remote = c->opener == SOCK_REMOTE && !(c->protocol == IPPROTO_TCP && c->state == TCP_SYN_SENT);
	o->flow.key = tuple_of(c, o->remote);
}

void seed_judge(struct load *l, const struct sock_conn *c, struct seed_conn *o)
{
	int direction = o->remote ? FW_INGRESS : FW_EGRESS;
	enum seed_below below, cover;
	struct query q = { 0 };
	struct answer a;
	bool has_sk;

	o->flow.ifindex = iface_of(c);
	o->loopback = o->flow.ifindex == LOOPBACK_IFINDEX;
	if (o->loopback && !(arena(l)->flags & FW_ARENA_LOOPBACK))
		return;
	below = group_of(l, c->cgroup)->below;
	cover = attached(l, o->flow.ifindex);
	if (below > cover)
		cover = below;
	if (cover == BELOW_NO)
		return;
	has_sk = !o->remote && below != BELOW_NO;
	query_of(l, c, &arena(l)->dir[direction], has_sk, o->flow.ifindex, &q);
	a = ask(l, c, &o->flow.key, direction, &q);
	o->verdict = a.verdict == SEED_DENIED && cover == BELOW_MAYBE ? SEED_OUTSIDE : a.verdict;
	if (o->verdict == SEED_DENIED)
		o->denied_now = no_way_back(l, c, o, below);
	o->flow.word = state_of(c, o->remote) | (o->remote ? 0 : FW_FLOW_EGRESS) | (c->version == 6 ? FW_FLOW_V6 : 0) |
		       (a.limited ? FW_FLOW_LIMITED : 0);
	o->flow.rule = a.rule;
	o->flow.generation = arena(l)->generation;
	o->flow.uid = has_sk && (c->inode || c->uid) ? c->uid : ~0u;
	o->flow.cgroup_id = has_sk ? c->cgroup : 0;
}
