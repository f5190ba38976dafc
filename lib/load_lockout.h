/* SPDX-License-Identifier: GPL-2.0-only */
/* The guard against locking oneself out: would the new policy cut the session that this is run from? */
#ifndef FW_LOAD_LOCKOUT_H
#define FW_LOAD_LOCKOUT_H

#include "load_report.h"

/* lockout_check(l, trial): a warning (diag.h: not with -q, an error with -W) for each session of session.h that ${l}'s
 * tables would cut, or not let be opened again, with the rule that does it. To be called once there are tables and
 * before anything is changed; changes nothing itself. ${trial}: the load is one that goes back by itself, which then need
 * not be advised. 0, or EXIT_JUDGED when a warning is an error. */
int lockout_check(struct load *l, bool trial);

#endif
