/* SPDX-License-Identifier: GPL-2.0-only */
/* A load from end to end: policy in, new generation deciding. */
#ifndef FW_LOAD_H
#define FW_LOAD_H

#include "policy.h"

struct load_options {
	const char *instance;
	bool dry_run; /* -n: everything but the switch; nothing is left behind */
	bool verbose, quiet, werror;
	unsigned int wait_ms;
	struct attach attach; /* .given: instead of the policy's */
	bool xdp_given;	      /* attach.xdp instead of the policy's, wherever the rest comes from */
	unsigned int confirm_ms; /* --confirm: on trial for so long; 0: for good */
	const struct cidr *confirm_from; /* --confirm-from: a handshake from there commits; NULL: only --commit does */
	bool audit;   /* --audit: not to decide, but to be compared with what decides */
	const unsigned int *group; /* --group: id of the group that may read the instance; NULL: the one before, if any */
	uint32_t resident; /* the policy is that of this generation, and is not to be loaded over another; 0: it is new */
	bool upgrade; /* --upgrade: replace what another version of fw has loaded */
};

/* load_policy(p, o): an exit status, after complaining. The running policy is untouched by any failure. LOAD_AGAIN,
 * silently: ${o->resident} doesn't decide any more; read anew what does. */
#define LOAD_AGAIN (-1)
int load_policy(struct policy *p, const struct load_options *o);

/* load_unload(o): stop filtering and remove the instance. EXIT_DONE too when there is none. */
int load_unload(const struct load_options *o);

/* load_status(o): what is loaded, on stdout. EXIT_JUDGED when nothing is. */
int load_status(const struct load_options *o);

#endif
