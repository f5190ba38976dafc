/* SPDX-License-Identifier: GPL-2.0-only */
#include "event.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "put.h"

const struct event_printer event_printers[] = {
	{"json", event_json},
	{"text", event_text},
	{NULL, NULL},
};

#define WORD(id, name) name,
#define HOOK_WORD(id, name, dir) name,
static const char *const verdicts[] = {FW_VERDICTS(WORD)};
static const char *const reasons[] = {FW_REASONS(WORD)};
static const char *const hooks[] = {FW_HOOKS(HOOK_WORD)};
static const char *const directions[] = {"ingress", "egress"};
static const char *const trials[] = {TRIAL_STATES(WORD)};
#define WORD_OF(list, i) ((i) < sizeof(list) / sizeof((list)[0]) ? (list)[i] : NULL)

const char *event_verdict_name(unsigned int v)
{
	return WORD_OF(verdicts, v);
}

const char *event_reason_name(unsigned int r)
{
	return WORD_OF(reasons, r);
}

const char *event_hook_name(unsigned int h)
{
	return WORD_OF(hooks, h);
}

const char *event_direction_name(unsigned int d)
{
	return WORD_OF(directions, d);
}

const char *event_trial_name(unsigned int s)
{
	return WORD_OF(trials, s);
}

int event_word(const char *(*of)(unsigned int), const char *word)
{
	const char *have;

	for (unsigned int i = 0; (have = of(i)); i++)
		if (!strcmp(have, word))
			return (int)i;
	return -1;
}

static const struct {
	uint8_t number;
	uint8_t len;
	char name[8];
} protos[] = {
	{IPPROTO_TCP, 3, "tcp"},   {IPPROTO_UDP, 3, "udp"},   {IPPROTO_ICMPV6, 6, "icmpv6"},
	{IPPROTO_ICMP, 4, "icmp"}, {IPPROTO_SCTP, 4, "sctp"}, {IPPROTO_UDPLITE, 7, "udplite"},
};
#define N_PROTOS (sizeof(protos) / sizeof(protos[0]))

char *event_proto_put(char *p, uint8_t proto)
{
	for (size_t i = 0; i < N_PROTOS; i++)
		if (protos[i].number == proto)
			return put_mem(p, protos[i].name, protos[i].len);
	return put_u32(p, proto);
}

int event_proto_parse(const char *s)
{
	int v = 0;

	for (size_t i = 0; i < N_PROTOS; i++)
		if (!strcmp(protos[i].name, s))
			return protos[i].number;
	if (!*s || (s[0] == '0' && s[1]))
		return -1;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || (v = v * 10 + (*s - '0')) > 255)
			return -1;
	}
	return v;
}

/* RFC 9293 and 3168: bit 0 is FIN, bit 7 CWR; three letters each. */
static const char flag_names[8][4] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};

char *event_flags_put(char *p, uint8_t flags)
{
	const char *start = p;

	for (int bit = 0; flags >> bit; bit++) {
		if (!(flags >> bit & 1))
			continue;
		if (p != start)
			*p++ = ',';
		p = put_mem(p, flag_names[bit], 3);
	}
	return p;
}

int event_flags_parse(const char *s, size_t len)
{
	int flags = 0, bit;

	if (!len)
		return 0;
	for (;;) {
		for (bit = 0; bit < 8; bit++)
			if (len >= 3 && !memcmp(s, flag_names[bit], 3))
				break;
		if (bit == 8)
			return -1;
		flags |= 1 << bit;
		if (len == 3)
			return flags;
		if (s[3] != ',')
			return -1;
		s += 4;
		len -= 4;
	}
}

int label_make(struct label *n, const char *s, size_t len)
{
	if (len > LABEL_MAX)
		len = LABEL_MAX;
	n->raw = malloc(len + 1 + PUT_SAFE_MAX(len));
	if (!n->raw)
		return -1;
	memcpy(n->raw, s, len);
	n->raw[len] = 0;
	n->raw_len = (uint32_t)len;
	n->safe = n->raw + len + 1;
	n->safe_len = (uint32_t)(put_safe(n->safe, s, len) - n->safe);
	/* almost always nothing needed escaping: give back five sixths */
	s = realloc(n->raw, len + 1 + n->safe_len);
	if (s)
		n->raw = (char *)(uintptr_t)s;
	n->safe = n->raw + len + 1;
	return 0;
}

void label_free(struct label *n)
{
	free(n->raw);
	*n = (struct label){};
}

int event_rule_make(struct event_rule *r, const char *name, size_t len, int priority, const char *source,
		    size_t source_len)
{
	char *p;

	*r = (struct event_rule){};
	if (label_make(&r->name, name, len))
		return -1;
	if (source_len > LABEL_MAX)
		source_len = LABEL_MAX;
	r->json = malloc(64 + r->name.safe_len + (source ? PUT_SAFE_MAX(source_len) : 0));
	if (!r->json) {
		label_free(&r->name);
		return -1;
	}
	p = put_lit(r->json, ",\"rule\":\"");
	p = put_mem(p, r->name.safe, r->name.safe_len);
	*p++ = '"';
	if (priority >= 0)
		p = put_u32(put_lit(p, ",\"priority\":"), (uint32_t)priority);
	if (source) {
		char *start = put_lit(p, ",\"rule_source\":\"");

		p = put_safe(start, source, source_len);
		r->source_len = (uint32_t)(p - start);
		*p++ = '"';
	}
	r->json_len = (uint32_t)(p - r->json);
	return 0;
}

void event_rule_free(struct event_rule *r)
{
	if (!r)
		return;
	label_free(&r->name);
	free(r->json);
	*r = (struct event_rule){};
}
