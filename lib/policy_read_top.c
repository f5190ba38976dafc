/* SPDX-License-Identifier: GPL-2.0-only */
/* The keys of a policy. */
#include <string.h>

#include "ir.h"
#include "policy_reader.h"

static void version(struct reader *r, void *into, const struct member *m)
{
	uint64_t v;

	if (read_uint(r, m, 0, UINT32_MAX, &v) && v != 1)
		reader_error(r, &m->value->where, "\"version\" is %llu: this program knows version 1",
			     (unsigned long long)v);
}

static void ir_version(struct reader *r, void *into, const struct member *m)
{
	uint64_t v;

	if (read_uint(r, m, 0, UINT32_MAX, &v) && v != IR_VERSION)
		reader_error(r, &m->value->where, "\"ir_version\" is %llu: this program knows version %d",
			     (unsigned long long)v, IR_VERSION);
}

static const char *const defaults[] = {"deny", "allow"};

/* reject and rate_limit make no sense where no rule says for whom. */
static void default_one(struct reader *r, void *into, const struct member *m)
{
	int i = read_choice(r, m, defaults, 2);

	if (i >= 0)
		*(enum fw_action *)into = i ? ACTION_ALLOW : ACTION_DENY;
}

static void default_ingress(struct reader *r, void *into, const struct member *m)
{
	default_one(r, (enum fw_action *)into + DIR_INGRESS, m);
}

static void default_egress(struct reader *r, void *into, const struct member *m)
{
	default_one(r, (enum fw_action *)into + DIR_EGRESS, m);
}

static const struct key default_keys[] = {
	{"ingress", IN_YAML | IN_IR, default_ingress},
	{"egress", IN_YAML | IN_IR, default_egress},
};

static void default_action(struct reader *r, void *into, const struct member *m)
{
	struct policy *p = into;

	if (m->value->kind == NODE_MAP) {
		read_keys(r, m->value, "default_action", default_keys, 2, IN_YAML | IN_IR, p->default_action,
			  NULL);
		return;
	}
	default_one(r, &p->default_action[DIR_INGRESS], m);
	p->default_action[DIR_EGRESS] = p->default_action[DIR_INGRESS];
}

static void stateful(struct reader *r, void *into, const struct member *m)
{
	read_bool(r, m, &((struct policy *)into)->stateful);
}

static void filter_loopback(struct reader *r, void *into, const struct member *m)
{
	read_bool(r, m, &((struct policy *)into)->filter_loopback);
}

static void tcp_strict(struct reader *r, void *into, const struct member *m)
{
	read_bool(r, m, &((struct policy *)into)->tcp_strict);
}

/* Texts that are passed through. In the IR null says that there is none. */
static char *passed_text(struct reader *r, const struct member *m)
{
	if (r->ir && m->value->kind == NODE_NULL)
		return NULL;
	return (char *)read_text(r, m);
}

static void generated_at(struct reader *r, void *into, const struct member *m)
{
	((struct policy *)into)->generated_at = passed_text(r, m);
}

static void description(struct reader *r, void *into, const struct member *m)
{
	((struct policy *)into)->description = passed_text(r, m);
}

static void max_flows(struct reader *r, void *into, const struct member *m)
{
	uint64_t v;

	if (read_uint(r, m, 16, 16777216, &v))
		((struct policy *)into)->max_flows = v;
}

static void on_full(struct reader *r, void *into, const struct member *m)
{
	static const char *const names[] = {"deny", "allow_stateless"};
	int i = read_choice(r, m, names, 2);

	if (i >= 0)
		((struct policy *)into)->on_full = i ? ON_FULL_ALLOW_STATELESS : ON_FULL_DENY;
}

static void on_malformed(struct reader *r, void *into, const struct member *m)
{
	static const char *const names[] = {"deny", "default"};

	((struct policy *)into)->malformed_default = read_choice(r, m, names, 2) == 1;
}

static void unsupported(struct reader *r, void *into, const struct member *m)
{
	reader_error(r, &m->where, "\"%s\" is not supported yet", m->key);
}

/* collect_files() and read_sets() went first. */
static void read_already(struct reader *r, void *into, const struct member *m)
{
}

/* In the order in which the IR is written and people tend to write, which read_keys() profits from. */
static const struct key top_keys[] = {
	{"version", IN_YAML | IN_INCLUDED, version},
	{"ir_version", IN_IR, ir_version},
	{"default_action", IN_YAML | IN_IR, default_action},
	{"stateful", IN_YAML | IN_IR, stateful},
	{"generated_at", IN_YAML | IN_IR, generated_at},
	{"description", IN_YAML | IN_IR, description},
	{"filter_loopback", IN_YAML | IN_IR, filter_loopback},
	{"timeouts", IN_YAML | IN_IR, read_timeouts},
	{"max_flows", IN_YAML | IN_IR, max_flows},
	{"on_full", IN_YAML | IN_IR, on_full},
	{"tcp_strict", IN_YAML | IN_IR, tcp_strict},
	{"log_limit", IN_YAML | IN_IR, read_log_limit},
	{"sets", IN_YAML | IN_IR | IN_INCLUDED, read_already},
	{"include", IN_YAML | IN_INCLUDED, read_already},
	{"attach", IN_YAML | IN_IR, read_attach},
	{"on_malformed", IN_YAML | IN_IR, on_malformed},
	{"log_default", IN_YAML | IN_IR, read_log_default},
	{"assert", IN_YAML, unsupported},
	{"rules", IN_YAML | IN_IR | IN_INCLUDED, read_rules},
};

void read_file(struct reader *r, const struct node *root)
{
	bool main = root == r->in->root;

	if (root->kind == NODE_NULL) {
		reader_error(r, &root->where,
			     "the file is empty: a policy is a mapping with a list of rules");
		return;
	}
	read_keys(r, root, main ? "the policy" : "an included file", top_keys,
		  sizeof(top_keys) / sizeof(top_keys[0]),
		  !main	  ? IN_INCLUDED
		  : r->ir ? IN_IR
			  : IN_YAML,
		  r->p, NULL);
	if (r->typed && root->kind == NODE_MAP && !node_get(root, "ir_version"))
		reader_error(r, &root->where, "\"ir_version\" is missing: is this the output of fwc?");
}
