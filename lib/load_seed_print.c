/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of connections that end with the load. */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>

#include "load_seed.h"
#include "put.h"

#define SHOWN_MAX 20 /* a terminal's worth; all with -v */

static int ends_text(const struct seed_settled *d, char text[2 * PUT_ENDPOINT_MAX + 4])
{
	char *p = put_endpoint(text, d->key.src, d->key.sport);

	p = put_lit(p, " > ");
	p = put_endpoint(p, d->key.dst, d->key.dport);
	*p = 0;
	return (int)(p - text);
}

static const char *proto_word(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "tcp" : proto == IPPROTO_UDP ? "udp" : "udplite";
}

static void print_one(const struct load *l, const struct seed_settled *d, int width)
{
	const struct rule *r = judge_rule(l, d->rule);
	const char *will = !d->denied_now ? "may be" : l->o->dry_run ? "would be" : "will be";
	const char *opened = d->remote ? "by the remote" : "from here", *but = "";
	char ends[2 * PUT_ENDPOINT_MAX + 4], where[400] = "";

	ends_text(d, ends);
	if (!d->denied_now)
		but = d->remote ? ", but not what this host sends on it" : ", but not what the remote sends on it";
	if (r && r->src_file)
		snprintf(where, sizeof(where), " (%s:%u)", r->src_file, r->src_line);
	complain("%s cut: %s %-*s (opened %s): denied by %s%s%s%s", will, proto_word(d->key.proto), width, ends, opened,
		 r ? "rule " : "default", r ? r->name : "", where, but);
}

static bool to_list(const struct seed_settled *d)
{
	return d->verdict == SEED_DENIED && !d->listed;
}

void seed_print(struct load *l)
{
	size_t max = l->o->verbose ? SIZE_MAX : SHOWN_MAX, room = max - l->seed->shown, more = 0;
	char ends[2 * PUT_ENDPOINT_MAX + 4];
	struct seed *s = l->seed;
	int width = 0, w;

	for (size_t i = 0, n = 0; i < s->n_settled && n < room; i++) {
		if (!to_list(&s->settled[i]))
			continue;
		w = ends_text(&s->settled[i], ends);
		width = w > width ? w : width;
		n++;
	}
	for (size_t i = 0; i < s->n_settled; i++) {
		if (!to_list(&s->settled[i]))
			continue;
		s->settled[i].listed = true;
		if (s->shown == max) {
			more++;
			continue;
		}
		s->shown++;
		print_one(l, &s->settled[i], width);
	}
	if (more)
		complain("and %zu more (-v lists all)", more);
}
