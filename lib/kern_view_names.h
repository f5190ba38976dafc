/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of all generations that are resident. */
#ifndef FW_KERN_VIEW_NAMES_H
#define FW_KERN_VIEW_NAMES_H

#include "event_names.h"
#include "kern_view.h"

/* view_names(v, n): tell ${n} the generations that the control word names and ${n} doesn't know: what decides, what was before
 * it, what is tried and what is compared in an audit. What can't be read stays unknown. 0, or -1 without memory. */
int view_names(const struct view *v, struct event_names *n);

#endif
