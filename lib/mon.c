/* SPDX-License-Identifier: GPL-2.0-only */
#include "mon.h"

bool mon_emit(struct mon *m, const struct event *ev)
{
	m->seen += ev->type == EVENT_VERDICT;
	m->lost += ev->type == EVENT_LOST ? ev->count : 0;
	if (!filter_pass(&m->filter, ev))
		return false;
	m->printed += ev->type == EVENT_VERDICT;
	return line_out_end(&m->out, m->printer->print(line_out_at(&m->out), ev, m->colour)) ||
	       (m->limit && m->printed >= m->limit);
}

bool mon_over(const struct mon *m)
{
	return *m->stop || m->out.gone || m->out.error || (m->limit && m->printed >= m->limit);
}
