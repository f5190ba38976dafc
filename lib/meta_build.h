/* SPDX-License-Identifier: GPL-2.0-only */
/* The meta blob of a load (struct fw_meta): names for whoever reads events and counters. */
#ifndef FW_META_BUILD_H
#define FW_META_BUILD_H

#include "attach.h"
#include "policy.h"

struct meta_input {
	const struct policy *p;
	const __u32 *ids; /* counter id of each rule */
	const struct targets *targets;
	const struct fw_meta_link *links; /* one per target; target and pin are filled in here */
	const char *(*pin_of)(const void *ctx, size_t i); /* pin of target ${i}, NULL for none */
	const void *ctx;
	__u32 generation, netns;
	__u8 digest[32], build[32], policy[32], attached[32];
	__u64 image_sum; /* image_sum() of the tables, 0: not known */
	size_t arena_bytes;
};

/* meta_build(in, len): the blob, ${*len} bytes, the caller's to free. */
void *meta_build(const struct meta_input *in, size_t *len);

#endif
