/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows as text: one line each, written as they are met, so that a full table takes no memory. */
#ifndef FW_OUT_FLOWS_H
#define FW_OUT_FLOWS_H

#include <stdio.h>

#include "flow_list.h"
#include "line_out.h"

/* Each prints all flows of ${l} to ${o}; until its output ends, which is for the caller to see in ${o}. */
struct out_flows_format {
	const char *name; /* NULL ends the list; the first is the default */
	void (*print)(struct line_out *o, struct flow_list *l, bool colour);
};
extern const struct out_flows_format out_flows_formats[];

/* out_flows(f, format, l, colour, stop): all flows of ${l} to ${f}, past its buffer, which has nothing to add to whole
 * lines. ${stop} as in line_out_init(). 0, or -1 with errno. */
int out_flows(FILE *f, const struct out_flows_format *format, struct flow_list *l, bool colour,
	      const volatile sig_atomic_t *stop);

/* out_flows_table(o, l, colour): aligned columns under a line of titles. Goes through the table twice, the first time for the
 * widths: what changes in between may stand out of line. */
void out_flows_table(struct line_out *o, struct flow_list *l, bool colour);

/* out_flows_json(o, l, colour): an object a line, with the keys of fw-events(5) and those of fwstat(8). */
void out_flows_json(struct line_out *o, struct flow_list *l, bool colour);

#endif
