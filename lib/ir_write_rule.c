/* SPDX-License-Identifier: GPL-2.0-only */
#include "ir_write_rule.h"

#include "field_value.h"
#include "ir_text.h"

/* All of these end with a comma before them: "name" always comes first. A list that is empty in the policy
 * was absent and stays so. */

void write_strings(FILE *f, const char *key, char *const *list, size_t n)
{
	size_t i;

	emit_string(f, key);
	emit_raw(f, ":[");
	for (i = 0; i < n; i++) {
		if (i)
			emit_raw(f, ",");
		emit_string(f, list[i]);
	}
	emit_raw(f, "]");
}

static void write_names(FILE *f, const char *key, char *const *list, size_t n)
{
	if (!n)
		return;
	emit_raw(f, ",");
	write_strings(f, key, list, n);
}

/* ,"KEY": with ${key} from our own tables */
static void write_key(FILE *f, const char *key)
{
	emit_raw(f, ",\"");
	emit_raw(f, key);
	emit_raw(f, "\":");
}

static void write_word(FILE *f, const char *key, const char *word)
{
	write_key(f, key);
	emit_raw(f, "\"");
	emit_raw(f, word);
	emit_raw(f, "\"");
}

static void write_addrs(FILE *f, const struct policy *p, const char *key, const struct addr_item *a, size_t n)
{
	size_t i;

	if (!n)
		return;
	write_key(f, key);
	for (i = 0; i < n; i++) {
		emit_raw(f, i ? "," : "[");
		if (a[i].set < 0) {
			emit_cidr(f, a[i].negate, &a[i].cidr);
			continue;
		}
		emit_raw(f, a[i].negate ? "\"!@" : "\"@");
		emit_raw(f, p->sets[a[i].set].name); /* an identifier */
		emit_raw(f, "\"");
	}
	emit_raw(f, "]");
}

static void write_ports(FILE *f, const char *key, const struct port_range *r, size_t n)
{
	size_t i;

	if (!n)
		return;
	write_key(f, key);
	for (i = 0; i < n; i++) {
		emit_raw(f, i ? "," : "[");
		if (r[i].lo == r[i].hi) {
			emit_uint(f, r[i].lo);
			continue;
		}
		emit_raw(f, "\"");
		emit_uint(f, r[i].lo);
		emit_raw(f, "-");
		emit_uint(f, r[i].hi);
		emit_raw(f, "\"");
	}
	emit_raw(f, "]");
}

static void write_proto(FILE *f, const struct proto *p)
{
	char buf[8];
	const char *name = proto_name(p, buf);

	if (*name >= '0' && *name <= '9') {
		write_key(f, "protocol");
		emit_raw(f, name);
	} else {
		write_word(f, "protocol", name);
	}
}

static void write_icmp_types(FILE *f, const struct icmp_type *t, size_t n)
{
	size_t i;

	if (!n)
		return;
	write_key(f, "icmp_types");
	for (i = 0; i < n; i++) {
		emit_raw(f, i ? "," : "[");
		if (t[i].name)
			emit_string(f, t[i].name);
		else
			emit_uint(f, (uint64_t)(t[i].v4 >= 0 ? t[i].v4 : t[i].v6));
	}
	emit_raw(f, "]");
}

static void write_rate(FILE *f, const struct rule *r)
{
	write_key(f, "rate_limit_pps");
	if (r->action != ACTION_RATE_LIMIT) {
		emit_raw(f, "null"); /* the founding article's consumers look for it */
		return;
	}
	emit_uint(f, r->rate_pps);
	write_key(f, "rate_limit_burst");
	emit_uint(f, r->rate_burst);
	write_word(f, "rate_limit_by", rate_by_name(r->rate_by));
}

void write_rule(FILE *f, const struct policy *p, const struct rule *r, bool texts)
{
	emit_raw(f, "{\"name\":");
	emit_string(f, r->name);
	write_key(f, "priority");
	emit_uint(f, r->priority);
	write_word(f, "direction", direction_name(r->directions));
	write_addrs(f, p, "source_cidrs", r->src, r->n_src);
	write_addrs(f, p, "destination_cidrs", r->dst, r->n_dst);
	write_ports(f, "source_ports", r->sports, r->n_sports);
	write_ports(f, "destination_ports", r->dports, r->n_dports);
	write_proto(f, &r->proto);
	write_icmp_types(f, r->icmp_types, r->n_icmp_types);
	write_names(f, "interfaces", r->interfaces, r->n_interfaces);
	write_names(f, "cgroups", r->cgroups, r->n_cgroups);
	write_names(f, "users", r->users, r->n_users);
	write_word(f, "action", action_name(r->action));
	write_rate(f, r);
	write_key(f, "log");
	emit_raw(f, r->log ? "true" : "false");
	if (texts && r->description) {
		write_key(f, "description");
		emit_string(f, r->description);
	}
	if (r->src_file) {
		write_key(f, "source");
		emit_raw(f, "{\"file\":");
		emit_string(f, r->src_file);
		write_key(f, "line");
		emit_uint(f, r->src_line);
		emit_raw(f, "}");
	}
	emit_raw(f, "}");
}
