/* SPDX-License-Identifier: GPL-2.0-only */
#include "out_flows.h"

#include <errno.h>

const struct out_flows_format out_flows_formats[] = {
	{"table", out_flows_table},
	{"json", out_flows_json},
	{},
};

int out_flows(FILE *f, const struct out_flows_format *format, struct flow_list *l, bool colour,
	      const volatile sig_atomic_t *stop)
{
	struct line_out o;
	int err;

	if (fflush(f) || line_out_init(&o, fileno(f), EVENT_ROOM_MAX, stop))
		return -1;
	format->print(&o, l, colour);
	line_out_flush(&o);
	err = o.gone ? EPIPE : o.error;
	line_out_free(&o);
	errno = err;
	return err ? -1 : 0;
}
