/* SPDX-License-Identifier: GPL-2.0-only */
#include "mon.h"

bool mon_emit(struct mon *m, const struct event *ev)
{
	m->seen += event_judged(ev);
	m->lost += ev->type == EVENT_LOST ? ev->count : 0;
	m->suppressed += ev->type == EVENT_SUPPRESSED ? ev->count : event_judged(ev) ? ev->e->suppressed : 0;
	if (!filter_pass(&m->filter, ev))
		return false;
	m->printed += event_judged(ev);
	return line_out_end(&m->out, m->printer->print(line_out_at(&m->out), ev, m->colour)) ||
	       mon_full(m);
}

bool mon_full(const struct mon *m)
{
	return m->limit && m->printed >= m->limit;
}

bool mon_over(const struct mon *m)
{
	return *m->stop || m->out.gone || m->out.error || mon_full(m);
}
