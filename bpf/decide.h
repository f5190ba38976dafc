/* SPDX-License-Identifier: GPL-2.0-only */
/* The one decision, for every hook: known flow, else classify, then act, count and report. */
#ifndef FW_DECIDE_H
#define FW_DECIDE_H

#include <bpf/bpf_helpers.h>

#include "classify.h"
#include "count.h"
#include "emit.h"
#include "flow.h"
#include "kernel.h"
#include "limit.h"
#include "maps.h"

#define TCP_SYN 0x02
#define TCP_ACK 0x10

enum answer { PASS, DROP, REJECT };

/* What the hook found out before deciding. */
struct setting {
	struct tables t;
	const void *sk;
	__u16 iface_row; /* row of the context table */
	__u8 slot;
	__u8 owner;  /* this hook owns the packet's tokens, counters and events */
	__u8 judged; /* the cgroup hook has judged the packet: what is unknown here was known there */
};

#define ARENA(s) ((const struct fw_arena *)(s)->t.base)

/* Rows and columns of the context table under "may match" and under "certainly matches". */
struct query {
	__u16 slot;
	__u16 iface_may, iface_must, user_may, user_must, cgroup_may, cgroup_must;
};

static __always_inline const struct fw_arena *arena_in(__u32 slot)
{
	__u32 zero = 0;
	void *inner = bpf_map_lookup_elem(&arenas, &slot);

	return inner ? bpf_map_lookup_elem(inner, &zero) : 0;
}

/* The slot that decides; 0: none. Read once per packet. */
static __always_inline __u32 slot_active(void)
{
	__u32 zero = 0;
	struct fw_control *c = bpf_map_lookup_elem(&control, &zero);

	return c ? FW_WORD_ACTIVE(*(volatile __u64 *)&c->word) : 0;
}

/* ---- the service dimension ---- */

static __always_inline void service_records(const struct tables *t, const struct fw_dir *d, const struct packet *p,
					    int is_call, struct classes *may, struct classes *must)
{
	__u32 v6 = p->ip_version == 6 ? 256 : 0;
	__u32 svc = t_u32(t, d->svc + (v6 + p->proto) * 4);
	const struct fw_svc *s = (const struct fw_svc *)(t->base + (svc & (T_MASK(t) & ~63u)));
	__u32 row_may = s->a_must, row_must = s->a_must, column = s->b_none;
	int icmp = (!v6 && p->proto == 1) || (v6 && p->proto == 58);

	if (p->known & (FW_EV_SPORT | FW_EV_ICMP)) {
		__u64 key = icmp ? p->icmp_type + (p->favoured ? FW_ICMP_FAVOURED : 0) : p->sport;

		row_may = row_must = FW_LEAF_VALUE(t_walk(t, s->a, key));
	} else if (is_call) {
		row_may = s->a_may; /* not chosen yet */
	}
	if (p->known & FW_EV_DPORT)
		column = FW_LEAF_VALUE(t_walk(t, s->b, p->dport));
	may->rec[2] = t_u32(t, s->table + (row_may * s->n_b + column) * 4);
	must->rec[2] = t_u32(t, s->table + (row_must * s->n_b + column) * 4);
}

/* ---- the context dimension ---- */

/* A walk up the hierarchy, to the deepest cgroup that the policy names. Through bpf_loop, so that the verifier
 * sees one step and not FW_CGROUP_LEVELS of them. */
struct climb {
	struct tables t;
	__u64 root; /* trie */
	struct cgroup *cg;
	__u32 levels, column;
};

static long climb_step(__u32 i, struct climb *c)
{
	__u32 level = FW_CGROUP_LEVELS - 1 - (i & (FW_CGROUP_LEVELS - 1)), v;

	if (!(c->levels >> level & 1))
		return 0;
	v = FW_LEAF_VALUE(t_walk(&c->t, c->root, T_KEY(cgroup_ancestor_id(c->cg, level))));
	if (!v)
		return 0;
	c->column = v - 1;
	return 1;
}

static __noinline __u32 cgroup_column(const struct tables *t, const struct fw_dir *d, const void *sk)
{
	struct climb c = { .t = *t, .root = d->cgroup, .levels = d->cgroup_levels, .column = d->cgroup_must };

	c.cg = sk_cgroup(sk);
	bpf_loop(FW_CGROUP_LEVELS, climb_step, &c, 0);
	return c.column;
}

static __noinline __u32 user_column(const struct tables *t, const struct fw_dir *d, const void *sk)
{
	return FW_LEAF_VALUE(t_walk(t, d->user, sk_uid(sk)));
}

/* Rows and columns of what this hook knows, of what it doesn't the two extremes. */
static __always_inline void query_context(const struct setting *s, const struct fw_dir *d, const struct hook *h,
					  struct query *q)
{
	q->iface_may = h->is_call ? d->iface_may : s->iface_row;
	q->iface_must = h->is_call ? d->iface_must : s->iface_row;
	q->user_may = q->user_must = d->user_must;
	q->cgroup_may = q->cgroup_must = d->cgroup_must;
	if (h->has_sk) {
		if (d->n_user > 1)
			q->user_may = q->user_must = user_column(&s->t, d, s->sk);
		if (d->n_cgroup > 1)
			q->cgroup_may = q->cgroup_must = cgroup_column(&s->t, d, s->sk);
	} else if (s->judged) {
		q->user_may = d->user_may;
		q->cgroup_may = d->cgroup_may;
	}
}

static __always_inline __u32 context_record(const struct tables *t, const struct fw_dir *d, __u32 iface, __u32 user,
					    __u32 cgroup)
{
	return t_u32(t, d->ctx + ((iface * d->n_user + user) * d->n_cgroup + cgroup) * 4);
}

/* ---- classify ---- */

#define UNDECIDED (FW_NO_RULE - 1)

/* The first rule that may match if it certainly matches, FW_NO_RULE, or UNDECIDED. ${q} is needed only where the
 * policy asks for the context. */
static __always_inline __u32 first_rule(const struct tables *t, const struct fw_dir *d, const struct packet *p,
					const struct query *q, int is_call, int partial)
{
	struct search f = { .t = *t, .n_super = d->n_super, .shift = d->shift };
	struct classes must;
	__u32 first;

	f.c.rec[1] = must.rec[1] = t_address(t, d->dst4, d->dst6, &p->dst);
	if (is_call && !(p->known & FW_EV_SADDR)) {
		int v6 = !fw_addr_is4(&p->dst);

		f.c.rec[0] = d->src_may[v6 & 1];
		must.rec[0] = d->src_must[v6 & 1];
	} else {
		f.c.rec[0] = must.rec[0] = t_address(t, d->src4, d->src6, &p->src);
	}
	service_records(t, d, p, is_call, &f.c, &must);
	f.c.rec[3] = f.c.rec[2];
	must.rec[3] = must.rec[2];
	if (d->ctx) {
		f.c.rec[3] = context_record(t, d, q->iface_may, q->user_may, q->cgroup_may);
		must.rec[3] = context_record(t, d, q->iface_must, q->user_must, q->cgroup_must);
	}
	first = t_first(&f);
	if (!partial)
		return first;
	f.c = must;
	return first == t_first(&f) ? first : UNDECIDED;
}

/* The same for connect() and sendmsg(), as a global function: checked once by itself, it spares the verifier (and so
 * the first load) half of the work on these hooks, and they can afford a call. It looks the arena up again because
 * global functions can't be given a pointer into a map. */
__noinline __u32 fw_classify_call(const struct packet *p, const struct query *q)
{
	const struct fw_arena *a;
	struct tables t;

	if (!p || !q)
		return FW_NO_RULE;
	a = arena_in(q->slot);
	if (!a)
		return FW_NO_RULE;
	t.base = (const __u8 *)a;
	return first_rule(&t, &a->dir[FW_EGRESS], p, q, 1, 1);
}

static __always_inline __u32 classify(const struct setting *s, const struct packet *p, const struct hook *h)
{
	const struct fw_dir *d = &ARENA(s)->dir[h->direction];
	struct query q;

	if (h->is_call || d->ctx)
		query_context(s, d, h, &q);
	if (!h->is_call)
		return first_rule(&s->t, d, p, &q, 0, h->id == FW_HOOK_TC_EGRESS && s->judged);
	q.slot = s->slot;
	return fw_classify_call(p, &q);
}

/* ---- act ---- */

static __noinline int identify_sk(struct packet *p, const void *sk)
{
	p->uid = sk_uid(sk);
	p->cgroup_id = cgroup_id(sk_cgroup(sk));
	p->known |= FW_EV_UID | FW_EV_CGROUP;
	return 0;
}

static __noinline int identify_iface(struct packet *p, const void *sk, __u32 netns)
{
	if (sk_netns(sk) == netns)
		p->known |= FW_EV_IFACE;
	else
		p->ifindex = 0;
	return 0;
}

/* Owner and cgroup of the socket, and whether its interface is one of ours: for a new flow or an event, too dear for
 * every packet. */
static __always_inline void identify(const struct setting *s, struct packet *p, const struct hook *h)
{
	if (h->has_sk)
		identify_sk(p, s->sk);
	if (h->any_netns)
		identify_iface(p, s->sk, ARENA(s)->netns);
}

/* What no rule decided has a counter id and log settings of its own. */
static __always_inline enum answer act_without_rule(const struct setting *s, struct packet *p, const struct hook *h,
						    __u8 reason, int allow, __u64 flow_id)
{
	struct judged j = {
		.id = FW_REASON_ID(reason, h->direction),
		.generation = ARENA(s)->generation,
		.verdict = allow ? FW_VERDICT_ALLOW : FW_VERDICT_DENY,
		.reason = reason,
		.flow_id = flow_id,
	};

	if (!s->owner || (h->is_call && allow))
		return allow ? PASS : DROP;
	count(j.id, h->is_call ? COUNT_CALL : allow ? COUNT_ALLOWED : COUNT_DENIED, p->length);
	if (ARENA(s)->flags & (allow ? FW_ARENA_LOG_ALLOW : FW_ARENA_LOG_DENY)) {
		identify(s, p, h);
		emit(ARENA(s), h, p, &j);
	}
	return allow ? PASS : DROP;
}

static __always_inline void report(const struct setting *s, struct packet *p, const struct hook *h,
				   __u8 flags, struct judged *j)
{
	if (!(flags & FW_RULE_LOG))
		return;
	identify(s, p, h);
	emit(ARENA(s), h, p, j);
}

/* A packet of a rate_limit rule: 1 if it is within the limit, else it has been counted and reported. */
static __always_inline int charge(const struct setting *s, struct packet *p, const struct hook *h, __u32 id)
{
	const struct fw_arena *a = ARENA(s);
	__u32 off = id < a->n_ids ? t_u32(&s->t, a->by_id + id * 4) : 0;
	const struct fw_rate *r = (const void *)(s->t.base + (off & T_MASK(&s->t) & ~31u));
	enum limited l;
	struct judged j = {
		.id = id,
		.generation = ARENA(s)->generation,
		.verdict = FW_VERDICT_RATE_LIMITED,
		.reason = FW_REASON_RULE,
	};

	if (!off) /* the rule of an older flow has no limit any more */
		return 1;
	l = limit_packet(p, r, id);
	if (l == LIMIT_WITHIN)
		return 1;
	if (l == LIMIT_NO_MEMORY)
		j.reason = FW_REASON_NO_MEMORY;
	count(l == LIMIT_NO_MEMORY ? FW_REASON_ID(FW_REASON_NO_MEMORY, h->direction) : id, COUNT_LIMITED, p->length);
	report(s, p, h, r->flags, &j);
	return 0;
}

/* Allowed by a rule: a new flow where the policy has state. */
static __always_inline enum answer act_allow(const struct setting *s, struct packet *p, const struct hook *h,
					     const struct fw_rule_rec *r, const struct flow_ref *f)
{
	struct judged j = {
		.id = r->id,
		.generation = ARENA(s)->generation,
		.verdict = FW_VERDICT_ALLOW,
		.reason = FW_REASON_RULE,
	};

	count(r->id, f->stale ? COUNT_FLOW : COUNT_ALLOWED, p->length);
	if (ARENA(s)->flags & FW_ARENA_STATEFUL || r->flags & FW_RULE_LOG)
		identify(s, p, h);
	if (ARENA(s)->flags & FW_ARENA_STATEFUL)
		j.flow_id = flow_create(p, f, r, ARENA(s)->generation, h->direction);
	else
		j.unlimited = (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (r->flags & FW_RULE_LOG && !f->stale)
		emit(ARENA(s), h, p, &j);
	return PASS;
}

static __always_inline enum answer act_rule(const struct setting *s, struct packet *p, const struct hook *h,
					    const struct fw_rule_rec *r, const struct flow_ref *f)
{
	struct judged j = {
		.id = r->id,
		.generation = ARENA(s)->generation,
		.verdict = FW_VERDICT_DENY,
		.reason = FW_REASON_RULE,
	};

	if (r->action == ACTION_ALLOW || r->action == ACTION_RATE_LIMIT) {
		/* of a call, the packet that follows is judged, counted and charged */
		if (h->is_call || !s->owner)
			return PASS;
		if (r->action == ACTION_RATE_LIMIT && !charge(s, p, h, r->id))
			return DROP;
		return act_allow(s, p, h, r, f);
	}
	if (s->owner) {
		if (f->stale)
			flow_cut(f);
		count(r->id, h->is_call ? COUNT_CALL : COUNT_DENIED, p->length);
		report(s, p, h, r->flags, &j);
	}
	return r->action == ACTION_REJECT ? REJECT : DROP;
}

static __always_inline const struct fw_rule_rec *rule_at(const struct setting *s, __u32 off)
{
	return (const void *)(s->t.base + (off & T_MASK(&s->t)));
}

/* A packet of a flow. Replies are free; the opener of a flow under a rate_limit rule pays for each packet. */
static __always_inline enum answer act_flow(const struct setting *s, struct packet *p, const struct hook *h,
					    const struct fw_flow *w, const struct flow_ref *f)
{
	__u32 id = w->rule;

	if (!s->owner || h->is_call)
		return PASS;
	if (w->flags & FW_FLOW_LIMITED && flow_from_opener(f, w) && !charge(s, p, h, id))
		return DROP;
	count(id, COUNT_FLOW, p->length);
	return PASS;
}

static __always_inline enum answer act_default(const struct setting *s, struct packet *p, const struct hook *h,
					       const struct fw_dir *d, const struct flow_ref *f)
{
	struct fw_rule_rec r = { .id = FW_REASON_ID(FW_REASON_DEFAULT, h->direction), .action = ACTION_ALLOW };
	int allow = d->default_action == ACTION_ALLOW;
	__u64 flow_id = 0;

	if (f->stale && !allow)
		flow_cut(f);
	if (d->default_flows && s->owner && !h->is_call) {
		identify(s, p, h);
		flow_id = flow_create(p, f, &r, ARENA(s)->generation, h->direction);
	}
	return act_without_rule(s, p, h, FW_REASON_DEFAULT, allow, flow_id);
}

static __always_inline enum answer decide(const struct setting *s, struct packet *p, const struct hook *h,
					  enum parsed parsed)
{
	const struct fw_dir *d = &ARENA(s)->dir[h->direction];
	struct flow_ref f;
	__u32 rule;

	if (parsed == PARSED_NOT_IP)
		return PASS;
	if (parsed == PARSED_MALFORMED)
		return act_without_rule(s, p, h, FW_REASON_MALFORMED,
					ARENA(s)->flags & FW_ARENA_MALFORMED_DEFAULT &&
						d->default_action == ACTION_ALLOW,
					0);
	if (ARENA(s)->flags & FW_ARENA_STATEFUL) {
		struct fw_flow *w;

		/* It may be a reply to a flow, and that can't be told yet: the packet will be judged. */
		if (h->is_call && p->known & FW_EV_SPORT && !(p->known & FW_EV_SADDR))
			return PASS;
		w = flow_find(ARENA(s), p, &f);
		if (w && !(f.stale && s->owner && !h->is_call))
			return act_flow(s, p, h, w, &f);
	} else {
		f.stale = 0;
	}
	rule = classify(s, p, h);
	if (rule == UNDECIDED)
		return PASS;
	if (rule != FW_NO_RULE)
		return act_rule(s, p, h, rule_at(s, d->rules + rule * sizeof(struct fw_rule_rec)), &f);
	if (p->favoured)
		return act_without_rule(s, p, h, FW_REASON_NEIGHBOUR, 1, 0);
	return act_default(s, p, h, d, &f);
}

#endif
