/* SPDX-License-Identifier: GPL-2.0-only */
#include "event_filter.h"

#include <stdlib.h>
#include <string.h>

#include "cgroup_path.h"
#include "field_value.h"

struct filter_value {
	uint64_t number; /* cgroup: id, 0 for a path */
	char *text;	 /* rule, interface, cgroup path; or NULL */
	uint8_t addr[16], mask[16];
};

#define LISTED(id, name) " " name

static const char *read_word(struct filter_value *v, const char *(*of)(unsigned int), const char *text,
			     const char *expected)
{
	int n = event_word(of, text);

	v->number = (uint64_t)n;
	return n < 0 ? expected : NULL;
}

static const char *read_proto(struct filter_value *v, const char *text)
{
	int n = event_proto_parse(text);

	v->number = (uint64_t)n;
	return n < 0 ? "expected tcp, udp, udplite, sctp, icmp, icmpv6 or a number 0..255" : NULL;
}

static const char *read_text(struct filter_value *v, const char *text)
{
	if (!*text)
		return "empty";
	v->text = strdup(text);
	return v->text ? NULL : "out of memory";
}

/* As in events: IPv4 is ::ffff:a.b.c.d, so a prefix of n bits becomes one of 96 + n. */
static const char *read_cidr(struct filter_value *v, const char *text)
{
	struct cidr c;
	bool masked;
	const char *why = parse_cidr(text, strlen(text), &c, &masked);
	int bits;

	if (why)
		return why;
	bits = c.len + (c.family == 4 ? 96 : 0);
	if (c.family == 4) {
		memset(v->addr + 10, 0xff, 2);
		memcpy(v->addr + 12, c.addr, 4);
	} else {
		memcpy(v->addr, c.addr, 16);
	}
	for (int i = 0; i < 16; i++, bits -= 8)
		v->mask[i] = bits >= 8 ? 0xff : bits > 0 ? (uint8_t)(0xff00 >> bits) : 0;
	/* ::/0 means every IPv6 address, not every address: number holds the family */
	v->number = c.family;
	return NULL;
}

static const char *read_cgroup(struct filter_value *v, const char *text)
{
	size_t len;

	if (!parse_uint(text, UINT64_MAX, &v->number))
		return v->number ? NULL : "0 is no cgroup id";
	v->number = 0;
	if (text[0] != '/')
		return "expected a path from the cgroup v2 root, or a number";
	read_text(v, cgroup_below_mount(text));
	if (!v->text)
		return "out of memory";
	for (len = strlen(v->text); len && v->text[len - 1] == '/'; len--)
		v->text[len - 1] = 0; /* the root becomes "", a prefix of every path */
	return NULL;
}

static const char *read_value(struct filter_value *v, enum filter_kind kind, const char *text)
{
	switch (kind) {
	case FILTER_VERDICT:
		return read_word(v, event_verdict_name, text, "expected one of:" FW_VERDICTS(LISTED));
	case FILTER_REASON:
		return read_word(v, event_reason_name, text, "expected one of:" FW_REASONS(LISTED));
	case FILTER_DIRECTION:
		return read_word(v, event_direction_name, text, "expected ingress or egress");
	case FILTER_PROTO:
		return read_proto(v, text);
	case FILTER_SRC:
	case FILTER_DST:
		return read_cidr(v, text);
	case FILTER_PORT:
		return parse_uint(text, UINT16_MAX, &v->number);
	case FILTER_PID:
		return parse_uint(text, UINT32_MAX, &v->number);
	case FILTER_CGROUP:
		return read_cgroup(v, text);
	case FILTER_RULE:
	case FILTER_INTERFACE:
		return read_text(v, text);
	case FILTER_KINDS:
		break;
	}
	return "unknown filter";
}

const char *filter_add(struct event_filter *f, enum filter_kind kind, const char *text)
{
	struct filter_value v = {}, *grown;
	const char *why = read_value(&v, kind, text);

	if (why)
		return why;
	grown = realloc(f->values[kind], (f->count[kind] + 1) * sizeof(v));
	if (!grown) {
		free(v.text);
		return "out of memory";
	}
	f->values[kind] = grown;
	grown[f->count[kind]++] = v;
	f->used |= 1u << kind;
	return NULL;
}

static bool in_cidr(const struct filter_value *v, const struct fw_event *e, const uint8_t *addr)
{
	if ((v->number == 4) != (e->ip_version == 4))
		return false;
	for (int i = 0; i < 16; i++)
		if ((addr[i] & v->mask[i]) != v->addr[i])
			return false;
	return true;
}

static bool in_cgroup(const struct filter_value *v, const struct event *ev)
{
	size_t len;

	if (v->number)
		return (ev->e->known & FW_EV_CGROUP) && ev->e->cgroup_id == v->number;
	if (!ev->cgroup)
		return false;
	len = strlen(v->text);
	return !strncmp(ev->cgroup->raw, v->text, len) &&
	       (ev->cgroup->raw[len] == '/' || !ev->cgroup->raw[len]);
}

static bool is_text(const struct filter_value *v, const struct label *n)
{
	return n && !strcmp(n->raw, v->text);
}

static bool value_holds(enum filter_kind kind, const struct filter_value *v, const struct event *ev)
{
	const struct fw_event *e = ev->e;

	switch (kind) {
	case FILTER_VERDICT:
		return e->verdict == v->number;
	case FILTER_REASON:
		return (e ? e->reason : ev->reason) == v->number;
	case FILTER_DIRECTION:
		return e->direction == v->number;
	case FILTER_RULE:
		return is_text(v, ev->rule ? &ev->rule->name : NULL) ||
		       is_text(v, ev->candidate ? &ev->candidate->name : NULL);
	case FILTER_PROTO:
		return (e->known & FW_EV_ADDRS) && e->proto == v->number;
	case FILTER_SRC:
		return (e->known & FW_EV_SADDR) && in_cidr(v, e, e->src);
	case FILTER_DST:
		return (e->known & FW_EV_ADDRS) && in_cidr(v, e, e->dst);
	case FILTER_PORT:
		return ((e->known & FW_EV_SPORT) && e->sport == v->number) ||
		       ((e->known & FW_EV_DPORT) && e->dport == v->number);
	case FILTER_INTERFACE:
		return is_text(v, ev->iface);
	case FILTER_PID:
		return (e->known & FW_EV_TASK) && e->pid == v->number;
	case FILTER_CGROUP:
		return in_cgroup(v, ev);
	case FILTER_KINDS:
		break;
	}
	return false;
}

bool filter_pass(const struct event_filter *f, const struct event *ev)
{
	unsigned int left = f->used;

	/* how many events of a rule were left out is of interest to whoever wants its events; of the rest nothing is known */
	if (ev->type == EVENT_SUPPRESSED)
		left &= 1u << FILTER_RULE | 1u << FILTER_REASON;
	else if (!event_judged(ev))
		return true;
	for (; left; left &= left - 1) {
		enum filter_kind kind = (enum filter_kind)__builtin_ctz(left);
		bool any = false;

		for (size_t i = 0; i < f->count[kind] && !any; i++)
			any = value_holds(kind, &f->values[kind][i], ev);
		if (!any)
			return false;
	}
	return true;
}

void filter_free(struct event_filter *f)
{
	for (int k = 0; k < FILTER_KINDS; k++) {
		for (size_t i = 0; i < f->count[k]; i++)
			free(f->values[k][i].text);
		free(f->values[k]);
	}
	*f = (struct event_filter){};
}
