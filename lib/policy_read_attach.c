/* SPDX-License-Identifier: GPL-2.0-only */
/* The nested mappings of a policy: attach, timeouts, logging. */
#include <string.h>

#include "field_value.h"
#include "policy_reader.h"

/* What the kernel's dev_valid_name() refuses, so that a rule can't name what can never exist. */
const char *interface_wrong(const char *s)
{
	size_t len = strlen(s);

	if (!len)
		return "an empty interface name";
	if (len > 15)
		return "longer than the 15 characters of an interface name";
	for (size_t i = 0; i < len; i++)
		if (s[i] == '/' || s[i] == ':' || (unsigned char)s[i] <= ' ' || s[i] == 0x7f)
			return "not an interface name or glob: no \"/\", \":\" or white space";
	if (!strcmp(s, ".") || !strcmp(s, ".."))
		return "not an interface name";
	return NULL;
}

/* Rules are compared with paths as the kernel gives them: no trailing slash, nothing to resolve. */
char *cgroup_text(struct arena *a, const char *s, const char **wrong)
{
	size_t len = strlen(s);

	*wrong = NULL;
	if (s[0] != '/')
		*wrong = "must be a path from the root of the cgroup v2 hierarchy, like "
			 "/system.slice/ssh.service";
	if (len > 1 && s[len - 1] == '/' && s[len - 2] != '/')
		len--;
	for (const char *p = s; !*wrong && len > 1 && p < s + len;) {
		size_t n = strcspn(++p, "/");

		if (n == 0)
			*wrong = "has an empty component (//)";
		else if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			*wrong = "has a \".\" or \"..\" in it: write the path out";
		p += n;
	}
	return *wrong ? NULL : arena_strndup(a, s, len);
}

static void interfaces(struct reader *r, void *into, const struct member *m)
{
	struct attach *at = &((struct policy *)into)->attach;
	const struct node *list = read_list(r, m);

	if (!list)
		return;
	at->interfaces = arena_alloc(r->a, list->count * sizeof(*at->interfaces));
	for (size_t i = 0; i < list->count; i++) {
		const char *s = read_entry(r, m->key, list->items[i]), *wrong = s ? interface_wrong(s) : NULL;

		if (wrong)
			reader_error(r, &list->items[i]->where, "\"%s\": %s", s, wrong);
		else if (s)
			at->interfaces[at->n_interfaces++] = (char *)s;
	}
}

static void host(struct reader *r, void *into, const struct member *m)
{
	read_bool(r, m, &((struct policy *)into)->attach.host);
}

static void xdp(struct reader *r, void *into, const struct member *m)
{
	static const char *const names[] = {"auto", "native", "generic", "off"};
	int i = read_choice(r, m, names, 4);

	if (i >= 0)
		((struct policy *)into)->attach.xdp = i;
}
_Static_assert(XDP_MODE_AUTO == 0 && XDP_MODE_OFF == 3, "xdp() takes the position for the mode");

static void cgroup(struct reader *r, void *into, const struct member *m)
{
	const char *s = read_text(r, m), *wrong;

	if (!s)
		return;
	((struct policy *)into)->attach.cgroup = cgroup_text(r->a, s, &wrong);
	if (wrong)
		reader_error(r, &m->value->where, "\"cgroup\" %s", wrong);
}

static const struct key attach_keys[] = {
	{"interfaces", IN_YAML | IN_IR, interfaces},
	{"host", IN_YAML | IN_IR, host},
	{"xdp", IN_YAML | IN_IR, xdp},
	{"cgroup", IN_YAML | IN_IR, cgroup},
};

void read_attach(struct reader *r, void *into, const struct member *m)
{
	struct attach *at = &((struct policy *)into)->attach;
	unsigned int before = r->d->errors;

	at->given = true;
	read_keys(r, m->value, "attach", attach_keys, 4, IN_YAML | IN_IR, into, NULL);
	/* loading such a policy would enforce nothing, in silence */
	if (r->d->errors == before && !at->n_interfaces && !at->host && !at->cgroup)
		reader_error(r, &m->where, "\"attach\" says nowhere: add interfaces, host: true or cgroup");
}

/* The names come from a table of their own, so these keys have no reader each. */
void read_timeouts(struct reader *r, void *into, const struct member *m)
{
	struct policy *p = into;
	const struct node *map = m->value;

	if (map->kind != NODE_MAP) {
		reader_error(r, &map->where, "\"timeouts\" must be a mapping (name: duration), not %s",
			     node_kind_name(map));
		return;
	}
	for (size_t i = 0; i < map->count; i++) {
		const struct member *t = &map->members[i];
		const char *text, *wrong;
		uint32_t seconds;
		struct key keys[TMO_COUNT];
		int id = 0;

		while (id < TMO_COUNT && strcmp(timeout_names[id], t->key))
			id++;
		if (id == TMO_COUNT) {
			/* a mapping of this one key, for the suggestion */
			const struct node one = {.kind = NODE_MAP, .count = 1, .members = &map->members[i]};

			for (id = 0; id < TMO_COUNT; id++)
				keys[id] = (struct key){timeout_names[id], IN_YAML, NULL};
			read_keys(r, &one, "timeouts", keys, TMO_COUNT, IN_YAML, NULL, NULL);
			continue;
		}
		text = read_entry(r, t->key, t->value);
		wrong = text ? parse_duration(text, &seconds) : NULL;
		if (text && !wrong && (seconds < 1 || seconds > 30 * 86400))
			wrong = "a timeout is at least 1s and at most 30d";
		if (wrong)
			reader_error(r, &t->value->where, "\"%s\" is \"%s\": %s", t->key, text, wrong);
		else if (text)
			p->timeouts[id] = seconds;
	}
}

static void log_deny(struct reader *r, void *into, const struct member *m)
{
	read_bool(r, m, &((struct policy *)into)->log_default_deny);
}

static void log_allow(struct reader *r, void *into, const struct member *m)
{
	read_bool(r, m, &((struct policy *)into)->log_default_allow);
}

void read_log_default(struct reader *r, void *into, const struct member *m)
{
	static const struct key keys[] = {
		{"deny", IN_YAML | IN_IR, log_deny},
		{"allow", IN_YAML | IN_IR, log_allow},
	};

	read_keys(r, m->value, "log_default", keys, 2, IN_YAML | IN_IR, into, NULL);
}

#define LOG_RATE_MAX 100000000u /* so that ten times as much fits into 32 bits */

static void log_rate(struct reader *r, void *into, const struct member *m)
{
	uint64_t v;

	if (read_uint(r, m, 0, LOG_RATE_MAX, &v))
		((struct policy *)into)->log_rate = v;
}

static void log_burst(struct reader *r, void *into, const struct member *m)
{
	uint64_t v;

	if (read_uint(r, m, 0, 10 * LOG_RATE_MAX, &v))
		((struct policy *)into)->log_burst = v;
}

/* A plain number is the rate. */
void read_log_limit(struct reader *r, void *into, const struct member *m)
{
	static const struct key keys[] = {
		{"rate", IN_YAML | IN_IR, log_rate},
		{"burst", IN_YAML | IN_IR, log_burst},
	};
	struct policy *p = into;
	unsigned int before = r->d->errors;
	const struct node *map = m->value;

	if (map->kind != NODE_MAP) {
		log_rate(r, p, m);
		p->log_burst = p->log_rate * 10;
		return;
	}
	read_keys(r, map, "log_limit", keys, 2, IN_YAML | IN_IR, p, NULL);
	if (r->d->errors != before)
		return;
	if (!node_get(map, "rate"))
		reader_error(r, &map->where,
			     "\"log_limit\" needs \"rate\": events per second, 0 for no limit");
	else if (!node_get(map, "burst"))
		p->log_burst = p->log_rate * 10;
	else if (p->log_rate && !p->log_burst)
		reader_error(r, &map->where,
			     "with a burst of 0 nothing would ever be logged: \"burst\" is at least 1");
}
