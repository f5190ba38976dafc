/* SPDX-License-Identifier: GPL-2.0-only */
/* What the names of a policy mean on this host, now. */
#ifndef FW_RESOLVE_H
#define FW_RESOLVE_H

#include "tables.h"

/* resolve(d, p, r): the interfaces of this network namespace, the users and the cgroups that the policy names, the
 * other cgroups there are (if it names any), and the namespace itself into ${r}; the other members are the caller's. A user that does
 * not exist is an error and a cgroup that does not is a warning (the rule matches nobody until the next load),
 * both reported to ${d}. */
void resolve(struct diag *d, const struct policy *p, struct resolved *r);
void resolved_free(struct resolved *r);

/* resolve_members(d, r): the part of resolve() that walks the hierarchy: every cgroup that is none of ${r->cgroups}
 * into ${r->members}, which is empty before; nothing where there are none of those. Cgroups that come and go meanwhile may be there or not; what can't be
 * read is a warning to ${d}. */
void resolve_members(struct diag *d, struct resolved *r);

/* resolve_iface(r, name): NULL when there is none. */
struct res_iface *resolve_iface(const struct resolved *r, const char *name);

/* cgroup_lookup(path, id, level): ${path} from the cgroup v2 root, or below its mount point. 0, or -1 with errno. */
int cgroup_lookup(const char *path, uint64_t *id, uint32_t *level);

/* cgroup_open(path): a directory fd of it, or -1 with errno. */
int cgroup_open(const char *path);

#endif
