/* SPDX-License-Identifier: GPL-2.0-only */
/* The policy: what the YAML or the IR says, after reading and checking. It knows neither YAML nor JSON
 * nor the kernel. Lists are plain arrays with a count; a count of 0 means that the key was absent
 * (empty lists are refused when reading), so "any". Strings belong to the policy. */
#ifndef FW_POLICY_H
#define FW_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"
#include "node.h"

#define POLICY_NAME_MAX 63	 /* characters in a rule or set name */
#define POLICY_RULES_MAX 262144	 /* 8 summary words of the tables */

enum fw_action { ACTION_DENY, ACTION_ALLOW, ACTION_REJECT, ACTION_RATE_LIMIT };
enum fw_direction { DIR_INGRESS, DIR_EGRESS, DIR_COUNT };
#define DIR_BIT(d) (1u << (d))
#define DIR_BOTH (DIR_BIT(DIR_INGRESS) | DIR_BIT(DIR_EGRESS))
enum fw_rate_by { RATE_BY_SOURCE, RATE_BY_DESTINATION, RATE_BY_RULE };
enum fw_xdp_mode { XDP_MODE_AUTO, XDP_MODE_NATIVE, XDP_MODE_GENERIC, XDP_MODE_OFF };
enum fw_on_full { ON_FULL_DENY, ON_FULL_ALLOW_STATELESS };

/* An IPv4 or IPv6 prefix. IPv4-mapped input has become IPv4; host bits are zero. */
struct cidr {
	uint8_t family;	  /* 4 or 6 */
	uint8_t len;	  /* 0..32 or 0..128 */
	uint8_t addr[16]; /* network byte order; IPv4 in the first 4 bytes, the rest zero */
};

struct fw_set {
	char *name;
	struct where where;
	struct cidr *cidrs;
	size_t n_cidrs;
	bool has_v4, has_v6; /* among cidrs */
};

/* One entry of source_cidrs or destination_cidrs. */
struct addr_item {
	bool negate; /* "!..." */
	int set;     /* index into policy.sets, or -1 for cidr */
	struct cidr cidr;
};

struct port_range {
	uint16_t lo, hi; /* host byte order, 1 <= lo <= hi */
};

/* protocol */
enum proto_kind { PROTO_ANY, PROTO_ICMP /* 1 in IPv4, 58 in IPv6 */, PROTO_ICMPV4, PROTO_ICMPV6, PROTO_NUMBER };
struct proto {
	enum proto_kind kind;
	uint8_t number; /* PROTO_NUMBER; tcp, udp and sctp become numbers too */
};

/* One entry of icmp_types: a number means itself in both families; an IANA name can differ. */
struct icmp_type {
	const char *name; /* canonical IANA name, static; NULL when given as a number */
	int16_t v4, v6;	  /* 0..255, or -1 where the family has no such type */
};

/* Keys of a rule, for remembering where each stands. */
enum rule_key {
	RK_NAME, RK_PRIORITY, RK_DIRECTION, RK_SOURCE_CIDRS, RK_DESTINATION_CIDRS, RK_SOURCE_PORTS,
	RK_DESTINATION_PORTS, RK_PROTOCOL, RK_ICMP_TYPES, RK_INTERFACES, RK_CGROUPS, RK_USERS, RK_ACTION,
	RK_RATE_LIMIT_PPS, RK_RATE_LIMIT_BURST, RK_RATE_LIMIT_BY, RK_LOG, RK_DESCRIPTION, RK_EXPIRES, RK_SOURCE,
	RK_COUNT
};

struct rule {
	char *name;
	uint16_t priority;
	uint8_t directions; /* DIR_BIT()s */
	enum fw_action action;
	struct addr_item *src, *dst;
	size_t n_src, n_dst;
	struct port_range *sports, *dports;
	size_t n_sports, n_dports;
	struct proto proto;
	struct icmp_type *icmp_types;
	size_t n_icmp_types;
	char **interfaces, **cgroups, **users;
	size_t n_interfaces, n_cgroups, n_users;
	uint32_t rate_pps;   /* 0: not a rate_limit rule */
	uint32_t rate_burst; /* packets; 0: not a rate_limit rule; defaults to rate_pps */
	enum fw_rate_by rate_by;
	bool log;
	char *description;     /* or NULL */
	const char *src_file;  /* "source" of the IR: where the rule stands in the YAML */
	uint32_t src_line;
	struct where where;	       /* of the rule */
	struct where keys[RK_COUNT]; /* .file is NULL where the key is absent */
};

/* All timeouts in seconds. The names are those of the policy's "timeouts" mapping. */
enum fw_timeout {
	TMO_TCP_SYN_SENT, TMO_TCP_SYN_RECV, TMO_TCP_ESTABLISHED, TMO_TCP_FIN_WAIT, TMO_TCP_CLOSE_WAIT,
	TMO_TCP_LAST_ACK, TMO_TCP_TIME_WAIT, TMO_TCP_CLOSE, TMO_UDP, TMO_UDP_STREAM, TMO_ICMP, TMO_GENERIC,
	TMO_FRAGMENT, TMO_COUNT
};
extern const char *const timeout_names[TMO_COUNT];     /* "tcp_syn_sent", ... */
extern const uint32_t timeout_defaults[TMO_COUNT];     /* seconds; those of nf_conntrack */

struct attach {
	bool given; /* false: no "attach" in the policy, so the cgroup v2 root */
	char **interfaces;
	size_t n_interfaces;
	bool host;
	enum fw_xdp_mode xdp;
	char *cgroup; /* or NULL */
};

struct policy {
	struct arena *arena; /* owns every string and array below */
	enum fw_action default_action[DIR_COUNT]; /* ACTION_ALLOW or ACTION_DENY */
	bool stateful, filter_loopback, tcp_strict;
	bool malformed_default;	       /* on_malformed: default; false: deny */
	bool log_default_deny, log_default_allow;
	enum fw_on_full on_full;
	uint32_t max_flows;
	uint32_t log_rate, log_burst; /* events per second and rule; rate 0: no limit */
	uint32_t timeouts[TMO_COUNT];
	char *generated_at, *description; /* or NULL */
	struct attach attach;
	struct fw_set *sets;
	size_t n_sets;
	struct rule *rules; /* sorted: priority, then input order (includes first) */
	size_t n_rules;
};

#define POLICY_MAX_FLOWS_DEFAULT 65536
#define POLICY_LOG_RATE_DEFAULT 100
#define POLICY_LOG_BURST_DEFAULT 1000

/* What stands before the policy: a YAML file on its way through fwc, or the IR on its way into fwload. */
enum policy_language { LANG_YAML, LANG_IR };

struct set_input;
struct policy_input {
	enum policy_language lang;
	const char *file;	 /* name of the input; includes and set files are relative to its directory */
	const struct node *root; /* the tree of it */
	/* Sets that were read ahead of the tree (LANG_IR; policy_set.h), in input order; "sets" may then be
	 * missing in the tree. They and their members live in the arena. */
	const struct set_input *sets;
	size_t n_sets;
	/* LANG_YAML: more files, read as if the last entries of ${root}'s "include" but relative to the
	 * working directory. */
	const char *const *more;
	size_t n_more;
	/* LANG_YAML: how to read one of them; opens ${path}, NULL after reporting. ${named} is the place that
	 * names the file, or NULL. (A pointer, so that only fwc links the YAML parser.) */
	struct node *(*load)(struct arena *a, struct diag *d, const char *path, const struct where *named);
};

/* policy_read(d, a, in): the policy of the tree ${in->root}. Reports everything wrong with it to ${d} and
 * returns NULL if anything was an error (then ${a} is still the caller's). Follows "include" and set files
 * (LANG_YAML only; the IR has neither). A YAML tree that carries "ir_version" is an IR written as YAML: then
 * rules may carry "source" and compile(IR) is a fixed point. On success the policy takes over ${a}, and
 * policy_check() is the caller's to call; on failure what could be read was given to policy_check(), so that one
 * run tells all. */
struct policy *policy_read(struct diag *d, struct arena *a, const struct policy_input *in);

/* policy_check(d, p): what only the whole can tell: duplicate priorities, field and protocol that exclude
 * each other, a stateless default-deny policy without reply rules ... Both languages run it. */
void policy_check(struct diag *d, const struct policy *p);

/* policy_free(p): NULL is fine. */
void policy_free(struct policy *p);

const char *action_name(enum fw_action a);	   /* "deny", "allow", "reject", "rate_limit" */
const char *direction_name(unsigned int bits);	   /* "ingress", "egress", "both" */
const char *rate_by_name(enum fw_rate_by by);	   /* "source", "destination", "rule" */
const char *xdp_mode_name(enum fw_xdp_mode m);	   /* "auto", "native", "generic", "off" */
const char *on_full_name(enum fw_on_full f);	   /* "deny", "allow_stateless" */

#endif
