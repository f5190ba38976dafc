/* SPDX-License-Identifier: GPL-2.0-only */
/* YAML text to nodes, through libyaml's events (the only user of libyaml). */
#ifndef FW_YAML_TREE_H
#define FW_YAML_TREE_H

#include "node.h"

#define YAML_MAX_BYTES (64u << 20) /* a YAML file; set files have no limit */
#define YAML_MAX_DEPTH 64
#define YAML_MAX_NODES 8000000 /* memory: a node takes some 100 bytes; POLICY_RULES_MAX rules fit */
#define YAML_MAX_ALIASED 1000000 /* values that aliases stand for */

/* yaml_read(a, d, f, name): the tree of the one document in ${f}, which is called ${name} in messages.
 * Refused while reading, with place: duplicate keys, a second document, undefined or recursive aliases,
 * more than YAML_MAX_* of anything, NUL bytes, text that is not UTF-8, non-scalar keys, unknown tags.
 * Aliases are expanded by sharing nodes. A file without content gives a node of kind NODE_NULL.
 * Duplicate keys and tags are reported and left out, so that the rest of the file is checked in the same run.
 * NULL, after reporting to ${d}, when there is no tree. */
struct node *yaml_read(struct arena *a, struct diag *d, FILE *f, const char *name);

#endif
