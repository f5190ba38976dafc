/* SPDX-License-Identifier: GPL-2.0-only */
/* The document: its head and its sets. Bytes are canonical because every key that applies is always written,
 * in one order, with one spelling of each value. */
#include "ir.h"

#include <errno.h>

#include "ir_text.h"
#include "ir_write_rule.h"

static const char *bool_text(bool b)
{
	return b ? "true" : "false";
}

static void write_default_action(FILE *f, const struct policy *p)
{
	const char *in = action_name(p->default_action[DIR_INGRESS]);
	const char *out = action_name(p->default_action[DIR_EGRESS]);

	if (p->default_action[DIR_INGRESS] == p->default_action[DIR_EGRESS])
		fprintf(f, "\"default_action\":\"%s\",\n", in);
	else
		fprintf(f, "\"default_action\":{\"ingress\":\"%s\",\"egress\":\"%s\"},\n", in, out);
}

static void write_settings(FILE *f, const struct policy *p)
{
	size_t i;

	fprintf(f, "\"stateful\":%s,\n", bool_text(p->stateful));
	fprintf(f, "\"filter_loopback\":%s,\n", bool_text(p->filter_loopback));
	fprintf(f, "\"on_malformed\":\"%s\",\n", p->malformed_default ? "default" : "deny");
	fprintf(f, "\"log_default\":{\"deny\":%s,\"allow\":%s},\n", bool_text(p->log_default_deny),
		bool_text(p->log_default_allow));
	fprintf(f, "\"on_full\":\"%s\",\n", on_full_name(p->on_full));
	fprintf(f, "\"tcp_strict\":%s,\n", bool_text(p->tcp_strict));
	fprintf(f, "\"max_flows\":%u,\n", p->max_flows);
	fprintf(f, "\"log_limit\":{\"rate\":%u,\"burst\":%u},\n", p->log_rate, p->log_burst);
	emit_raw(f, "\"timeouts\":{");
	for (i = 0; i < TMO_COUNT; i++)
		fprintf(f, "%s\"%s\":%u", i ? "," : "", timeout_names[i], p->timeouts[i]);
	emit_raw(f, "},\n");
}

static void write_texts(FILE *f, const struct policy *p)
{
	emit_raw(f, "\"generated_at\":");
	if (p->generated_at)
		emit_string(f, p->generated_at);
	else
		emit_raw(f, "null");
	emit_raw(f, ",\n");
	if (p->description) {
		emit_raw(f, "\"description\":");
		emit_string(f, p->description);
		emit_raw(f, ",\n");
	}
}

static void write_attach(FILE *f, const struct attach *a)
{
	emit_raw(f, "\"attach\":{");
	if (a->n_interfaces) {
		write_strings(f, "interfaces", a->interfaces, a->n_interfaces);
		emit_raw(f, ",");
	}
	fprintf(f, "\"host\":%s,\"xdp\":\"%s\"", bool_text(a->host), xdp_mode_name(a->xdp));
	if (a->cgroup) {
		emit_raw(f, ",\"cgroup\":");
		emit_string(f, a->cgroup);
	}
	emit_raw(f, "},\n");
}

static void write_set(FILE *f, const struct fw_set *s, enum ir_parts parts)
{
	size_t i;

	emit_string(f, s->name);
	if (parts == IR_SNAPSHOT && s->n_cidrs > IR_SNAPSHOT_MAX) {
		fprintf(f, ":{\"members\":%zu}", s->n_cidrs);
		return;
	}
	emit_raw(f, ":[");
	for (i = 0; i < s->n_cidrs; i++) {
		if (i)
			putc_unlocked(',', f);
		emit_cidr(f, false, &s->cidrs[i]);
	}
	emit_raw(f, "]");
}

static void write_document(const struct policy *p, enum ir_parts parts, FILE *f)
{
	size_t i;

	fprintf(f, "{\"ir_version\":%d,\n", IR_VERSION);
	write_default_action(f, p);
	write_settings(f, p);
	if (parts != IR_JUDGED)
		write_texts(f, p);
	if (p->attach.given)
		write_attach(f, &p->attach);
	emit_raw(f, "\"sets\":{");
	for (i = 0; i < p->n_sets; i++) {
		emit_raw(f, i ? ",\n" : "\n");
		write_set(f, &p->sets[i], parts);
	}
	emit_raw(f, "},\n\"rules\":[");
	for (i = 0; i < p->n_rules; i++) {
		emit_raw(f, i ? ",\n" : "\n");
		write_rule(f, p, &p->rules[i], parts != IR_JUDGED);
	}
	emit_raw(f, "]}\n");
}

int ir_write(const struct policy *p, enum ir_parts parts, FILE *f)
{
	errno = 0;
	write_document(p, parts, f);
	if (fflush(f) == 0 && !ferror(f))
		return 0;
	if (!errno)
		errno = EIO; /* the stream had failed before */
	return -1;
}

static ssize_t hash_bytes(void *sha, const char *data, size_t len)
{
	sha256_add(sha, data, len);
	return (ssize_t)len;
}

void ir_digest(const struct policy *p, struct sha256 *s)
{
	FILE *f = fopencookie(s, "w", (cookie_io_functions_t){.write = hash_bytes});
	static char buf[65536];

	if (!f)
		die(EXIT_SYSTEM, "out of memory");
	setvbuf(f, buf, _IOFBF, sizeof(buf));
	write_document(p, IR_JUDGED, f);
	fclose(f);
}
