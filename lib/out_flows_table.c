/* SPDX-License-Identifier: GPL-2.0-only */
#include "out_flows.h"

#include <stdio.h>

#include "put.h"

enum column { STATE, DIRECTION, PROTO, OPENER, OTHER, RULE, IDLE, EXPIRES, IFACE, GENERATION, UID, CGROUP, ID, COLUMNS };
static const char *const titles[COLUMNS] = {"state", "direction", "proto", "opener", "other end", "rule", "idle",
					    "expires", "interface", "gen", "uid", "cgroup", "flow"};

#define WIDEST 64 /* a name beyond it goes out of line by itself, not the whole list */

/* Columns in characters; 0: empty in every row, left out. */
struct widths {
	size_t of[COLUMNS];
};

static char *put_end(char *p, const struct fw_event *e, const uint8_t *addr, uint16_t port)
{
	bool ports = e->known & FW_EV_SPORT, bracket = ports && e->ip_version == 6;

	if (bracket)
		*p++ = '[';
	p = put_ip(p, addr, e->ip_version);
	if (bracket)
		*p++ = ']';
	if (!ports)
		return p;
	*p++ = ':';
	return put_u32(p, port);
}

static char *put_rule(char *p, const struct flow_row *r)
{
	const char *reason = event_reason_name(r->e.reason);

	if (r->ev.rule)
		return put_mem(p, r->ev.rule->name.safe, r->ev.rule->name.safe_len);
	*p++ = '(';
	/* a rule of two generations ago that is gone */
	p = put_str(p, r->e.reason == FW_REASON_RULE || !reason ? "gone" : reason);
	*p++ = ')';
	return p;
}

/* 4s, 12m, 5h, 3d: two digits of it say enough of a time that is running */
static char *put_time(char *p, uint64_t tenths)
{
	uint64_t s = tenths / 10;

	if (s < 120)
		return put_lit(put_u64(p, s), "s");
	if (s < 7200)
		return put_lit(put_u64(p, s / 60), "m");
	return s < 172800 ? put_lit(put_u64(p, s / 3600), "h") : put_lit(put_u64(p, s / 86400), "d");
}

static char *put_label(char *p, const struct label *n)
{
	return n ? put_mem(p, n->safe, n->safe_len) : p;
}

/* put_cell(p, r, c): at most 6 * LABEL_MAX bytes. */
static char *put_cell(char *p, const struct flow_row *r, enum column c)
{
	const struct fw_event *e = &r->e;

	switch (c) {
	case STATE:
		return put_str(p, r->state);
	case DIRECTION:
		return put_str(p, event_direction_name(e->direction));
	case PROTO:
		return event_proto_put(p, e->proto);
	case OPENER:
		return put_end(p, e, e->src, e->sport);
	case OTHER:
		return put_end(p, e, e->dst, e->dport);
	case RULE:
		return put_rule(p, r);
	case IDLE:
		return r->timed ? put_time(p, r->idle_ds) : p;
	case EXPIRES:
		return r->timed ? put_time(p, r->expires_ds) : p;
	case IFACE:
		return put_label(p, r->ev.iface);
	case GENERATION:
		return put_u32(p, e->generation);
	case UID:
		return e->known & FW_EV_UID ? put_u32(p, e->uid) : p;
	case CGROUP: /* one that is gone has no path any more */
		return r->ev.cgroup || !e->cgroup_id ? put_label(p, r->ev.cgroup) : put_u64(p, e->cgroup_id);
	case ID:
		return put_u64(p, e->flow_id);
	case COLUMNS:
		break;
	}
	return p;
}

/* Characters, not bytes. */
static size_t columns_of(const char *s, const char *end)
{
	size_t n = 0;

	for (; s < end; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void measure(struct widths *w, const struct flow_row *r, char *room)
{
	for (int c = 0; c < COLUMNS; c++) {
		size_t n = columns_of(room, put_cell(room, r, (enum column)c));

		if (n > w->of[c])
			w->of[c] = n < WIDEST ? n : WIDEST;
	}
}

/* end_cell(p, start, width): blanks up to the next column. */
static char *end_cell(char *p, const char *start, size_t width)
{
	for (size_t n = columns_of(start, p); n < width + 2; n++)
		*p++ = ' ';
	return p;
}

static char *end_line(char *p)
{
	while (p[-1] == ' ')
		p--;
	*p++ = '\n';
	return p;
}

static char *put_titles(char *p, const struct widths *w, bool colour)
{
	if (colour)
		p = put_lit(p, "\033[1m");
	for (int c = 0; c < COLUMNS; c++) {
		char *start = p;

		if (w->of[c])
			p = end_cell(put_str(p, titles[c]), start, w->of[c]);
	}
	p = end_line(p);
	return colour ? put_lit(p - 1, "\033[0m\n") : p;
}

static char *put_row(char *p, const struct flow_row *r, const struct widths *w)
{
	for (int c = 0; c < COLUMNS; c++) {
		char *start = p;

		if (!w->of[c])
			continue;
		p = put_cell(p, r, (enum column)c);
		if (p == start)
			*p++ = '-';
		p = end_cell(p, start, w->of[c]);
	}
	return end_line(p);
}

void out_flows_table(struct line_out *o, struct flow_list *l, bool colour)
{
	struct widths w = {};
	struct flow_row r;
	size_t begin = l->at;

	while (flow_list_next(l, &r))
		measure(&w, &r, line_out_at(o));
	for (int c = 0; c < COLUMNS; c++)
		if (w.of[c] || c <= EXPIRES)
			w.of[c] = w.of[c] < strlen(titles[c]) ? strlen(titles[c]) : w.of[c];
	l->at = begin;
	if (line_out_end(o, put_titles(line_out_at(o), &w, colour)))
		return;
	while (flow_list_next(l, &r))
		if (line_out_end(o, put_row(line_out_at(o), &r, &w)))
			break;
}
