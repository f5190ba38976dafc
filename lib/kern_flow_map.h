/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow table's memory and its clock, for the loader (kern_flows.c) and the readers (kern_flow_list.c). */
#ifndef FW_KERN_FLOW_MAP_H
#define FW_KERN_FLOW_MAP_H

#include "flow_set.h"

/* flow_map(s, fd, n_buckets, writable): map the table of map ${fd}, which stays the caller's and can be closed. The kernel
 * maps nothing of a read-only one: of that it is a copy, of buckets at different moments, and ${writable} fails. Of ${s} the rest is zero: the caller
 * fills in the head, the clock and the timeouts; flow_set_close() unmaps. 0, or -1 with errno and ${s} {}. */
int flow_map(struct flow_set *s, int fd, uint32_t n_buckets, bool writable);

/* flow_clock(prog_fd, now): the clock of flows (jiffies), asked of the program progs/clock. 0, or -1 with errno. */
int flow_clock(int prog_fd, __u64 *now);

#endif
