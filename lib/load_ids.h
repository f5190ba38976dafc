/* SPDX-License-Identifier: GPL-2.0-only */
/* Counter ids of rules. */
#ifndef FW_LOAD_IDS_H
#define FW_LOAD_IDS_H

#include "meta.h"
#include "policy.h"

/* ids_assign(p, last, before, fresh): an id for each rule of ${p}, the caller's to free. A rule keeps the id that its
 * name has in the last generation or the one before; a new name gets one that neither the last generation nor the one before uses.
 * ${last} and ${before} may be NULL. ${fresh[i]} tells which are new (their counters are to be zeroed);
 * ${*n_ids}: one more than the greatest id. */
__u32 *ids_assign(const struct policy *p, const struct meta *last, const struct meta *before, bool *fresh,
		  __u32 *n_ids);

#endif
