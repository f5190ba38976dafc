/* SPDX-License-Identifier: GPL-2.0-only */
/* Events as JSON lines. This is what limits fwmon, so: no printf, no strlen, words with their keys prepared
 * by the preprocessor, and rule, interface and cgroup escaped once when they are first met. */
#include "event.h"

#include <string.h>

#include "put.h"
#include "rfc3339.h"

/* A word with its key: copied as a whole in one fixed-size move, of which len bytes count (EVENT_ROOM_MAX
 * leaves space behind every line). */
#define FRAGMENT 39
struct fragment {
	uint8_t len;
	char text[FRAGMENT];
};
#define FRAGMENT_OF(key, name)                                                                               \
	{                                                                                                    \
		sizeof(",\"" key "\":\"" name "\"") - 1, ",\"" key "\":\"" name "\""                         \
	}
#define VERDICT(id, name) FRAGMENT_OF("verdict", name),
#define REASON(id, name) FRAGMENT_OF("reason", name),
#define HOOK(id, name, dir) FRAGMENT_OF("hook", name),
static const struct fragment verdicts[] = {FW_VERDICTS(VERDICT)};
static const struct fragment reasons[] = {FW_REASONS(REASON)};
static const struct fragment hooks[] = {FW_HOOKS(HOOK)};
static const struct fragment directions[] = {FRAGMENT_OF("direction", "ingress"),
					     FRAGMENT_OF("direction", "egress")};

#define CANDIDATE_VERDICT(id, name) FRAGMENT_OF("candidate_verdict", name),
#define CANDIDATE_REASON(id, name) FRAGMENT_OF("candidate_reason", name),
#define TRIAL_STATE(id, name) FRAGMENT_OF("state", name),
static const struct fragment candidate_verdicts[] = {FW_VERDICTS(CANDIDATE_VERDICT)};
static const struct fragment candidate_reasons[] = {FW_REASONS(CANDIDATE_REASON)};
static const struct fragment trial_states[] = {TRIAL_STATES(TRIAL_STATE)};

static inline char *put_fragment(char *p, const struct fragment *f)
{
	memcpy(p, f->text, FRAGMENT);
	return p + f->len;
}

/* A number outside the list (a newer program) is unknown: absent. */
#define PUT_WORD(p, list, i) ((i) < sizeof(list) / sizeof((list)[0]) ? put_fragment(p, &(list)[i]) : (p))

#define PUT_NUM(p, key, v) put_u32(put_lit(p, ",\"" key "\":"), v)

static char *put_id(char *p, uint64_t id)
{
	p = put_u64(p, id);
	*p++ = '"';
	return p;
}

static char *put_ends(char *p, const struct fw_event *e)
{
	if (e->known & FW_EV_SADDR) {
		p = put_ip(put_lit(p, ",\"src_ip\":\""), e->src, e->ip_version);
		*p++ = '"';
	}
	if (e->known & FW_EV_SPORT)
		p = PUT_NUM(p, "src_port", e->sport);
	if (e->known & FW_EV_ADDRS) {
		p = put_ip(put_lit(p, ",\"dst_ip\":\""), e->dst, e->ip_version);
		*p++ = '"';
	}
	if (e->known & FW_EV_DPORT)
		p = PUT_NUM(p, "dst_port", e->dport);
	if (e->known & FW_EV_ADDRS) {
		p = event_proto_put(put_lit(p, ",\"proto\":\""), e->proto);
		p = PUT_NUM(put_lit(p, "\""), "ip_version", e->ip_version);
	}
	return p;
}

static char *put_packet(char *p, const struct fw_event *e)
{
	if (e->known & FW_EV_ICMP) {
		p = PUT_NUM(p, "icmp_type", e->icmp_type);
		p = PUT_NUM(p, "icmp_code", e->icmp_code);
	}
	if (e->known & FW_EV_TCP) {
		p = event_flags_put(put_lit(p, ",\"tcp_flags\":\""), e->tcp_flags);
		*p++ = '"';
	}
	if (e->known & FW_EV_LENGTH)
		p = PUT_NUM(p, "length", e->length);
	if (e->known & FW_EV_VLAN)
		p = PUT_NUM(p, "vlan", e->vlan);
	return PUT_NUM(p, "generation", e->generation);
}

static char *put_process(char *p, const struct event *ev)
{
	const struct fw_event *e = ev->e;

	if (e->known & FW_EV_TASK) {
		p = PUT_NUM(p, "pid", e->pid);
		p = put_safe(put_lit(p, ",\"comm\":\""), ev->comm, ev->comm_len);
		*p++ = '"';
	}
	if (e->known & FW_EV_UID)
		p = PUT_NUM(p, "uid", e->uid);
	if (e->known & FW_EV_CGROUP)
		p = put_id(put_lit(p, ",\"cgroup_id\":\""), e->cgroup_id);
	if (ev->cgroup) {
		p = put_mem(put_lit(p, ",\"cgroup\":\""), ev->cgroup->safe, ev->cgroup->safe_len);
		*p++ = '"';
	}
	return p;
}

/* What the other policy of an audit says. */
static char *put_candidate(char *p, const struct event *ev)
{
	const struct fw_event *e = ev->e;
	const struct event_rule *r = ev->candidate;

	p = PUT_WORD(p, candidate_verdicts, e->other_verdict);
	if (e->other_rule < FW_RULE_ID_FIRST) {
		p = PUT_WORD(p, candidate_reasons, e->other_rule / 2); /* FW_REASON_ID() */
	} else if (r) {
		p = put_mem(put_lit(p, ",\"candidate_rule\":\""), r->name.safe, r->name.safe_len);
		*p++ = '"';
		if (r->source_len) {
			p = put_lit(p, ",\"candidate_rule_source\":\"");
			p = put_mem(p, r->json + r->json_len - 1 - r->source_len, r->source_len + 1);
		}
	}
	return PUT_NUM(p, "candidate_generation", e->other_generation);
}

static char *put_judged(char *p, const struct event *ev)
{
	const struct fw_event *e = ev->e;

	p = put_lit(p, "{\"timestamp\":\"");
	p = rfc3339_put(p, ev->time, 9);
	if (ev->type == EVENT_VERDICT)
		p = put_lit(p, "\",\"event_type\":\"verdict\"");
	else
		p = put_lit(p, "\",\"event_type\":\"disagreement\"");
	p = PUT_WORD(p, verdicts, e->verdict);
	p = PUT_WORD(p, reasons, e->reason);
	if (ev->rule)
		p = put_mem(p, ev->rule->json, ev->rule->json_len);
	p = PUT_WORD(p, hooks, e->hook);
	p = PUT_WORD(p, directions, e->direction);
	if (ev->iface) {
		p = put_mem(put_lit(p, ",\"in_iface\":\""), ev->iface->safe, ev->iface->safe_len);
		*p++ = '"';
	}
	p = put_ends(p, e);
	p = put_packet(p, e);
	p = put_process(p, ev);
	if (e->flow_id)
		p = put_id(put_lit(p, ",\"flow_id\":\""), e->flow_id);
	if (e->suppressed)
		p = PUT_NUM(p, "suppressed", e->suppressed);
	if (ev->type == EVENT_DISAGREEMENT)
		p = put_candidate(p, ev);
	return put_lit(p, "}\n");
}

static char *put_meta(char *p, const struct event *ev)
{
	const struct event_meta *m = ev->meta;

	p = put_lit(p, "{\"event_type\":\"meta\",\"timestamp\":\"");
	p = rfc3339_put(p, ev->time, 9);
	p = put_mem(put_lit(p, "\",\"version\":\""), m->version.safe, m->version.safe_len);
	p = put_mem(put_lit(p, "\",\"instance\":\""), m->instance.safe, m->instance.safe_len);
	p = PUT_NUM(put_lit(p, "\""), "generation", m->generation);
	if (!m->generation)
		return put_lit(p, ",\"rules\":0}\n");
	p = put_hex(put_lit(p, ",\"digest\":\""), m->digest, sizeof(m->digest));
	p = PUT_NUM(put_lit(p, "\""), "rules", m->rules);
	p = rfc3339_put(put_lit(p, ",\"loaded_at\":\""), m->loaded_at, 9);
	return put_lit(p, "\"}\n");
}

static char *put_trial(char *p, const struct event *ev)
{
	const struct event_trial *t = &ev->trial;

	p = put_lit(p, "{\"event_type\":\"trial\",\"timestamp\":\"");
	p = rfc3339_put(p, ev->time, 9);
	*p++ = '"';
	p = PUT_WORD(p, trial_states, t->state);
	p = PUT_NUM(p, "generation", t->generation);
	p = PUT_NUM(p, "fallback", t->fallback);
	if (t->state == TRIAL_STARTED)
		p = PUT_NUM(p, "seconds_left", t->seconds_left);
	return put_lit(p, "}\n");
}

static char *put_count(char *p, const struct event *ev)
{
	p = rfc3339_put(p, ev->time, 9);
	p = put_u64(put_lit(p, "\",\"count\":"), ev->count);
	if (ev->rule) {
		p = put_mem(p, ev->rule->json, ev->rule->json_len);
	} else if (ev->reason != FW_REASON_RULE) {
		p = PUT_WORD(p, reasons, ev->reason);
		p = PUT_WORD(p, directions, ev->direction);
	}
	return put_lit(p, "}\n");
}

char *event_json(char *p, const struct event *ev, bool colour)
{
	switch (ev->type) {
	case EVENT_VERDICT:
	case EVENT_DISAGREEMENT:
		return put_judged(p, ev);
	case EVENT_META:
		return put_meta(p, ev);
	case EVENT_LOST:
		return put_count(put_lit(p, "{\"event_type\":\"lost\",\"timestamp\":\""), ev);
	case EVENT_SUPPRESSED:
		return put_count(put_lit(p, "{\"event_type\":\"suppressed\",\"timestamp\":\""), ev);
	case EVENT_TRIAL:
		return put_trial(p, ev);
	}
	return p;
}
