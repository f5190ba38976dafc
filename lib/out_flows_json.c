/* SPDX-License-Identifier: GPL-2.0-only */
#include "out_flows.h"

#include "put.h"

static char *put_text(char *p, const char *s)
{
	p = put_str(p, s);
	*p++ = '"';
	return p;
}

static char *put_label(char *p, const struct label *n)
{
	p = put_mem(p, n->safe, n->safe_len);
	*p++ = '"';
	return p;
}

static char *put_seconds(char *p, uint64_t tenths)
{
	p = put_u64(p, tenths / 10);
	*p++ = '.';
	*p++ = (char)('0' + tenths % 10);
	return p;
}

static char *put_ends(char *p, const struct flow_row *r)
{
	const struct fw_event *e = &r->e;

	p = put_ip(put_lit(p, ",\"src_ip\":\""), e->src, e->ip_version);
	*p++ = '"';
	if (e->known & FW_EV_SPORT)
		p = put_u32(put_lit(p, ",\"src_port\":"), e->sport);
	p = put_ip(put_lit(p, ",\"dst_ip\":\""), e->dst, e->ip_version);
	*p++ = '"';
	if (e->known & FW_EV_DPORT)
		p = put_u32(put_lit(p, ",\"dst_port\":"), e->dport);
	p = event_proto_put(put_lit(p, ",\"proto\":\""), e->proto);
	p = put_u32(put_lit(p, "\",\"ip_version\":"), e->ip_version);
	return r->icmp ? put_u32(put_lit(p, ",\"icmp_id\":"), r->icmp_id) : p;
}

static char *put_owner(char *p, const struct flow_row *r)
{
	if (r->e.known & FW_EV_UID)
		p = put_u32(put_lit(p, ",\"uid\":"), r->e.uid);
	if (r->e.known & FW_EV_CGROUP) {
		p = put_u64(put_lit(p, ",\"cgroup_id\":\""), r->e.cgroup_id);
		*p++ = '"';
	}
	return r->ev.cgroup ? put_label(put_lit(p, ",\"cgroup\":\""), r->ev.cgroup) : p;
}

static char *put_flow(char *p, const struct flow_row *r)
{
	const char *reason = event_reason_name(r->e.reason);

	p = put_text(put_lit(p, "{\"state\":\""), r->state);
	if (reason)
		p = put_text(put_lit(p, ",\"reason\":\""), reason);
	if (r->ev.rule)
		p = put_mem(p, r->ev.rule->json, r->ev.rule->json_len);
	p = put_text(put_lit(p, ",\"direction\":\""), event_direction_name(r->e.direction));
	if (r->ev.iface)
		p = put_label(put_lit(p, ",\"in_iface\":\""), r->ev.iface);
	p = put_ends(p, r);
	p = put_u32(put_lit(p, ",\"generation\":"), r->e.generation);
	if (r->timed) {
		p = put_seconds(put_lit(p, ",\"idle_seconds\":"), r->idle_ds);
		p = put_seconds(put_lit(p, ",\"expires_seconds\":"), r->expires_ds);
	}
	p = put_owner(p, r);
	p = put_u64(put_lit(p, ",\"flow_id\":\""), r->e.flow_id);
	return put_lit(p, "\"}\n");
}

void out_flows_json(struct line_out *o, struct flow_list *l, bool colour)
{
	struct flow_row r;

	while (flow_list_next(l, &r))
		if (line_out_end(o, put_flow(line_out_at(o), &r)))
			break;
}
