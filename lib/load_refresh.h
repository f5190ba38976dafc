/* SPDX-License-Identifier: GPL-2.0-only */
/* The policy that is loaded, to be loaded again: its names may mean something else now. */
#ifndef FW_LOAD_REFRESH_H
#define FW_LOAD_REFRESH_H

#include "load.h"

/* resident_policy(o, status): what the instance was loaded with, and in ${o->resident} its generation; the caller's to policy_free(). NULL, and an exit status
 * after complaining in ${*status}: EXIT_JUDGED when nothing is loaded, or when it has sets so large that only their
 * size was kept. */
struct policy *resident_policy(struct load_options *o, int *status);

#endif
