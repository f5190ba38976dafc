/* SPDX-License-Identifier: GPL-2.0-only */
#include "event_parse.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "field_value.h"
#include "json_flat.h"
#include "rfc3339.h"

/* One row per key: its kind, the greatest number, and the bit of fw_event.known that its presence sets. */
#define KEYS(X)                                                                                              \
	X(timestamp, FLAT_STRING, 0, 0)                                                                      \
	X(event_type, FLAT_STRING, 0, 0)                                                                     \
	X(verdict, FLAT_STRING, 0, 0)                                                                        \
	X(reason, FLAT_STRING, 0, 0)                                                                         \
	X(rule, FLAT_STRING, 0, 0)                                                                           \
	X(priority, FLAT_UINT, UINT16_MAX, 0)                                                                \
	X(rule_source, FLAT_STRING, 0, 0)                                                                    \
	X(hook, FLAT_STRING, 0, 0)                                                                           \
	X(direction, FLAT_STRING, 0, 0)                                                                      \
	X(in_iface, FLAT_STRING, 0, FW_EV_IFACE)                                                             \
	X(src_ip, FLAT_STRING, 0, FW_EV_SADDR)                                                               \
	X(src_port, FLAT_UINT, UINT16_MAX, FW_EV_SPORT)                                                      \
	X(dst_ip, FLAT_STRING, 0, FW_EV_ADDRS)                                                               \
	X(dst_port, FLAT_UINT, UINT16_MAX, FW_EV_DPORT)                                                      \
	X(proto, FLAT_STRING, 0, FW_EV_ADDRS)                                                                \
	X(ip_version, FLAT_UINT, 6, FW_EV_ADDRS)                                                             \
	X(icmp_type, FLAT_UINT, UINT8_MAX, FW_EV_ICMP)                                                       \
	X(icmp_code, FLAT_UINT, UINT8_MAX, FW_EV_ICMP)                                                       \
	X(tcp_flags, FLAT_STRING, 0, FW_EV_TCP)                                                              \
	X(length, FLAT_UINT, UINT32_MAX, FW_EV_LENGTH)                                                       \
	X(vlan, FLAT_UINT, UINT16_MAX, FW_EV_VLAN)                                                           \
	X(generation, FLAT_UINT, UINT32_MAX, 0)                                                              \
	X(pid, FLAT_UINT, UINT32_MAX, FW_EV_TASK)                                                            \
	X(comm, FLAT_STRING, 0, FW_EV_TASK)                                                                  \
	X(uid, FLAT_UINT, UINT32_MAX, FW_EV_UID)                                                             \
	X(cgroup_id, FLAT_STRING, 0, FW_EV_CGROUP)                                                           \
	X(cgroup, FLAT_STRING, 0, 0)                                                                         \
	X(flow_id, FLAT_STRING, 0, 0)                                                                        \
	X(suppressed, FLAT_UINT, UINT32_MAX, 0)                                                              \
	X(candidate_verdict, FLAT_STRING, 0, 0)                                                              \
	X(candidate_reason, FLAT_STRING, 0, 0)                                                               \
	X(candidate_rule, FLAT_STRING, 0, 0)                                                                 \
	X(candidate_rule_source, FLAT_STRING, 0, 0)                                                          \
	X(candidate_generation, FLAT_UINT, UINT32_MAX, 0)                                                    \
	X(state, FLAT_STRING, 0, 0)                                                                          \
	X(fallback, FLAT_UINT, UINT32_MAX, 0)                                                                \
	X(seconds_left, FLAT_UINT, UINT32_MAX, 0)                                                            \
	X(count, FLAT_UINT, UINT64_MAX, 0)                                                                   \
	X(version, FLAT_STRING, 0, 0)                                                                        \
	X(instance, FLAT_STRING, 0, 0)                                                                       \
	X(digest, FLAT_STRING, 0, 0)                                                                         \
	X(rules, FLAT_UINT, UINT32_MAX, 0)                                                                   \
	X(loaded_at, FLAT_STRING, 0, 0)

#define KEY_ENUM(key, kind, max, bit) K_##key,
#define KEY_ROW(key, kind, max, bit) {#key, kind, max, bit},
enum key { KEYS(KEY_ENUM) K_COUNT };
static const struct {
	const char *name;
	enum flat_kind kind;
	uint64_t max;
	uint16_t known;
} keys[] = {KEYS(KEY_ROW)};

/* The members of a line; absent ones have kind FLAT_OTHER. */
struct raw {
	struct flat_value v[K_COUNT];
	uint16_t known;
};

/* find_key(name, hint): our own lines have their keys in the table's order, so ${hint} is mostly right. */
static int find_key(const char *name, int hint)
{
	for (int i = 0; i < K_COUNT; i++) {
		int k = (hint + i) % K_COUNT;

		if (!strcmp(keys[k].name, name))
			return k;
	}
	return -1;
}

static const char *read_members(struct raw *raw, char *line, size_t len)
{
	struct flat f;
	struct flat_value v;
	const char *name;
	int hint = 0;

	for (int k = 0; k < K_COUNT; k++)
		raw->v[k] = (struct flat_value){.kind = FLAT_OTHER};
	raw->known = 0;
	flat_begin(&f, line, len);
	while (flat_next(&f, &name, &v)) {
		int k = find_key(name, hint);

		if (k < 0)
			continue;
		if (raw->v[k].kind != FLAT_OTHER)
			return "the same key twice";
		if (v.kind != keys[k].kind || (v.kind == FLAT_UINT && v.n > keys[k].max))
			return "a value of the wrong type or out of range";
		if (v.kind == FLAT_STRING && strlen(v.s) != v.len)
			return "NUL in a string";
		raw->v[k] = v;
		raw->known |= keys[k].known;
		hint = k + 1;
	}
	return f.why;
}

static bool has(const struct raw *raw, enum key k)
{
	return raw->v[k].kind != FLAT_OTHER;
}

static bool read_word(const struct raw *raw, enum key k, const char *(*of)(unsigned int), uint8_t *out)
{
	int n = has(raw, k) ? event_word(of, raw->v[k].s) : 0xff; /* absent: a number without a word */

	*out = (uint8_t)n;
	return n >= 0;
}

static bool read_id(const struct raw *raw, enum key k, __u64 *out)
{
	uint64_t id = 0;
	bool ok = !has(raw, k) || !parse_uint(raw->v[k].s, UINT64_MAX, &id);

	*out = id;
	return ok;
}

static bool read_ip(const struct raw *raw, enum key k, uint8_t addr[16], uint8_t *version)
{
	const char *s = raw->v[k].s;

	if (!has(raw, k))
		return true;
	if (inet_pton(AF_INET, s, addr + 12) == 1) {
		memset(addr + 10, 0xff, 2);
		*version = *version ? *version : 4;
		return *version == 4;
	}
	*version = *version ? *version : 6;
	return inet_pton(AF_INET6, s, addr) == 1 && *version == 6;
}

static const char *read_packet(const struct raw *raw, struct fw_event *e)
{
	int n;

	e->ip_version = (uint8_t)raw->v[K_ip_version].n;
	if (!read_ip(raw, K_src_ip, e->src, &e->ip_version) ||
	    !read_ip(raw, K_dst_ip, e->dst, &e->ip_version))
		return "an address that is none, or not of this ip_version";
	if (raw->known & FW_EV_ADDRS) {
		if (!has(raw, K_dst_ip) || !has(raw, K_proto) || (e->ip_version != 4 && e->ip_version != 6) ||
		    !has(raw, K_ip_version))
			return "dst_ip, proto and ip_version belong together";
		n = event_proto_parse(raw->v[K_proto].s);
		if (n < 0)
			return "unknown proto";
		e->proto = (uint8_t)n;
	}
	if (has(raw, K_tcp_flags)) {
		n = event_flags_parse(raw->v[K_tcp_flags].s, raw->v[K_tcp_flags].len);
		if (n < 0)
			return "unknown tcp_flags";
		e->tcp_flags = (uint8_t)n;
	}
	e->sport = (uint16_t)raw->v[K_src_port].n;
	e->dport = (uint16_t)raw->v[K_dst_port].n;
	e->icmp_type = (uint8_t)raw->v[K_icmp_type].n;
	e->icmp_code = (uint8_t)raw->v[K_icmp_code].n;
	e->length = (uint32_t)raw->v[K_length].n;
	e->vlan = (uint16_t)raw->v[K_vlan].n;
	return NULL;
}

static bool read_label(const struct raw *raw, enum key k, struct label *out, const struct label **ref)
{
	if (!has(raw, k))
		return true;
	if (label_make(out, raw->v[k].s, raw->v[k].len))
		return false;
	if (ref)
		*ref = out;
	return true;
}

static const char *read_rule(const struct raw *raw, struct event_line *l)
{
	const struct flat_value *source = &raw->v[K_rule_source];

	if (!has(raw, K_rule))
		return NULL;
	if (event_rule_make(&l->rule, raw->v[K_rule].s, raw->v[K_rule].len,
			    has(raw, K_priority) ? (int)raw->v[K_priority].n : -1,
			    has(raw, K_rule_source) ? source->s : NULL, source->len))
		return "out of memory";
	l->ev.rule = &l->rule;
	return NULL;
}

/* The other policy's side of a disagreement. An absent rule is one that nobody knew. */
static const char *read_candidate(const struct raw *raw, struct event_line *l)
{
	const struct flat_value *source = &raw->v[K_candidate_rule_source];
	struct fw_event *e = &l->e;
	uint8_t reason;

	e->type = FW_EVENT_DISAGREEMENT;
	e->other_rule = FW_RULE_ID_FIRST;
	e->other_generation = (uint32_t)raw->v[K_candidate_generation].n;
	if (!has(raw, K_candidate_verdict) ||
	    !read_word(raw, K_candidate_verdict, event_verdict_name, &e->other_verdict))
		return "no candidate_verdict, or an unknown one";
	if (!read_word(raw, K_candidate_reason, event_reason_name, &reason))
		return "unknown candidate_reason";
	if (has(raw, K_candidate_reason))
		e->other_rule = FW_REASON_ID(reason, 0u);
	if (!has(raw, K_candidate_rule))
		return NULL;
	if (has(raw, K_candidate_reason))
		return "candidate_rule and candidate_reason exclude each other";
	if (event_rule_make(&l->candidate, raw->v[K_candidate_rule].s, raw->v[K_candidate_rule].len, -1,
			    has(raw, K_candidate_rule_source) ? source->s : NULL, source->len))
		return "out of memory";
	l->ev.candidate = &l->candidate;
	return NULL;
}

static const char *read_names(const struct raw *raw, struct event_line *l)
{
	if (!read_label(raw, K_in_iface, &l->iface, &l->ev.iface) ||
	    !read_label(raw, K_cgroup, &l->cgroup, &l->ev.cgroup))
		return "out of memory";
	return read_rule(raw, l);
}

static const char *read_count(const struct raw *raw, struct event_line *l)
{
	l->ev.count = raw->v[K_count].n;
	if (!has(raw, K_count))
		return "no count";
	if (has(raw, K_reason) && (!read_word(raw, K_reason, event_reason_name, &l->ev.reason) ||
				   !read_word(raw, K_direction, event_direction_name, &l->ev.direction)))
		return "unknown reason or direction";
	return read_rule(raw, l);
}

static const char *read_verdict(const struct raw *raw, struct event_line *l)
{
	struct fw_event *e = &l->e;
	const char *why;

	l->ev.e = e;
	e->known = raw->known;
	if (!has(raw, K_verdict) || !read_word(raw, K_verdict, event_verdict_name, &e->verdict))
		return "no verdict, or an unknown one";
	if (!read_word(raw, K_reason, event_reason_name, &e->reason) ||
	    !read_word(raw, K_hook, event_hook_name, &e->hook) ||
	    !read_word(raw, K_direction, event_direction_name, &e->direction))
		return "unknown reason, hook or direction";
	if (!read_id(raw, K_cgroup_id, &e->cgroup_id) || !read_id(raw, K_flow_id, &e->flow_id))
		return "cgroup_id or flow_id is not a number";
	e->generation = (uint32_t)raw->v[K_generation].n;
	e->pid = (uint32_t)raw->v[K_pid].n;
	e->uid = (uint32_t)raw->v[K_uid].n;
	e->suppressed = (uint32_t)raw->v[K_suppressed].n;
	/* an escape of the kernel's bytes (\ufffd) is longer than they were: room for what was shown */
	if (raw->v[K_comm].len > sizeof(l->comm))
		return "comm is too long";
	if (has(raw, K_comm))
		memcpy(l->comm, raw->v[K_comm].s, raw->v[K_comm].len);
	l->ev.comm = l->comm;
	l->ev.comm_len = (uint32_t)raw->v[K_comm].len;
	why = read_packet(raw, e);
	return why ? why : read_names(raw, l);
}

static bool read_digest(const struct raw *raw, uint8_t out[32])
{
	const char *s = raw->v[K_digest].s;

	if (!has(raw, K_digest))
		return true;
	if (raw->v[K_digest].len != 64 || strspn(s, "0123456789abcdef") != 64)
		return false;
	for (int i = 0; i < 32; i++) {
		char two[3] = {s[2 * i], s[2 * i + 1], 0};

		out[i] = (uint8_t)strtoul(two, NULL, 16);
	}
	return true;
}

static const char *read_meta(const struct raw *raw, struct event_line *l)
{
	const struct flat_value *at = &raw->v[K_loaded_at];

	l->ev.meta = &l->meta;
	l->meta.generation = (uint32_t)raw->v[K_generation].n;
	l->meta.rules = (uint32_t)raw->v[K_rules].n;
	if (!read_label(raw, K_version, &l->meta.version, NULL) ||
	    !read_label(raw, K_instance, &l->meta.instance, NULL))
		return "out of memory";
	if (!read_digest(raw, l->meta.digest))
		return "digest is not 64 hexadecimal digits";
	if (has(raw, K_loaded_at) && rfc3339_parse(at->s, at->len, &l->meta.loaded_at))
		return "loaded_at is not a time as fwmon writes it";
	return NULL;
}

static const char *read_trial(const struct raw *raw, struct event_line *l)
{
	struct event_trial *t = &l->ev.trial;
	uint8_t state;

	if (!has(raw, K_state) || !read_word(raw, K_state, event_trial_name, &state))
		return "no state, or an unknown one";
	t->state = (enum trial_state)state;
	t->generation = (uint32_t)raw->v[K_generation].n;
	t->fallback = (uint32_t)raw->v[K_fallback].n;
	t->seconds_left = (uint32_t)raw->v[K_seconds_left].n;
	return NULL;
}

/* One row per event_type; of a disagreement the verdict's fields come first. */
static const struct {
	const char *name;
	enum event_type type;
	const char *(*read[2])(const struct raw *raw, struct event_line *l);
} types[] = {
	{"verdict", EVENT_VERDICT, {read_verdict}},
	{"disagreement", EVENT_DISAGREEMENT, {read_verdict, read_candidate}},
	{"meta", EVENT_META, {read_meta}},
	{"lost", EVENT_LOST, {read_count}},
	{"suppressed", EVENT_SUPPRESSED, {read_count}},
	{"trial", EVENT_TRIAL, {read_trial}},
};

const char *event_parse(char *line, size_t len, struct event_line *l)
{
	const struct flat_value *stamp;
	struct raw raw;
	const char *why;

	event_line_free(l);
	why = read_members(&raw, line, len);
	if (why)
		return why;
	stamp = &raw.v[K_timestamp];
	if (!has(&raw, K_timestamp) || rfc3339_parse(stamp->s, stamp->len, &l->ev.time))
		return "no timestamp as fwmon writes it";
	if (!has(&raw, K_event_type))
		return "no event_type";
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(raw.v[K_event_type].s, types[i].name))
			continue;
		l->ev.type = types[i].type;
		why = types[i].read[0](&raw, l);
		return why || !types[i].read[1] ? why : types[i].read[1](&raw, l);
	}
	return "unknown event_type";
}

void event_line_free(struct event_line *l)
{
	event_rule_free(&l->rule);
	event_rule_free(&l->candidate);
	label_free(&l->iface);
	label_free(&l->cgroup);
	label_free(&l->meta.version);
	label_free(&l->meta.instance);
	*l = (struct event_line){};
}
