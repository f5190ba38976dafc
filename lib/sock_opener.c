/* SPDX-License-Identifier: GPL-2.0-only */
#include "sock_opener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t any4[16] = { [10] = 0xff, 0xff };

static uint32_t place(uint8_t protocol, uint16_t port)
{
	return (uint32_t)protocol << 16 | port;
}

static int by_place(const void *a, const void *b)
{
	const struct sock_wait *x = a, *y = b;
	uint32_t px = place(x->protocol, x->port), py = place(y->protocol, y->port);

	return px < py ? -1 : px > py;
}

static bool covers(const struct sock_wait *w, const struct sock_conn *s)
{
	if (!memcmp(w->addr, &in6addr_any, 16))
		return s->version == 6 || !w->v6only;
	if (!memcmp(w->addr, any4, 16))
		return s->version == 4;
	return !memcmp(w->addr, s->local, 16);
}

static bool awaited(const struct sock_conn *s, const struct sock_wait *waits, size_t n)
{
	uint32_t want = place(s->protocol, s->local_port);
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (place(waits[mid].protocol, waits[mid].port) < want)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < n && place(waits[lo].protocol, waits[lo].port) == want; lo++)
		if (covers(&waits[lo], s))
			return true;
	return false;
}

void sock_find_openers(struct sock_list *l, struct sock_wait *waits, size_t n)
{
	if (n)
		qsort(waits, n, sizeof(*waits), by_place);
	for (struct sock_conn *s = l->socks; s < l->socks + l->n; s++)
		s->opener = (s->protocol == IPPROTO_TCP && s->state == TCP_SYN_RECV) || awaited(s, waits, n) ?
				    SOCK_REMOTE :
				    SOCK_LOCAL;
}
