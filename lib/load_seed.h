/* SPDX-License-Identifier: GPL-2.0-only */
/* A first load meets connections that are older than it, and so without a flow. Those that the policy lets their
 * openers make get one; the others are listed. Only for what sock_list.h can see: of other network namespaces and of
 * forwarded connections the rules decide. For lib/load*.c only. */
#ifndef FW_LOAD_SEED_H
#define FW_LOAD_SEED_H

#include "flow_set.h"
#include "load_judge.h"

/* seed_flows(l): on the first load of a stateful policy, flows for the connections that are open now and allowed; the
 * denied ones, each once, on stderr (not with -q). To be called before the switch, for a connection not to lose
 * a packet, and after it, for what came in between. With -n nothing is changed. Connections that can't be
 * listed, or find no room, are no failure: it is said, and the rules decide. 0, or an exit status after complaining. */
int seed_flows(struct load *l);

/* seed_end(l): say with -v what was done, and free it; harmless twice. */
void seed_end(struct load *l);

/* ---- for load_seed*.c ---- */

enum seed_verdict {
	SEED_OUTSIDE,	/* no hook sees it, or not for certain and it would be denied */
	SEED_UNDECIDED, /* the hook knows its user or cgroup, we don't */
	SEED_KEPT,
	SEED_PASSED,	/* allowed, and needs no flow */
	SEED_DENIED,
};

/* A connection from its opener's side, and what becomes of it. */
struct seed_conn {
	struct flow_entry flow; /* key, flags and state, rule, generation, owner, interface */
	enum seed_verdict verdict;
	bool remote;	 /* opened by the remote */
	bool loopback;	 /* both ends are on this host */
	bool denied_now; /* SEED_DENIED, and the packets of the other end are denied, too */
};

/* What needs no second look: the denied and the undecided, and over loopback, where the other end of the connection is
 * in the list, too, all. */
struct seed_settled {
	struct fw_tuple key;
	uint32_t rule; /* counter id */
	enum seed_verdict verdict;
	bool remote, denied_now;
	bool listed;
};

struct seed {
	struct flow_set flows; /* mapped, but not with -n */
	struct judge judge;
	struct seed_settled *settled; /* [0, n_sorted) by key */
	size_t n_settled, n_sorted, room;
	size_t kept, full, shown;
	bool said; /* what can't be listed */
};

/* seed_view(c, out): ${c} from its opener's side: key and remote; the rest is empty. */
void seed_view(const struct sock_conn *c, struct seed_conn *out);

/* seed_judge(l, c, o): ${c}, of which ${o} is the view, by the new tables, as the hook would that judges it when it is
 * opened; fills in the rest of ${o}. */
void seed_judge(struct load *l, const struct sock_conn *c, struct seed_conn *o);

/* seed_print(l): the denied ones that have not been listed yet. */
void seed_print(struct load *l);

#endif
