/* SPDX-License-Identifier: GPL-2.0-only */
/* The keys of a rule. Lists of what a rule matches: policy_read_match.c. */
#include <string.h>

#include "policy_reader.h"

static void name(struct reader *r, void *into, const struct member *m)
{
	const char *s = read_text(r, m);

	if (s && !is_identifier(s))
		reader_error(
			r, &m->value->where,
			"\"%s\" is no name for a rule: letters, digits and _, at most %d, no digit first", s,
			POLICY_NAME_MAX);
	((struct rule *)into)->name = (char *)s;
}

static void priority(struct reader *r, void *into, const struct member *m)
{
	struct rule *rule = into;
	uint64_t v;

	if (read_uint(r, m, 0, UINT16_MAX, &v))
		rule->priority = v;
	else
		rule->keys[RK_PRIORITY].file = NULL; /* no value to compare with others */
}

static void direction(struct reader *r, void *into, const struct member *m)
{
	static const char *const names[] = {"ingress", "egress", "both"};
	static const uint8_t bits[] = {DIR_BIT(DIR_INGRESS), DIR_BIT(DIR_EGRESS), DIR_BOTH};
	int i = read_choice(r, m, names, 3);

	if (i >= 0)
		((struct rule *)into)->directions = bits[i];
}

static void source_cidrs(struct reader *r, void *into, const struct member *m)
{
	struct rule *rule = into;

	rule_addrs(r, rule, m, &rule->src, &rule->n_src);
}

static void destination_cidrs(struct reader *r, void *into, const struct member *m)
{
	struct rule *rule = into;

	rule_addrs(r, rule, m, &rule->dst, &rule->n_dst);
}

static void source_ports(struct reader *r, void *into, const struct member *m)
{
	struct rule *rule = into;

	rule_ports(r, m, &rule->sports, &rule->n_sports);
}

static void destination_ports(struct reader *r, void *into, const struct member *m)
{
	struct rule *rule = into;

	rule_ports(r, m, &rule->dports, &rule->n_dports);
}

static void action(struct reader *r, void *into, const struct member *m)
{
	static const char *const names[] = {"deny", "allow", "reject", "rate_limit"};
	int i = read_choice(r, m, names, 4);

	if (i >= 0)
		((struct rule *)into)->action = i;
}
_Static_assert(ACTION_DENY == 0 && ACTION_ALLOW == 1 && ACTION_REJECT == 2 && ACTION_RATE_LIMIT == 3,
	       "action() takes the position for the action");

/* null means unset: the IR says so of rules that are not limited. */
static void rate_number(struct reader *r, struct rule *rule, enum rule_key key, const struct member *m,
			uint32_t *v)
{
	uint64_t number;

	if (m->value->kind == NODE_NULL)
		rule->keys[key].file = NULL;
	else if (read_uint(r, m, 1, 1000000000, &number))
		*v = number;
}

static void rate_limit_pps(struct reader *r, void *into, const struct member *m)
{
	rate_number(r, into, RK_RATE_LIMIT_PPS, m, &((struct rule *)into)->rate_pps);
}

static void rate_limit_burst(struct reader *r, void *into, const struct member *m)
{
	rate_number(r, into, RK_RATE_LIMIT_BURST, m, &((struct rule *)into)->rate_burst);
}

static void rate_limit_by(struct reader *r, void *into, const struct member *m)
{
	static const char *const names[] = {"source", "destination", "rule"};
	struct rule *rule = into;
	int i;

	if (m->value->kind == NODE_NULL) {
		rule->keys[RK_RATE_LIMIT_BY].file = NULL;
		return;
	}
	i = read_choice(r, m, names, 3);
	if (i >= 0)
		rule->rate_by = i;
}
_Static_assert(RK_COUNT <= 32, "reader.failed has a bit per key");
_Static_assert(RATE_BY_SOURCE == 0 && RATE_BY_RULE == 2, "rate_limit_by() takes the position for the key");

static void log_events(struct reader *r, void *into, const struct member *m)
{
	read_bool(r, m, &((struct rule *)into)->log);
}

static void description(struct reader *r, void *into, const struct member *m)
{
	((struct rule *)into)->description = (char *)read_text(r, m);
}

static void expires(struct reader *r, void *into, const struct member *m)
{
	reader_error(r, &m->where, "\"expires\" is not supported yet");
}

static void source_file(struct reader *r, void *into, const struct member *m)
{
	((struct rule *)into)->src_file = read_text(r, m);
}

static void source_line(struct reader *r, void *into, const struct member *m)
{
	uint64_t v;

	if (read_uint(r, m, 1, UINT32_MAX, &v))
		((struct rule *)into)->src_line = v;
}

/* Where the rule stands in the YAML: compiling the IR again keeps it. */
static void source(struct reader *r, void *into, const struct member *m)
{
	static const struct key keys[] = {{"file", IN_IR, source_file}, {"line", IN_IR, source_line}};
	struct rule *rule = into;
	unsigned int before = r->d->errors;

	rule->src_file = NULL;
	rule->src_line = 0;
	read_keys(r, m->value, "source", keys, 2, IN_IR, rule, NULL);
	if (r->d->errors == before && (!rule->src_file || !rule->src_line))
		reader_error(r, &m->value->where, "\"source\" needs \"file\" and \"line\"");
}

#define BOTH (IN_YAML | IN_IR)
static const struct key rule_keys[RK_COUNT] = {
	[RK_NAME] = {"name", BOTH, name},
	[RK_PRIORITY] = {"priority", BOTH, priority},
	[RK_DIRECTION] = {"direction", BOTH, direction},
	[RK_SOURCE_CIDRS] = {"source_cidrs", BOTH, source_cidrs},
	[RK_DESTINATION_CIDRS] = {"destination_cidrs", BOTH, destination_cidrs},
	[RK_SOURCE_PORTS] = {"source_ports", BOTH, source_ports},
	[RK_DESTINATION_PORTS] = {"destination_ports", BOTH, destination_ports},
	[RK_PROTOCOL] = {"protocol", BOTH, rule_protocol},
	[RK_ICMP_TYPES] = {"icmp_types", BOTH, rule_icmp_types},
	[RK_INTERFACES] = {"interfaces", BOTH, rule_interfaces},
	[RK_CGROUPS] = {"cgroups", BOTH, rule_cgroups},
	[RK_USERS] = {"users", BOTH, rule_users},
	[RK_ACTION] = {"action", BOTH, action},
	[RK_RATE_LIMIT_PPS] = {"rate_limit_pps", BOTH, rate_limit_pps},
	[RK_RATE_LIMIT_BURST] = {"rate_limit_burst", BOTH, rate_limit_burst},
	[RK_RATE_LIMIT_BY] = {"rate_limit_by", BOTH, rate_limit_by},
	[RK_LOG] = {"log", BOTH, log_events},
	[RK_DESCRIPTION] = {"description", BOTH, description},
	[RK_EXPIRES] = {"expires", IN_YAML, expires},
	[RK_SOURCE] = {"source", IN_IR, source},
};

/* Names are how counters, events and people know a rule: unique over all files. */
static void check_name(struct reader *r, const struct rule *rule)
{
	const struct name *before;
	const struct where *w = &rule->keys[RK_NAME];

	if (!rule->name) {
		if (!w->file)
			reader_error(r, &rule->where, "the rule has no name: add name: and an identifier");
		return;
	}
	before = names_add(&r->rules, rule->name, w, 0);
	if (before && before->where.path)
		reader_error(r, w, "two rules have this name: the first is at %s", before->where.path);
	else if (before && same_place(&before->where, w))
		reader_error(r, w,
			     "this rule is here twice: its file is included twice, or an alias repeats it");
	else if (before)
		reader_error(r, w, "two rules have this name: the first is at %s:%u:%u", before->where.file,
			     before->where.line, before->where.col);
}

/* ${rule} is filled as far as its keys are right, so that the checks over all rules see it. */
static void read_rule(struct reader *r, const struct node *n, struct rule *rule)
{
	const struct node *named = node_get(n, "name");

	*rule = (struct rule){.directions = DIR_BOTH, .log = true, .where = n->where};
	r->failed = 0;
	r->rule = named && named->kind == NODE_SCALAR ? named->text : NULL;
	if (!r->typed) {
		rule->src_file = n->where.file;
		rule->src_line = n->where.line;
	}
	read_keys(r, n, "a rule", rule_keys, RK_COUNT, r->ir ? IN_IR : IN_YAML, rule, rule->keys);
	if (n->kind == NODE_MAP) {
		check_name(r, rule);
		if (!node_get(n, "priority"))
			reader_error(r, &n->where,
				     "the rule has no priority: add priority: and a number, lower first");
		rule_check(r->d, r->p, rule, r->failed);
	}
	if (!rule->rate_burst)
		rule->rate_burst = rule->rate_pps;
	r->rule = NULL;
}

void read_rules(struct reader *r, void *into, const struct member *m)
{
	struct policy *p = into;
	const struct node *list = m->value;

	/* a policy of defaults alone has no rules in YAML, and an empty list in the IR */
	if (!(r->ir && list->kind == NODE_LIST))
		list = read_list(r, m);
	if (!list)
		return;
	if (list->count > POLICY_RULES_MAX - p->n_rules) {
		reader_error(r, &list->where, "more than %d rules", POLICY_RULES_MAX);
		return;
	}
	if (p->n_rules + list->count > r->rules_room) {
		r->rules_room = p->n_rules + list->count;
		p->rules = arena_resize(r->a, p->rules, r->rules_room * sizeof(*p->rules));
	}
	for (size_t i = 0; i < list->count; i++)
		read_rule(r, list->items[i], &p->rules[p->n_rules++]);
}
