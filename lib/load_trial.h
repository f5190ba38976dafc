/* SPDX-License-Identifier: GPL-2.0-only */
/* What becomes of a generation after it was loaded: kept, given up, tidied up after. */
#ifndef FW_LOAD_TRIAL_H
#define FW_LOAD_TRIAL_H

#include "kern_load.h"
#include "load.h"

/* load_keep(o): --commit. EXIT_DONE when the generation stays (or no trial is on), EXIT_JUDGED when it is too late. */
int load_keep(const struct load_options *o);

/* load_roll_back(o): --rollback. To the generation before, or to no filtering when the first load is on trial.
 * EXIT_JUDGED when there is nothing to return to. */
int load_roll_back(const struct load_options *o);

/* load_audit_end(o): --audit-end. */
int load_audit_end(const struct load_options *o);

/* load_trial_pending(k): EXIT_BUSY after saying so while a trial is on, else 0. */
int load_trial_pending(const struct kern *k);

/* load_tidy(k): hooks that only a generation had that doesn't decide any more are detached. With the lock, and not
 * while a trial is on. */
int load_tidy(struct kern *k);

/* print_when(ms, buf): the RFC 3339 time, in seconds and UTC, of CLOCK_BOOTTIME ${ms}. */
const char *print_when(uint64_t ms, char buf[32]);

#endif
