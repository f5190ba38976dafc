/* SPDX-License-Identifier: GPL-2.0-only */
/* What fwmon does with events, wherever they come from: filter, print, count. */
#ifndef FW_MON_H
#define FW_MON_H

#include <signal.h>
#include <stdint.h>

#include "event.h"
#include "event_filter.h"
#include "line_out.h"

struct mon {
	struct event_filter filter;
	const struct event_printer *printer;
	bool colour, quiet;
	uint64_t limit;		      /* stop after so many events; 0: never */
	uint64_t printed, lost, seen; /* events */
	uint64_t suppressed;
	struct line_out out;
	const volatile sig_atomic_t *stop;
};

/* mon_emit(m, ev): print ${ev} if it passes the filters. True when it was the last: limit reached or output
 * ended. */
bool mon_emit(struct mon *m, const struct event *ev);

/* mon_full(m): as many events as were asked for have been printed. */
bool mon_full(const struct mon *m);

/* mon_over(m): a signal came, the limit is reached, or the output ended. */
bool mon_over(const struct mon *m);

/* Sources. Each returns an exit status after complaining; a broken output is for the caller to see in m->out.
 */

/* mon_live(m, instance): the events of a loaded instance from now on, until it is unloaded. */
int mon_live(struct mon *m, const char *instance);

/* mon_file(m, path): recorded lines from ${path}, "-" for standard input. */
int mon_file(struct mon *m, const char *path);

#endif
