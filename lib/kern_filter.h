/* SPDX-License-Identifier: GPL-2.0-only */
/* TC by clsact filters, for kernels without tcx (before 6.6). A filter has no owner but its handle, which is made
 * of the instance's name, so that instances and other users of clsact stay apart. */
#ifndef FW_KERN_FILTER_H
#define FW_KERN_FILTER_H

#include "attach.h"

/* filter_attach(instance, t, prog): attach or replace. 0 or EXIT_SYSTEM after complaining. */
int filter_attach(const char *instance, const struct target *t, int prog);

/* filter_prog(instance, t): id of the program in our filter, 0 when there is none. */
__u32 filter_prog(const char *instance, const struct target *t);

/* filter_detach(instance, ifindex, hook): no filter there is fine. The clsact qdisc stays: others may use it. 0, or
 * EXIT_SYSTEM after complaining if the caller may not. */
int filter_detach(const char *instance, __u32 ifindex, __u32 hook);

#endif
