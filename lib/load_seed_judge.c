/* SPDX-License-Identifier: GPL-2.0-only */
/* An open connection by the rules: would the hook that judges its first packet allow it, and the flow it would get. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "load_seed.h"

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
static bool no_way_back(struct load *l, const struct sock_conn *c, const struct seed_conn *o, const struct judge_place *pl)
{
	if (c->protocol == IPPROTO_TCP && judge_arena(l)->flags & FW_ARENA_TCP_STRICT)
		return true;
	return judge_packet(&l->seed->judge, c, pl, !o->remote, 0).verdict == JUDGE_DENIED;
}

void seed_view(const struct sock_conn *c, struct seed_conn *o)
{
	memset(o, 0, sizeof(*o));
	/* whoever is in SYN_SENT has called connect(), also from a port on which others listen */
	o->remote = c->opener == SOCK_REMOTE && !(c->protocol == IPPROTO_TCP && c->state == TCP_SYN_SENT);
	o->flow.key = judge_tuple(c, o->remote);
}

void seed_judge(struct load *l, const struct sock_conn *c, struct seed_conn *o)
{
	static const enum seed_verdict verdicts[] = {
		[JUDGE_UNDECIDED] = SEED_UNDECIDED,
		[JUDGE_ALLOWED] = SEED_KEPT,
		[JUDGE_PASSED] = SEED_PASSED,
		[JUDGE_DENIED] = SEED_DENIED,
	};
	struct judge_place pl;
	struct judge_answer a;
	bool has_sk;

	judge_find(&l->seed->judge, c, &pl);
	o->flow.ifindex = pl.ifindex;
	o->loopback = pl.loopback;
	if (pl.cover == BELOW_NO || (pl.loopback && !(judge_arena(l)->flags & FW_ARENA_LOOPBACK)))
		return;
	a = judge_packet(&l->seed->judge, c, &pl, o->remote, 0);
	o->verdict = a.verdict == JUDGE_DENIED && pl.cover == BELOW_MAYBE ? SEED_OUTSIDE : verdicts[a.verdict];
	if (o->verdict == SEED_DENIED)
		o->denied_now = no_way_back(l, c, o, &pl);
	has_sk = !o->remote && pl.below != BELOW_NO;
	o->flow.word = state_of(c, o->remote) | (o->remote ? 0 : FW_FLOW_EGRESS) | (c->version == 6 ? FW_FLOW_V6 : 0) |
		       (a.limited ? FW_FLOW_LIMITED : 0);
	o->flow.rule = a.rule;
	o->flow.generation = judge_arena(l)->generation;
	o->flow.uid = has_sk && (c->inode || c->uid) ? c->uid : ~0u;
	o->flow.cgroup_id = has_sk ? c->cgroup : 0;
}
