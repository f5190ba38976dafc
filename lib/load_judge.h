/* SPDX-License-Identifier: GPL-2.0-only */
/* A connection by the new tables, before they decide: which hooks see its packets, what they know of it, and which rule
 * it would be. For lib/load*.c only. */
#ifndef FW_LOAD_JUDGE_H
#define FW_LOAD_JUDGE_H

#include "load_report.h"
#include "sock_list.h"

/* Whether a hook sees a connection. */
enum judge_below { BELOW_NO, BELOW_MAYBE, BELOW_YES };

/* What is known of a cgroup: whether it is below the one that the hooks are attached to. */
struct judge_group {
	uint64_t id;
	enum judge_below below;
	bool alive;
};
#define JUDGE_GROUPS 64 /* a cache: many sockets share few cgroups */

struct judge {
	const struct load *l;
	char *top; /* path of the cgroup that the hooks are attached to, or NULL */
	struct judge_group groups[JUDGE_GROUPS];
};

/* judge_begin(j, l): by ${l}'s tables (load_lower() has made them), which get the room that the classifier reads.
 * judge_end() frees; {} is fine. */
void judge_begin(struct judge *j, struct load *l);
void judge_end(struct judge *j);

/* Where a connection's packets go. */
struct judge_place {
	uint32_t ifindex; /* 0: no way there now */
	bool loopback;	  /* both ends are on this host */
	enum judge_below below; /* the cgroup hooks */
	enum judge_below cover; /* any hook */
};

/* judge_find(j, c, out): of a socket of this network namespace. */
void judge_find(struct judge *j, const struct sock_conn *c, struct judge_place *out);

/* judge_tuple(c, by_remote): a packet of ${c}, sent by the remote or by this host. */
struct fw_tuple judge_tuple(const struct sock_conn *c, bool by_remote);

enum judge_verdict {
	JUDGE_UNDECIDED, /* the hook will know what we don't, as the user */
	JUDGE_ALLOWED,
	JUDGE_PASSED, /* allowed by default, and needs no flow */
	JUDGE_DENIED,
};

struct judge_answer {
	enum judge_verdict verdict;
	uint32_t rule; /* counter id */
	bool limited;
};

/* judge_packet(j, c, pl, remote, port): a packet of ${c} that is of no flow yet, from the remote (as ingress) or from here
 * (as egress), by the hook that owns it. ${port}: its source port, if another than ${c}'s; else 0. */
struct judge_answer judge_packet(struct judge *j, const struct sock_conn *c, const struct judge_place *pl, bool remote,
				 uint16_t port);

/* judge_rule(l, id): of the policy; NULL for a default. */
const struct rule *judge_rule(const struct load *l, uint32_t id);

/* judge_arena(l): the head of the new tables. */
static inline const struct fw_arena *judge_arena(const struct load *l)
{
	return (const struct fw_arena *)l->image.data;
}

#endif
