/* SPDX-License-Identifier: GPL-2.0-only */
/* Random packets near the edges of a policy's prefixes and ports, as the hooks see them. */
#ifndef FW_LOWER_PACKET_H
#define FW_LOWER_PACKET_H

#include <stdlib.h>

#include "tests/lower_gen.h"
#include "tests/lower_scan.h"

/* Every prefix and port of a policy: packets are made near their edges. */
struct edges {
	struct cidr *cidrs;
	uint16_t *ports;
	size_t n_cidrs, n_ports, room_cidrs, room_ports;
};

static void add_cidr(struct edges *e, const struct cidr *c)
{
	if (e->n_cidrs == e->room_cidrs)
		e->cidrs = realloc(e->cidrs, (e->room_cidrs = e->room_cidrs * 2 + 64) * sizeof(*e->cidrs));
	e->cidrs[e->n_cidrs++] = *c;
}

static void add_ports(struct edges *e, const struct port_range *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (e->n_ports + 2 > e->room_ports)
			e->ports = realloc(e->ports, (e->room_ports = e->room_ports * 2 + 64) * sizeof(*e->ports));
		e->ports[e->n_ports++] = r[i].lo;
		e->ports[e->n_ports++] = r[i].hi;
	}
}

static void edges_of(const struct policy *p, struct edges *e)
{
	for (size_t i = 0; i < p->n_sets; i++)
		for (size_t k = 0; k < p->sets[i].n_cidrs; k++)
			add_cidr(e, &p->sets[i].cidrs[k]);
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct rule *r = &p->rules[i];

		for (size_t k = 0; k < r->n_src; k++)
			if (r->src[k].set < 0)
				add_cidr(e, &r->src[k].cidr);
		for (size_t k = 0; k < r->n_dst; k++)
			if (r->dst[k].set < 0)
				add_cidr(e, &r->dst[k].cidr);
		add_ports(e, r->sports, r->n_sports);
		add_ports(e, r->dports, r->n_dports);
	}
}

static unsigned __int128 get128(const uint8_t *b, int n)
{
	unsigned __int128 v = 0;

	for (int i = 0; i < n; i++)
		v = v << 8 | b[i];
	return v;
}

/* The first or last address of a prefix, the ones beside them, or one within. */
static void near_cidr(const struct cidr *c, union fw_addr *a)
{
	int bytes = c->family == 4 ? 4 : 16;
	unsigned __int128 first = get128(c->addr, bytes), host = 0, noise = (unsigned __int128)rnd64() << 64 | rnd64();

	if (c->len < bytes * 8)
		host = ~(unsigned __int128)0 >> (128 - (bytes * 8 - c->len));
	switch (rnd(6)) {
	case 0:
		break;
	case 1:
		first += host;
		break;
	case 2:
		first--;
		break;
	case 3:
		first += host + 1;
		break;
	default:
		first += noise & host;
	}
	memset(a, 0, sizeof(*a));
	for (int i = 0; i < bytes; i++)
		a->b[15 - i] = first >> 8 * i;
	if (c->family == 4)
		fw_addr_set4(a, a->w[3]);
}

static void random_addr(const struct edges *e, union fw_addr *a, bool four)
{
	static const struct cidr any4 = {.family = 4}, any6 = {.family = 6};

	do {
		const struct cidr *c = e->n_cidrs && rnd(12) ? &e->cidrs[rnd(e->n_cidrs)] : rnd(2) ? &any4 : &any6;

		near_cidr(c, a);
		if (four && !fw_addr_is4(a) && !rnd(8))
			near_cidr(&any4, a);
	} while (four && !fw_addr_is4(a));
}

static uint16_t random_port(const struct edges *e)
{
	return e->n_ports && rnd(5) ? e->ports[rnd(e->n_ports)] + rnd(3) - 1 : rnd(65536);
}

static void random_packet(const struct edges *e, struct seen *s)
{
	static const uint8_t protos[] = {6, 6, 6, 17, 17, 1, 1, 58, 58, 132, 136, 47, 0, 255, 2, 4};
	struct packet *p = &s->p;
	bool fragment = !rnd(12);

	memset(s, 0, sizeof(*s));
	p->ip_version = rnd(2) ? 4 : 6;
	p->proto = rnd(20) ? protos[rnd(sizeof(protos))] : rnd(256);
	random_addr(e, &p->src, p->ip_version == 4);
	random_addr(e, &p->dst, p->ip_version == 4);
	s->view = rnd(N_VIEWS);
	s->direction = s->view == PACKET ? rnd(2) : DIR_EGRESS;
	s->iface = rnd(FW_COUNT(ifaces) + 1);
	s->uid = uids[rnd(FW_COUNT(uids))];
	s->home = &homes[rnd(FW_COUNT(homes))];
	s->by_id = s->view == SOCKET && !strchr(s->home->path, 'z') && rnd(2);
	p->known = FW_EV_ADDRS | FW_EV_SADDR;
	if (s->view == CALL && rnd(2))
		p->known &= ~FW_EV_SADDR;
	if (fw_has_ports(p->proto) && (s->view == CALL || !fragment)) {
		p->sport = random_port(e);
		p->dport = random_port(e);
		p->known |= FW_EV_DPORT | (s->view == CALL && rnd(2) ? 0 : FW_EV_SPORT);
	}
	if (is_icmp(p) && s->view != CALL && !fragment) {
		p->icmp_type = rnd(3) ? rnd(2) ? 128 + rnd(20) : rnd(16) : rnd(256);
		p->known |= FW_EV_ICMP;
		p->favoured = p->ip_version == 6 && rnd(2) &&
			      ((p->icmp_type >= 130 && p->icmp_type <= 136) || p->icmp_type == 143);
	}
	/* nobody may look at what isn't known */
	if (!(p->known & FW_EV_SADDR))
		memset(&p->src, 0xa5, sizeof(p->src));
	if (!(p->known & FW_EV_SPORT))
		p->sport = 0xa5a5;
}

#endif
