/* SPDX-License-Identifier: GPL-2.0-only */
/* A load in progress, for lib/load*.c only, and what is said about it. */
#ifndef FW_LOAD_REPORT_H
#define FW_LOAD_REPORT_H

#include "kern_link.h"
#include "load.h"

struct load {
	struct policy *p;
	const struct load_options *o;
	struct resolved resolved;
	struct targets targets;
	bool default_attach; /* neither policy nor command line said where */
	struct inst inst;
	struct kern kern;
	struct placing placing;
	struct targets others; /* where only the active generation is attached */
	struct placing others_placing;
	bool all_placed;
	bool same; /* the active tables are what this policy lowers to */
	bool empty; /* nothing was enforced before, and so nothing is left behind by a failure */
	bool early; /* the word was switched before the hooks were there */
	bool foreign; /* what is pinned is another version's, and is to be replaced whole (--upgrade) */
	__u8 build[32];
	__u8 policy[32], attached[32]; /* policy_digests() */
	__u32 *ids, n_ids;
	bool *fresh;
	struct image image;
	struct kern_sizes sizes;
	bool need[KP_COUNT];
	bool programs; /* were loaded anew */
	struct seed *seed; /* load_seed.h: of a first load, else NULL */
};

/* report_plan(l): what a load would do, on stdout (-n). */
void report_plan(const struct load *l);

/* report_done(l): what the default attachment does not see (stderr, not with -q); more with -v. */
void report_done(const struct load *l);

/* report_flows(l, left): that the flow table was resized, and that ${left} flows didn't fit into it. */
void report_flows(const struct load *l, size_t left);

#endif
