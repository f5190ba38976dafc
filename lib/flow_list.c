/* SPDX-License-Identifier: GPL-2.0-only */
#include "flow_list.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/packet.h"

static void fill_times(struct flow_row *r, const struct flow_list *l)
{
	uint64_t tmo = l->set->tmo[FW_FLOW_STATE(r->flow.word)], idle = r->flow.idle;

	r->timed = l->jiffies_per_s;
	if (!r->timed)
		return;
	r->idle_ds = idle * 10 / l->jiffies_per_s;
	r->expires_ds = (tmo > idle ? tmo - idle : 0) * 10 / l->jiffies_per_s;
}

static void fill_event(struct fw_event *e, const struct flow_entry *f)
{
	*e = (struct fw_event){
		.known = FW_EV_ADDRS | FW_EV_SADDR,
		.flow_id = f->id,
		.rule = f->rule,
		.generation = f->generation,
		.cgroup_id = f->cgroup_id,
		.ifindex = f->ifindex,
		.hook = FW_HOOK_COUNT, /* any: not known */
		.direction = f->word & FW_FLOW_EGRESS ? FW_EGRESS : FW_INGRESS,
		.verdict = FW_VERDICT_ALLOW,
		.reason = FW_REASON_RULE,
		.proto = f->key.proto,
		.ip_version = f->word & FW_FLOW_V6 ? 6 : 4,
	};
	memcpy(e->src, f->key.src, sizeof(e->src));
	memcpy(e->dst, f->key.dst, sizeof(e->dst));
	if (f->rule < FW_RULE_ID_FIRST)
		e->reason = (uint8_t)(f->rule / 2);
	if (fw_has_ports(f->key.proto)) {
		e->known |= FW_EV_SPORT | FW_EV_DPORT;
		e->sport = f->key.sport;
		e->dport = f->key.dport;
	}
	e->known |= (f->cgroup_id ? FW_EV_CGROUP : 0) | (f->ifindex ? FW_EV_IFACE : 0);
	if (f->uid != ~0u) {
		e->known |= FW_EV_UID;
		e->uid = f->uid;
	}
}

bool flow_list_next(struct flow_list *l, struct flow_row *r)
{
	while (flow_set_next(l->set, &l->at, &r->flow)) {
		uint32_t state = FW_FLOW_STATE(r->flow.word);

		if (r->flow.expired || state == FW_FLOW_FRAGMENT)
			continue;
		if (l->filter && l->filter->states && !(l->filter->states >> state & 1))
			continue;
		fill_event(&r->e, &r->flow);
		event_names_fill(l->names, &r->e, &r->ev);
		if (l->filter && !filter_pass(&l->filter->event, &r->ev))
			continue;
		r->state = flow_state_names[state];
		r->icmp = r->e.proto == IPPROTO_ICMP || r->e.proto == IPPROTO_ICMPV6;
		r->icmp_id = ntohs(r->flow.key.sport);
		fill_times(r, l);
		return true;
	}
	return false;
}
