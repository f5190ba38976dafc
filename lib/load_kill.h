/* SPDX-License-Identifier: GPL-2.0-only */
/* Ending flows by hand: fwload --kill-flows. */
#ifndef FW_LOAD_KILL_H
#define FW_LOAD_KILL_H

#include "flow_list.h"
#include "load.h"

/* load_kill_flows(o, filter): remove the live flows that pass ${filter} from the table of o->instance, under its lock, and
 * say on stdout how many; with o->dry_run only say it. EXIT_DONE; EXIT_JUDGED when there were none, or no such
 * instance; another status after complaining. */
int load_kill_flows(const struct load_options *o, const struct flow_filter *filter);

#endif
