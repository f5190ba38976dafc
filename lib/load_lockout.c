/* SPDX-License-Identifier: GPL-2.0-only */
#include "load_lockout.h"

#include <stdio.h>
#include <string.h>

#include "load_judge.h"
#include "put.h"
#include "route_iface.h"
#include "session.h"

#define LOOPBACK_IFINDEX 1   /* where the own addresses are */
#define CLIENT_PORT_MIN 1024 /* no client of a user has less */

/* What is wrong with a session. */
struct finding {
	enum { FINE, CUT, MAY_BE_CUT, NOT_AGAIN } what;
	uint32_t rule;	/* counter id */
	bool answers;	/* it is this about what the other end sends back */
	bool no_flow;	/* it is that tcp_strict takes up no connection in its middle */
};

/* ---- where it runs ---- */

/* An SSH_CONNECTION without socket may have been made in another network namespace: its interfaces are none that we could
 * attach to, but the cgroup hooks see it. */
static bool is_here(const struct session *s)
{
	uint32_t ifindex = s->conn.ifindex;

	if (s->live || ifindex)
		return true;
	return !route_iface(s->conn.local, NULL, &ifindex) && ifindex == LOOPBACK_IFINDEX;
}

static void find_place(struct judge *j, const struct session *s, struct judge_place *pl)
{
	judge_find(j, &s->conn, pl);
	if (is_here(s))
		return;
	*pl = (struct judge_place){ .below = pl->below, .cover = pl->below };
}

/* ---- what becomes of it ---- */

static bool denied(struct judge *j, const struct session *s, const struct judge_place *pl, bool remote, uint16_t port,
		   struct finding *f)
{
	struct judge_answer a = judge_packet(j, &s->conn, pl, remote, port);

	if (a.verdict != JUDGE_DENIED)
		return false;
	f->rule = a.rule;
	return true;
}

/* Nearly always the first port is the answer, and those that a rule keeps out are judged in milliseconds. */
static bool none_let_in(struct judge *j, const struct session *s, const struct judge_place *pl, struct finding *f)
{
	for (uint32_t port = 65535; port >= CLIENT_PORT_MIN; port--)
		if (port != s->conn.remote_port && !denied(j, s, pl, true, (uint16_t)port, f))
			return false;
	return true;
}

/* The flow that a reload finds; a first load makes those that it wants. What can't be read counts as there. */
static bool has_flow(const struct load *l, const struct session *s, bool remote)
{
	struct fw_tuple key = judge_tuple(&s->conn, remote);
	struct flow_entry there;
	struct flow_set flows;
	bool found;

	if (kern_flows_map(&l->kern, &flows))
		return true;
	found = flow_set_find(&flows, &key, &there) && !there.expired;
	flow_set_close(&flows);
	return found;
}

/* What its flow, or the want of one, does to a session that is there. */
static void examine_live(struct judge *j, const struct session *s, const struct judge_place *pl, struct finding *f)
{
	bool stateful = judge_arena(j->l)->flags & FW_ARENA_STATEFUL, remote = s->conn.opener == SOCK_REMOTE;
	bool strict = stateful && judge_arena(j->l)->flags & FW_ARENA_TCP_STRICT;
	struct finding other;

	if (denied(j, s, pl, remote, 0, f)) {
		/* Older than the first load it has no flow, and what the other end says may make one. */
		f->what = stateful && !strict && !j->l->kern.active && !denied(j, s, pl, !remote, 0, &other) ? MAY_BE_CUT : CUT;
	} else if (strict && j->l->kern.active && !has_flow(j->l, s, remote)) {
		f->what = CUT;
		f->no_flow = true;
	}
}

static struct finding examine(struct judge *j, const struct session *s, const struct judge_place *pl)
{
	bool stateful = judge_arena(j->l)->flags & FW_ARENA_STATEFUL, remote = s->conn.opener == SOCK_REMOTE;
	struct finding f = { 0 };

	if (s->live)
		examine_live(j, s, pl, &f);
	if (f.what)
		return f;
	if (!stateful && denied(j, s, pl, !remote, 0, &f)) {
		f.what = s->live ? CUT : NOT_AGAIN;
		f.answers = true;
	} else if (remote && none_let_in(j, s, pl, &f)) {
		f.what = NOT_AGAIN;
	}
	return f;
}

/* ---- what is said ---- */

static void put_reason(const struct load *l, const struct finding *f, char *text, size_t size)
{
	const struct rule *r = judge_rule(l, f->rule);
	const char *it = f->answers ? "what is sent back" : "it";
	char where[400] = "";

	if (f->no_flow) {
		snprintf(text, size, "tcp_strict denies it, as the policy in force has no flow of it");
		return;
	}
	if (r && r->src_file)
		snprintf(where, sizeof(where), " (%s:%u)", r->src_file, r->src_line);
	if (r)
		snprintf(text, size, "rule %s%s denies %s", r->name, where, it);
	else
		snprintf(text, size, "no rule allows %s (default_action deny%s)", it, f->answers ? ", stateful: false" : "");
}

static void say(const struct load *l, struct diag *d, const struct session *s, const struct finding *f, bool trial)
{
	static const char *const words[][2] = {
		[CUT] = { "would cut your session", "" },
		[MAY_BE_CUT] = { "may cut your session", ", and would let no new one in" },
		[NOT_AGAIN] = { "would let no new session in", "" },
	};
	struct fw_tuple k = judge_tuple(&s->conn, s->conn.opener == SOCK_REMOTE);
	char from[PUT_ENDPOINT_MAX + 1], to[PUT_ENDPOINT_MAX + 1], why[600];

	if (f->what == NOT_AGAIN) /* its port will be another */
		*put_ip(from, k.src, s->conn.version) = 0;
	else
		*put_endpoint(from, k.src, k.sport) = 0;
	*put_endpoint(to, k.dst, k.dport) = 0;
	put_reason(l, f, why, sizeof(why));
	diag_warn(d, NULL, NULL, "this policy %s from %s to %s%s: %s; %s", words[f->what][0], from, to, words[f->what][1],
		  why,
		  f->no_flow ? "load it without tcp_strict first" :
		  trial	     ? "add a rule" :
			       "load with --confirm 60s to be safe, or add a rule");
}

int lockout_check(struct load *l, bool trial)
{
	struct session sessions[SESSIONS_MAX];
	size_t n = session_find(sessions);
	struct judge_place pl;
	struct finding f;
	struct judge j;
	struct diag d;

	if (!n)
		return 0;
	diag_init(&d, "fwload");
	d.werror = l->o->werror;
	d.quiet = l->o->quiet;
	judge_begin(&j, l);
	for (size_t i = 0; i < n; i++) {
		find_place(&j, &sessions[i], &pl);
		if (pl.cover != BELOW_YES || (pl.loopback && !(judge_arena(l)->flags & FW_ARENA_LOOPBACK)))
			continue;
		f = examine(&j, &sessions[i], &pl);
		if (f.what)
			say(l, &d, &sessions[i], &f, trial);
	}
	judge_end(&j);
	diag_finish(&d);
	return diag_failed(&d) ? EXIT_JUDGED : 0;
}
