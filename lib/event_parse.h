/* SPDX-License-Identifier: GPL-2.0-only */
/* Recorded events back from their JSON lines. Strict: one flat object a line, known keys of the right type,
 * no key twice, valid UTF-8, nothing after it. Unknown keys are skipped whatever they hold. */
#ifndef FW_EVENT_PARSE_H
#define FW_EVENT_PARSE_H

#include "event.h"

/* An event that owns what it points to. */
struct event_line {
	struct event ev;
	struct fw_event e;
	struct event_rule rule, candidate;
	struct label iface, cgroup;
	char comm[EVENT_COMM_MAX];
	struct event_meta meta;
};

/* event_parse(line, len, out): the event of the ${len} bytes at ${line} (without newline), which are
 * overwritten. NULL, or a static text saying what is wrong. ${out} was zeroed or used before;
 * event_line_free() it at the end. */
const char *event_parse(char *line, size_t len, struct event_line *out);
void event_line_free(struct event_line *l);

#endif
