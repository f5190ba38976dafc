/* SPDX-License-Identifier: GPL-2.0-only */
#include "session.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- SSH_CONNECTION ---- */

/* As sshd(8) writes them, by getnameinfo(3): IPv4, IPv6, and with a zone. */
static bool parse_addr(char *text, uint8_t out[16], uint32_t *ifindex)
{
	char *zone = strchr(text, '%');

	memset(out, 0, 16);
	if (zone)
		*zone++ = 0;
	if (inet_pton(AF_INET, text, out + 12) == 1) {
		out[10] = out[11] = 0xff;
		return !zone;
	}
	if (inet_pton(AF_INET6, text, out) != 1)
		return false;
	if (zone) {
		*ifindex = if_nametoindex(zone);
		if (!*ifindex)
			*ifindex = (uint32_t)strtoul(zone, NULL, 10);
	}
	return true;
}

bool session_parse(const char *text, struct sock_conn *out)
{
	char client[80], server[80], more;
	unsigned int cport, sport;

	memset(out, 0, sizeof(*out));
	if (sscanf(text, "%79s %5u %79s %5u %c", client, &cport, server, &sport, &more) != 4 || !cport || !sport ||
	    cport > 65535 || sport > 65535)
		return false;
	if (!parse_addr(client, out->remote, &out->ifindex) || !parse_addr(server, out->local, &out->ifindex))
		return false;
	out->version = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)out->remote) ? 4 : 6;
	out->remote_port = (uint16_t)cport;
	out->local_port = (uint16_t)sport;
	out->protocol = IPPROTO_TCP;
	out->state = TCP_ESTABLISHED;
	out->opener = SOCK_REMOTE;
	return true;
}

/* ---- the socket ---- */

static bool same_ends(const struct sock_conn *a, const struct sock_conn *b)
{
	return a->remote_port == b->remote_port && a->local_port == b->local_port &&
	       !memcmp(a->remote, b->remote, sizeof(a->remote)) && !memcmp(a->local, b->local, sizeof(a->local));
}

static bool established(const struct sock_conn *c)
{
	return c->protocol == IPPROTO_TCP && c->state == TCP_ESTABLISHED;
}

static const struct sock_conn *by_ends(const struct sock_list *l, const struct sock_conn *c)
{
	for (size_t i = 0; i < l->n; i++)
		if (established(&l->socks[i]) && same_ends(&l->socks[i], c))
			return &l->socks[i];
	return NULL;
}

static const struct sock_conn *by_inode(const struct sock_list *l, uint32_t inode)
{
	for (size_t i = 0; inode && i < l->n; i++)
		if (established(&l->socks[i]) && l->socks[i].inode == inode)
			return &l->socks[i];
	return NULL;
}

/* A port that connect() would not have chosen: there was a listener. */
static bool chosen(uint16_t port)
{
	unsigned int lo = 32768, hi = 60999;
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

	if (f) {
		if (fscanf(f, "%u %u", &lo, &hi) != 2)
			lo = hi = 0;
		fclose(f);
	}
	return port < lo || port > hi;
}

/* ---- the sessions ---- */

struct finder {
	struct session *out;
	size_t n;
	struct sock_list list;
};

static void add(struct finder *f, const struct sock_conn *c, bool live)
{
	for (size_t i = 0; i < f->n; i++)
		if (same_ends(&f->out[i].conn, c))
			return;
	if (f->n < SESSIONS_MAX)
		f->out[f->n++] = (struct session){ .conn = *c, .live = live };
}

static void add_text(struct finder *f, const char *text, bool dead_too)
{
	const struct sock_conn *there;
	struct sock_conn c;

	if (!session_parse(text, &c))
		return;
	there = by_ends(&f->list, &c);
	if (there) {
		c = *there;
		c.opener = SOCK_REMOTE; /* its listener may be gone, but sshd accepts */
	}
	if (there || dead_too)
		add(f, &c, there);
}

/* A process that serves several at one port is not there for us. */
static bool serves_others(const struct finder *f, const struct session_clues *clues, const struct session_clue *clue,
			  const struct sock_conn *c)
{
	const struct sock_conn *other;

	for (size_t i = 0; i < clues->n; i++) {
		if (clues->list[i].process != clue->process)
			continue;
		other = by_inode(&f->list, clues->list[i].inode);
		if (other && other->local_port == c->local_port && !same_ends(other, c))
			return true;
	}
	return false;
}

/* true: that settles it for its process. */
static bool add_socket(struct finder *f, const struct session_clues *clues, const struct session_clue *clue)
{
	const struct sock_conn *there = by_inode(&f->list, clue->inode);
	struct sock_conn c;

	if (!there)
		return false;
	c = *there;
	if (c.opener == SOCK_LOCAL && chosen(c.local_port))
		c.opener = SOCK_REMOTE;
	if (clue->fd <= STDERR_FILENO || (c.opener == SOCK_REMOTE && !serves_others(f, clues, clue, &c)))
		add(f, &c, true);
	else if (c.opener == SOCK_LOCAL)
		return false;
	return true;
}

size_t session_find(struct session out[SESSIONS_MAX])
{
	const char *text = getenv("SSH_CONNECTION");
	struct finder f = { .out = out };
	struct session_clues clues;
	int settled = -1;

	session_clues(&clues);
	if ((text || clues.n) && sock_list(&f.list))
		f.list = (struct sock_list){ 0 }; /* then SSH_CONNECTION alone says who we are */
	if (text)
		add_text(&f, text, true);
	for (size_t i = 0; i < clues.n; i++)
		if (!clues.list[i].text && clues.list[i].process != settled && add_socket(&f, &clues, &clues.list[i]))
			settled = clues.list[i].process;
	for (size_t i = 0; i < clues.n; i++)
		if (clues.list[i].text)
			add_text(&f, clues.list[i].text, false);
	sock_list_free(&f.list);
	session_clues_free(&clues);
	return f.n;
}
