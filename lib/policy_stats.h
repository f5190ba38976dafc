/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FW_POLICY_STATS_H
#define FW_POLICY_STATS_H

#include "policy.h"

/* policy_stats(p, f): a table of what is in ${p}, for people: rules by direction and action, ports, sets. */
void policy_stats(const struct policy *p, FILE *f);

#endif
