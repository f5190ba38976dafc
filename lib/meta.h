/* SPDX-License-Identifier: GPL-2.0-only */
/* The meta blob of an instance (struct fw_meta, bpf/fw_abi.h): what a loaded generation is called, where its
 * rules and hooks are. It is data from a pinned map, so nothing in it is trusted: every offset is checked
 * once, when parsing. */
#ifndef FW_META_H
#define FW_META_H

#include <stddef.h>
#include <stdint.h>

#include "bpf/fw_abi.h"

struct meta {
	uint8_t *blob; /* owned; ends with a NUL that meta_parse() added */
	size_t len;
	const struct fw_meta *head;	  /* these three point into blob */
	const struct fw_meta_rule *rules; /* head->n_rules, in priority order */
	const struct fw_meta_link *links; /* head->n_links */
	uint32_t *index;		  /* hash table over rule ids: position in rules + 1, 0 is free */
	uint32_t mask;
};

/* meta_parse(blob, len, why): a view of the ${len} bytes at ${blob}. ${blob} was malloc()ed and belongs to
 * the meta from now on, in failure too; one byte more than ${len} need not be there. NULL with a static text
 * in
 * ${*why}: not a meta blob, another ABI, a table outside the blob, or no memory. */
struct meta *meta_parse(void *blob, size_t len, const char **why);

/* meta_free(m): NULL is fine. */
void meta_free(struct meta *m);

/* meta_string(m, off): the NUL-terminated string at ${off}, or NULL for 0 and for what lies outside. The
 * bytes are unchecked: escape them before they meet a terminal. */
const char *meta_string(const struct meta *m, uint32_t off);

/* meta_rule(m, id): the rule with counter id ${id}, or NULL. Of several with one id the first. */
const struct fw_meta_rule *meta_rule(const struct meta *m, uint32_t id);

#endif
