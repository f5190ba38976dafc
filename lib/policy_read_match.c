/* SPDX-License-Identifier: GPL-2.0-only */
/* What a rule matches: addresses, ports, protocol, interfaces, users. */
#include <string.h>

#include "field_value.h"
#include "policy_reader.h"

static bool set_item(struct reader *r, const char *name, const struct where *w, struct addr_item *item)
{
	const struct name *set = names_find(&r->sets, name);
	const char *near;

	if (set) {
		item->set = set->value;
		return true;
	}
	/* looking at every set for each of very many unknown names would take minutes */
	near = r->d->errors < DIAG_MAX ? names_nearest(&r->sets, name) : NULL;
	if (near)
		reader_error(r, w, "there is no set \"@%s\": did you mean \"@%s\"?", name, near);
	else
		reader_error(r, w, "there is no set \"@%s\": define it under sets", name);
	return false;
}

/* "CIDR", "!CIDR", "@set" or "!@set". */
static bool addr_item(struct reader *r, const char *text, const struct where *w, struct addr_item *item)
{
	const char *s = text, *wrong;
	char buf[CIDR_TEXT_MAX];
	bool masked;

	*item = (struct addr_item){.negate = *s == '!', .set = -1};
	s += item->negate;
	if (*s == '@')
		return set_item(r, s + 1, w, item);
	wrong = parse_cidr(s, strlen(s), &item->cidr, &masked);
	if (wrong) {
		reader_error(r, w, "\"%s\": %s", text, wrong);
		return false;
	}
	if (masked) {
		format_cidr(&item->cidr, buf);
		diag_warn(r->d, w, r->rule, "\"%s\" has host bits: taken as %s%s", text,
			  item->negate ? "!" : "", buf);
	}
	return true;
}

void rule_addrs(struct reader *r, void *into, const struct member *m, struct addr_item **items, size_t *n)
{
	const struct node *list = read_list(r, m);

	if (!list)
		return;
	*items = arena_alloc(r->a, list->count * sizeof(**items));
	for (size_t i = 0; i < list->count; i++) {
		const char *s = read_entry(r, m->key, list->items[i]);

		if (s && addr_item(r, s, &list->items[i]->where, &(*items)[*n]))
			++*n;
	}
}

void rule_ports(struct reader *r, const struct member *m, struct port_range **ranges, size_t *n)
{
	const struct node *list = read_list(r, m);

	if (!list)
		return;
	*ranges = arena_alloc(r->a, list->count * sizeof(**ranges));
	for (size_t i = 0; i < list->count; i++) {
		const char *s = read_entry(r, m->key, list->items[i]), *wrong;

		if (!s)
			continue;
		wrong = parse_ports(s, &(*ranges)[*n]);
		if (wrong)
			reader_error(r, &list->items[i]->where, "\"%s\": %s", s, wrong);
		else
			++*n;
	}
}

/* Exact lower case, like every word of the language; a difference of case gets the nearest suggestion. */
void rule_protocol(struct reader *r, void *into, const struct member *m)
{
	static const char *const words[] = {"tcp", "udp", "icmp", "icmpv4", "icmpv6", "sctp", "any"};
	const char *s = read_entry(r, m->key, m->value), *wrong;

	wrong = s ? parse_proto(s, &((struct rule *)into)->proto) : NULL;
	if (!wrong)
		return;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcasecmp(s, words[i]) || near_distance(s, words[i]) <= near_limit(s)) {
			reader_error(r, &m->value->where, "\"%s\" is not a protocol: did you mean \"%s\"?", s,
				     words[i]);
			return;
		}
	}
	reader_error(r, &m->value->where, "\"%s\": %s", s, wrong);
}

void rule_icmp_types(struct reader *r, void *into, const struct member *m)
{
	const struct node *list = read_list(r, m);
	struct rule *rule = into;

	if (!list)
		return;
	rule->icmp_types = arena_alloc(r->a, list->count * sizeof(*rule->icmp_types));
	for (size_t i = 0; i < list->count; i++) {
		const char *s = read_entry(r, m->key, list->items[i]), *wrong, *near;

		wrong = s ? parse_icmp_type(s, &rule->icmp_types[rule->n_icmp_types]) : NULL;
		near = wrong ? icmp_type_nearest(s) : NULL;
		if (near)
			reader_error(r, &list->items[i]->where,
				     "\"%s\" is not an ICMP type: did you mean \"%s\"?", s, near);
		else if (wrong)
			reader_error(r, &list->items[i]->where, "\"%s\": %s", s, wrong);
		else if (s)
			rule->n_icmp_types++;
	}
}

/* A list of texts, each judged and made canonical by ${one}: NULL and what is ${*wrong} with it. */
static void texts(struct reader *r, const struct member *m, char ***out, size_t *n,
		  char *(*one)(struct arena *a, const char *s, const char **wrong))
{
	const struct node *list = read_list(r, m);

	if (!list)
		return;
	*out = arena_alloc(r->a, list->count * sizeof(**out));
	for (size_t i = 0; i < list->count; i++) {
		const char *s = read_entry(r, m->key, list->items[i]), *wrong = NULL;
		char *text = s ? one(r->a, s, &wrong) : NULL;

		if (wrong)
			reader_error(r, &list->items[i]->where, "\"%s\" %s", s, wrong);
		else if (text)
			(*out)[(*n)++] = text;
	}
}

static char *interface(struct arena *a, const char *s, const char **wrong)
{
	const char *why = interface_wrong(s);

	*wrong = why ? arena_printf(a, "is %s", why) : NULL;
	return (char *)s;
}

void rule_interfaces(struct reader *r, void *into, const struct member *m)
{
	struct rule *rule = into;

	texts(r, m, &rule->interfaces, &rule->n_interfaces, interface);
}

void rule_cgroups(struct reader *r, void *into, const struct member *m)
{
	struct rule *rule = into;

	texts(r, m, &rule->cgroups, &rule->n_cgroups, cgroup_text);
}

/* Whether a name exists is for the loader to say: the policy may be compiled on another host. */
static char *user(struct arena *a, const char *s, const char **wrong)
{
	uint64_t id;

	*wrong = NULL;
	if (*s >= '0' && *s <= '9') {
		/* the last id means "none" to the kernel */
		if (parse_uint(s, UINT32_MAX - 1, &id))
			*wrong = "is not a user: a name, or an id from 0 to 4294967294 without leading zeros";
		return (char *)s;
	}
	if (!*s || strlen(s) > 255 || *s == '-')
		*wrong = "is not a user name";
	for (const char *p = s; *p && !*wrong; p++)
		if (*p == ':' || *p == '/' || (unsigned char)*p <= ' ' || *p == 0x7f)
			*wrong = "is not a user name: no \":\", \"/\" or white space";
	return (char *)s;
}

void rule_users(struct reader *r, void *into, const struct member *m)
{
	struct rule *rule = into;

	texts(r, m, &rule->users, &rule->n_users, user);
}
