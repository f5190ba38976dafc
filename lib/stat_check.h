/* SPDX-License-Identifier: GPL-2.0-only */
/* Gauges against thresholds, as a plugin of Nagios and its kin reports it (Monitoring Plugins Development
 * Guidelines): one line, performance data after the bar, the exit status is the state. */
#ifndef FW_STAT_CHECK_H
#define FW_STAT_CHECK_H

#include <stdio.h>

#include "stat_expect.h"
#include "stat_gauge.h"

enum check_state { CHECK_OK, CHECK_WARNING, CHECK_CRITICAL, CHECK_UNKNOWN };

struct check_limits {
	double warning, critical; /* ratios, 0 .. 1; at or above is too much */
	struct expected expect;
};

/* stat_check(f, g, limits): print the line to ${f}.
 * CRITICAL: no policy is active, a hook no longer protects its target, a program, map or table is not what was loaded, the
 * policy is not the expected one, a reader is losing events now, or something is full to the critical limit.
 * WARNING: the last load was taken back, the policy is attached elsewhere than the expected one says, a program of somebody else comes before ours, something is full to the warning
 * limit, a reader has lost events, or a killed reader left its ring. */
enum check_state stat_check(FILE *f, const struct gauges *g, const struct check_limits *limits);

/* stat_check_failed(f, state, why): the line when there are no gauges; ${why} ends at its first line break. */
enum check_state stat_check_failed(FILE *f, enum check_state state, const char *why);

#endif
