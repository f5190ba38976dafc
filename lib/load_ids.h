/* SPDX-License-Identifier: GPL-2.0-only */
/* Counter ids of rules. */
#ifndef FW_LOAD_IDS_H
#define FW_LOAD_IDS_H

#include "meta.h"
#include "policy.h"

/* ids_assign(p, metas, n, fresh): an id for each rule of ${p}, the caller's to free. A rule keeps the id that its name has
 * in a generation that is resident: those are the ${n} in ${metas}, NULLs among them; of several the first decides.
 * A new name gets an id that none of them uses. ${fresh[i]} tells which are new (their counters are to be zeroed);
 * ${*n_ids}: one more than the greatest id. */
__u32 *ids_assign(const struct policy *p, struct meta *const *metas, size_t n, bool *fresh, __u32 *n_ids);

#endif
