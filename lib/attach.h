/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a policy is to be enforced: its "attach", or the command line's, spelled out as single hooks. */
#ifndef FW_ATTACH_H
#define FW_ATTACH_H

#include "bpf/fw_abi.h"
#include "tables.h"

/* One program at one place. */
struct target {
	enum fw_hook hook;
	char *name;	  /* interface, or cgroup path from the cgroup v2 root */
	uint32_t ifindex; /* 0 for cgroups */
	uint64_t id;	  /* cgroup id; 0 for interfaces */
	enum fw_xdp_mode xdp; /* hook XDP: AUTO or one of the two */
	bool has_link;	  /* TC: frames start with an Ethernet header */
};

struct targets {
	struct target *list; /* sorted by hook, then name */
	size_t n;
};

/* attach_plan(d, a, r, t): every hook that ${a} asks for. Sets the cgroup and ownership members of ${r}.
 * Reports to ${d} what isn't there. */
void attach_plan(struct diag *d, const struct attach *a, struct resolved *r, struct targets *t);
void targets_free(struct targets *t);

/* targets_have(t, one): the hook and place of ${one} are among ${t}. */
bool targets_have(const struct targets *t, const struct target *one);

/* attach_check(d, p, t): refuse rules on fields that no hook will know (design: known and unknown). */
void attach_check(struct diag *d, const struct policy *p, const struct resolved *r, const struct targets *t);

/* hook_name(h): "xdp", "tc_ingress", ...; also the pin name of its program. */
const char *hook_name(enum fw_hook h);
bool hook_is_cgroup(enum fw_hook h);

#endif
