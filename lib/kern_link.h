/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs at their places. Links are pinned as links/HOOK-TARGET and outlive the loader; where the kernel has no
 * TC links (before 6.6) a clsact filter takes their place. */
#ifndef FW_KERN_LINK_H
#define FW_KERN_LINK_H

#include "kern_load.h"

/* How a target is attached. */
struct placed {
	char pin[80];	 /* below links/; "" for a clsact filter */
	int fd;		 /* of the link, or -1 */
	__u32 hook, ifindex;
	__u32 mode;	 /* FW_MODE_* */
	__u32 old_prog;	 /* program id before the update; 0: newly attached */
	bool stale; /* runs another program than the pinned one */
	bool is_new, updated;
};

struct placing {
	struct placed *list; /* one per target */
	size_t n;
};

/* links_look(k, t, pl, all): what of ${t} is attached and alive now, with the programs that are pinned; ${*all}:
 * everything is, and nothing else. Changes nothing. 0 or an exit status after complaining. */
int links_look(struct kern *k, const struct targets *t, struct placing *pl, bool *all);

/* links_none(in): no link is pinned in ${in}. */
bool links_none(const struct inst *in);

/* links_any(pl): something that was attached before. */
bool links_any(const struct placing *pl);

/* links_place(k, t, pl, attach): update what runs another program, and with ${attach} attach what is missing. The control
 * word has not been switched: all of it judges by the old generation. 0 or an exit status after complaining. */
int links_place(struct kern *k, const struct targets *t, struct placing *pl, bool attach);

/* kern_attach(k, t, prog, p): ${prog} to ${t}: ${p->fd} is the link, or -1 with a clsact filter, and ${p->mode} how. 0 or an
 * exit status after complaining. */
int kern_attach(struct kern *k, const struct target *t, int prog, struct placed *p);

/* links_undo(k, t, pl): take back what links_place did. */
void links_undo(struct kern *k, const struct targets *t, struct placing *pl);

/* links_drop_others(k, pl): detach what is pinned but not in ${pl}, and clsact filters of the last load. */
int links_drop_others(struct kern *k, const struct placing *pl);

/* links_drop_all(in): detach everything, clsact filters on whichever interface of this network namespace too. */
int links_drop_all(const struct inst *in);

/* link_protects(k, l): what the meta says of ${l} still holds: the link is there, runs our program, and its
 * interface or cgroup is the one of that name. */
bool link_protects(struct kern *k, const struct fw_meta_link *l);

/* targets_of_meta(m, t): where the generation that ${m} describes was attached; targets_free() frees it. */
void targets_of_meta(const struct meta *m, struct targets *t);

/* targets_drop_gone(t): those whose interface or cgroup isn't there any more, which is said, are none. */
void targets_drop_gone(struct targets *t);

void placing_free(struct placing *pl);

#endif
