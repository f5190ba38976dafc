/* SPDX-License-Identifier: GPL-2.0-only */
/* The one decision, for every hook: known flow, else classify, then act, count and report. */
#ifndef FW_DECIDE_H
#define FW_DECIDE_H

#include <bpf/bpf_helpers.h>

#include "act.h"
#include "audit.h"
#include "context.h"
#include "flow.h"
#include "fragment.h"
#include "related.h"
#include "renew.h"
#include "trial.h"

/* ---- flows ---- */

/* ${f} is of an earlier generation: as the present one has it. */
static __always_inline void renew_flow(const struct setting *s, struct flow_found *f)
{
	const struct fw_dir *d = &ARENA(s)->dir[f->word & FW_FLOW_EGRESS ? FW_EGRESS : FW_INGRESS];
	struct query q;
	__u32 rule;
	__u64 said;

	__builtin_memset(&q, 0, sizeof(q));
	if (d->ctx)
		fw_flow_query(&q, f->ref, s->slot);
	rule = judge_flow(f->ref, s->slot, &q);
	said = fw_flow_renew(f->ref, s->slot, rule, s->trial);
	f->stamp = (__u32)said;
	f->limited = !!(said & RENEWED_LIMITED);
	f->cut = !!(said & RENEWED_DENIED);
	f->quiet = !!(said & RENEWED_QUIET);
	f->live &= !(said & RENEWED_ENDED);
	f->stale = ARENA(s)->zero;
	f->renewed = ARENA(s)->zero ^ 1;
}

/* A packet of a flow that has been cut. */
static __always_inline enum answer act_cut(const struct setting *s, struct packet *p, const struct hook *h,
					   struct flow_found *f)
{
	struct judged j = {
		.id = FW_FLOW_RULE(f->stamp),
		.generation = ARENA(s)->generation,
		.verdict = FW_VERDICT_DENY,
		.reason = FW_REASON_FLOW_CUT,
		.flow_id = FLOW_REF_ID(f->ref),
	};

	p->by = j.id;
	if (!s->owner)
		return DROP;
	if (!p->icmp_error && FLOW_REF_REPLY(f->ref) && FW_FLOW_IS_CUT(FW_FLOW_STATE(f->word)))
		flow_touch(ARENA(s), p, f);
	count(j.id, COUNT_DENIED, p->length);
	report(s, p, h, f->quiet ? 0 : FW_RULE_LOG, &j);
	return DROP;
}

/* A packet of a flow. Replies are free; the opener of a flow under a rate_limit rule pays for each packet. */
static __always_inline enum answer act_flow(const struct setting *s, struct packet *p, const struct hook *h,
					    struct flow_found *f)
{
	if (h->is_call || f->stale)
		return PASS;
	p->by = FW_FLOW_RULE(f->stamp);
	if (s->owner && !p->icmp_error && f->limited && !FLOW_REF_REPLY(f->ref) && !charge(s, p, h, p->by))
		return DROP;
	if (!p->icmp_error)
		flow_touch(ARENA(s), p, f);
	if (s->trial && p->proto == 6 && !p->icmp_error)
		asm volatile("" : : "r"(fw_confirm(f->ref, s->slot, FW_FLOW_STATE(f->word), p->tcp_flags)));
	if (s->owner) {
		count(p->by, COUNT_FLOW, p->length);
		if (p->icmp_error)
			state_stat(STAT(related));
	}
	return PASS;
}

/* The flow that an ICMP error is about. */
static __always_inline void find_related(void *ctx, const struct setting *s, const struct packet *p,
					 const struct hook *h, struct flow_found *f)
{
	struct fw_flow_bucket *b;
	struct fw_tuple k;
	__u32 way, ends;

	ends = h->id == FW_HOOK_XDP ? fw_related_xdp(ctx, p, &k) : fw_related_skb(ctx, p, &k);
	if (ends == FLOW_NONE)
		return;
	f->ref = fw_related_flow(fw_flow_look(&k, FLOW_NOWHERE), s->slot, ends);
	b = flow_at(f->ref, &way);
	if (!b)
		return;
	flow_read(ARENA(s), b, way, f);
	f->live = ARENA(s)->zero ^ 1;
}

/* A later fragment goes the way of its datagram's first one. */
static __always_inline enum answer act_later(const struct setting *s, struct packet *p, const struct hook *h)
{
	__u16 sport = p->sport, dport = p->dport;
	__u8 proto = p->proto;
	__u64 first;

	if (!s->owner)
		return PASS; /* the datagram was judged when it was whole, or its pieces were */
	frag_key(p, h->id, h->any_netns ? 0 : p->ifindex);
	first = fw_frag_later(p, fw_flow_look((const struct fw_tuple *)p, FLOW_NOWHERE), s->slot);
	p->proto = proto;
	p->sport = sport;
	p->dport = dport;
	if (!first)
		return act_without_rule(s, p, h, FW_REASON_FRAGMENT, 0, 0);
	count((__u32)first, COUNT_FLOW, p->length);
	return PASS;
}

/* ---- the decision ---- */

static __always_inline enum answer judge(void *ctx, const struct setting *s, struct packet *p, const struct hook *h)
{
	const struct fw_dir *d = &ARENA(s)->dir[h->direction];
	struct flow_found f;
	__u64 same = FLOW_NOWHERE;
	__u32 rule;

	/* Before it has both ends a call can't be of a flow; if it might be a reply to one, its packet is judged. */
	if (ARENA(s)->flags & FW_ARENA_STATEFUL && h->is_call && p->known & FW_EV_SPORT && !(p->known & FW_EV_SADDR))
		return PASS;
	if (ARENA(s)->flags & FW_ARENA_STATEFUL && (!h->is_call || p->known & FW_EV_SADDR)) {
		if (p->frag == FW_FRAG_LATER || frag_first_odd(p))
			return act_later(s, p, h);
		flow_find(ARENA(s), p, &f);
		if (!h->is_call && p->icmp_error)
			find_related(ctx, s, p, h, &f);
		if (f.live && f.stale && s->owner && !h->is_call)
			renew_flow(s, &f);
		/* What the opener sends on is for the rules, but the other end must not open the flow from behind. */
		if (f.live && f.cut && !h->is_call && !f.stale && (f.renewed || FLOW_REF_REPLY(f.ref)))
			return act_cut(s, p, h, &f);
		if (f.live && !f.cut)
			return act_flow(s, p, h, &f);
		same = f.ref;
		if (ARENA(s)->flags & FW_ARENA_TCP_STRICT && p->known & FW_EV_TCP &&
		    flow_event(p->tcp_flags) != FLOW_SYN)
			return act_without_rule(s, p, h, FW_REASON_INVALID, 0, 0);
	}
	/* From here on the verifier is to know the same whichever way it came. */
	same ^= *(const volatile __u64 *)&ARENA(s)->zero;
	asm volatile("" : "+r"(same));
	rule = classify(s, p, h);
	if (rule == UNDECIDED)
		return PASS;
	if (rule != FW_NO_RULE)
		return act_rule(s, p, h, rule_at(s, d->rules + rule * sizeof(struct fw_rule_rec)), same);
	if (p->favoured)
		return act_without_rule(s, p, h, FW_REASON_NEIGHBOUR, 1, 0);
	return act_default(s, p, h, d, same);
}

static __always_inline enum answer decide(void *ctx, const struct setting *s, struct packet *p, const struct hook *h,
					  enum parsed parsed)
{
	enum answer answer;

	if (parsed == PARSED_NOT_IP)
		return PASS;
	if (parsed == PARSED_MALFORMED)
		return act_without_rule(s, p, h, FW_REASON_MALFORMED,
					ARENA(s)->flags & FW_ARENA_MALFORMED_DEFAULT &&
						ARENA(s)->dir[h->direction].default_action == ACTION_ALLOW,
					0);
	answer = judge(ctx, s, p, h);
	if (s->candidate)
		audit(s, p, h, answer);
	if (!h->is_call && p->frag == FW_FRAG_FIRST && answer == PASS && s->owner && ARENA(s)->flags & FW_ARENA_STATEFUL) {
		frag_key(p, h->id, h->any_netns ? 0 : p->ifindex);
		fw_flow_create(p, FLOW_FRAGMENT, s->slot, fw_flow_look((const struct fw_tuple *)p, FLOW_NOWHERE));
	}
	return answer;
}

#endif
