/* SPDX-License-Identifier: GPL-2.0-only */
/* Events as one aligned line each, for people. Names are escaped as in JSON: nothing here can move a cursor.
 */
#include "event.h"

#include <string.h>

#include "put.h"
#include "rfc3339.h"

#define PAINT(p, on, code) ((on) ? put_lit(p, "\033[" code "m") : (p))

/* pad(p, start, width): blanks until ${width} columns after ${start}, at least one. */
static char *pad(char *p, const char *start, int width)
{
	do
		*p++ = ' ';
	while (p - start < width);
	return p;
}

static char *put_column(char *p, const char *word, int width)
{
	return pad(put_str(p, word ? word : "-"), p, width);
}

static char *put_end(char *p, const struct fw_event *e, const uint8_t *addr, uint16_t addr_bit,
		     uint16_t port_bit, uint16_t port)
{
	bool six = e->ip_version != 4;

	if (!(e->known & addr_bit)) {
		*p++ = '*';
	} else if (six && (e->known & port_bit)) {
		*p++ = '[';
		p = put_ip(p, addr, e->ip_version);
		*p++ = ']';
	} else {
		p = put_ip(p, addr, e->ip_version);
	}
	if (e->known & port_bit) {
		*p++ = ':';
		p = put_u32(p, port);
	}
	return p;
}

static char *put_ends(char *p, const struct fw_event *e)
{
	char *start = p;

	p = e->known & FW_EV_ADDRS ? event_proto_put(p, e->proto) : put_lit(p, "-");
	p = pad(p, start, 8);
	start = p;
	p = put_end(p, e, e->src, FW_EV_SADDR, FW_EV_SPORT, e->sport);
	p = pad(p, start, 21);
	p = put_lit(p, "> ");
	start = p;
	p = put_end(p, e, e->dst, FW_EV_ADDRS, FW_EV_DPORT, e->dport);
	return pad(p, start, 21);
}

static char *put_rest(char *p, const struct event *ev)
{
	const struct fw_event *e = ev->e;

	if (ev->iface)
		p = put_mem(put_lit(p, " if="), ev->iface->safe, ev->iface->safe_len);
	if (e->known & FW_EV_VLAN)
		p = put_u32(put_lit(p, " vlan="), e->vlan);
	if (e->known & FW_EV_ICMP) {
		p = put_u32(put_lit(p, " icmp="), e->icmp_type);
		*p++ = '/';
		p = put_u32(p, e->icmp_code);
	}
	if (e->known & FW_EV_TCP)
		p = event_flags_put(put_lit(p, " flags="), e->tcp_flags);
	if (e->known & FW_EV_LENGTH)
		p = put_u32(put_lit(p, " len="), e->length);
	if (e->known & FW_EV_TASK) {
		p = put_u32(put_lit(p, " pid="), e->pid);
		p = put_safe(put_lit(p, " comm="), ev->comm, ev->comm_len);
	}
	if (e->known & FW_EV_UID)
		p = put_u32(put_lit(p, " uid="), e->uid);
	if (ev->cgroup)
		p = put_mem(put_lit(p, " cgroup="), ev->cgroup->safe, ev->cgroup->safe_len);
	if (e->suppressed)
		p = put_u32(put_lit(p, " suppressed="), e->suppressed);
	return p;
}

static char *put_who(char *p, const struct event_rule *rule, unsigned int reason)
{
	/* the rule says more than the reason; without one the reason stands in its place, marked */
	if (rule)
		return put_mem(p, rule->name.safe, rule->name.safe_len);
	*p++ = '(';
	p = put_str(p, event_reason_name(reason) ? event_reason_name(reason) : "?");
	*p++ = ')';
	return p;
}

/* Of an audit: the other answer, and who gave it. */
static char *put_candidate(char *p, const struct event *ev)
{
	const struct fw_event *e = ev->e;
	const char *verdict = event_verdict_name(e->other_verdict);

	if (ev->type != EVENT_DISAGREEMENT)
		return p;
	p = put_str(put_lit(p, " candidate="), verdict ? verdict : "?");
	*p++ = ':';
	p = put_who(p, ev->candidate, e->other_rule < FW_RULE_ID_FIRST ? e->other_rule / 2 : FW_REASON_COUNT);
	return put_u32(put_lit(p, " candidate_generation="), e->other_generation);
}

static char *put_judged(char *p, const struct event *ev, bool colour)
{
	const struct fw_event *e = ev->e;
	char *start;

	if (e->verdict == FW_VERDICT_ALLOW)
		p = PAINT(p, colour, "32");
	else if (e->verdict == FW_VERDICT_DENY)
		p = PAINT(p, colour, "31");
	else
		p = PAINT(p, colour, "33");
	p = put_column(p, event_verdict_name(e->verdict), 13);
	p = PAINT(p, colour, "0");
	start = p;
	p = put_who(p, ev->rule, e->reason);
	if (ev->rule && e->reason != FW_REASON_RULE && event_reason_name(e->reason)) {
		p = put_str(put_lit(p, "/"), event_reason_name(e->reason));
	}
	p = pad(p, start, 20);
	p = put_column(p, event_hook_name(e->hook), 15);
	p = put_column(p, event_direction_name(e->direction), 8);
	return put_candidate(put_rest(put_ends(p, e), ev), ev);
}

static char *put_count(char *p, const struct event *ev)
{
	p = put_u64(p, ev->count);
	if (ev->rule)
		return put_mem(put_lit(p, " rule="), ev->rule->name.safe, ev->rule->name.safe_len);
	if (ev->reason == FW_REASON_RULE || !event_reason_name(ev->reason))
		return p;
	p = put_str(put_lit(p, " reason="), event_reason_name(ev->reason));
	if (event_direction_name(ev->direction))
		p = put_str(put_lit(p, " direction="), event_direction_name(ev->direction));
	return p;
}

static char *put_trial(char *p, const struct event_trial *t, bool colour)
{
	p = put_column(put_lit(PAINT(p, colour, "1"), "trial        "), event_trial_name(t->state), 12);
	p = put_u32(put_lit(p, "generation "), t->generation);
	if (t->fallback)
		p = put_u32(put_lit(p, ", fallback generation "), t->fallback);
	else
		p = put_lit(p, ", fallback no filtering");
	if (t->state == TRIAL_STARTED)
		p = put_lit(put_u32(put_lit(p, ", "), t->seconds_left), " s left");
	return PAINT(p, colour, "0");
}

char *event_text(char *p, const struct event *ev, bool colour)
{
	p = rfc3339_put(p, ev->time, 6);
	*p++ = ' ';
	switch (ev->type) {
	case EVENT_VERDICT:
	case EVENT_DISAGREEMENT:
		p = put_judged(p, ev, colour);
		break;
	case EVENT_META:
		p = put_lit(PAINT(p, colour, "1"), "meta         instance ");
		p = put_mem(p, ev->meta->instance.safe, ev->meta->instance.safe_len);
		if (ev->meta->generation) {
			p = put_u32(put_lit(p, ", generation "), ev->meta->generation);
			p = put_u32(put_lit(p, ", rules "), ev->meta->rules);
			p = rfc3339_put(put_lit(p, ", loaded "), ev->meta->loaded_at, 0);
		} else {
			p = put_lit(p, ", nothing is filtered");
		}
		p = PAINT(p, colour, "0");
		break;
	case EVENT_TRIAL:
		p = put_trial(p, &ev->trial, colour);
		break;
	case EVENT_LOST:
		p = put_count(put_lit(PAINT(p, colour, "35"), "lost         events "), ev);
		p = PAINT(p, colour, "0");
		break;
	case EVENT_SUPPRESSED:
		p = put_count(put_lit(PAINT(p, colour, "35"), "suppressed   events "), ev);
		p = PAINT(p, colour, "0");
		break;
	}
	while (p[-1] == ' ')
		p--;
	*p++ = '\n';
	return p;
}
