/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the policy_* files: the state of one policy_read() and the readers of single values. */
#ifndef FW_POLICY_READER_H
#define FW_POLICY_READER_H

#include "names.h"
#include "policy.h"
#include "policy_set.h"

struct reader {
	struct diag *d;
	struct arena *a;
	const struct policy_input *in;
	struct policy *p;
	bool ir;	   /* the IR's keys: LANG_IR, or an IR written as YAML */
	bool typed;	   /* LANG_IR: JSON types are exact */
	const char *rule;  /* name of the rule that is being read, for messages */
	uint32_t failed;   /* its keys (bit per enum rule_key) whose value was wrong */
	struct names sets; /* name -> index */
	struct names rules;
	size_t sets_room, rules_room;
	const struct node **files; /* roots, in the order in which they count: included before including */
	size_t n_files, files_room;
};

#define reader_error(r, where, ...) diag_error((r)->d, where, (r)->rule, __VA_ARGS__)

/* Where a key may stand. */
enum { IN_YAML = 1, IN_IR = 2, IN_INCLUDED = 4 };

/* A key of a mapping and who reads its value into ${into}. */
struct key {
	const char *name;
	unsigned int where; /* IN_* */
	void (*read)(struct reader *r, void *into, const struct member *m);
};

/* read_keys(r, map, what, keys, n, in, into, places): give each member of ${map} to its reader. Reports what
 * is not a mapping and keys that are unknown or do not stand in ${in} (IN_*). ${what} names the mapping in
 * messages. places[i], if given, becomes the place of keys[i], and bit i of r->failed is set where the value
 * was wrong. */
void read_keys(struct reader *r, const struct node *map, const char *what, const struct key *keys, size_t n,
	       unsigned int in, void *into, struct where *places);

/* Values. All report what is wrong; those that return bool, false then, and NULL or -1 the others. */
bool read_bool(struct reader *r, const struct member *m, bool *v);
bool read_uint(struct reader *r, const struct member *m, uint64_t min, uint64_t max, uint64_t *v);
const char *read_text(struct reader *r, const struct member *m);
int read_choice(struct reader *r, const struct member *m, const char *const *names, size_t n);
const struct node *read_list(struct reader *r, const struct member *m); /* never empty */
/* The text of one entry of the list ${key}: text or number. */
const char *read_entry(struct reader *r, const char *key, const struct node *n);
bool is_identifier(const char *s);
bool same_place(const struct where *a, const struct where *b); /* with line and column */

/* Parts of the policy. ${into} is a struct policy, or a struct rule for rule_*. */
void read_sets(struct reader *r, const struct node *map);
void read_rules(struct reader *r, void *into, const struct member *m);
void read_attach(struct reader *r, void *into, const struct member *m);
void read_timeouts(struct reader *r, void *into, const struct member *m);
void read_log_default(struct reader *r, void *into, const struct member *m);
void read_log_limit(struct reader *r, void *into, const struct member *m);
void read_file(struct reader *r,
	       const struct node *root); /* policy_read_top.c: all keys but sets and include */
void rule_addrs(struct reader *r, void *into, const struct member *m, struct addr_item **items, size_t *n);
void rule_ports(struct reader *r, const struct member *m, struct port_range **ranges, size_t *n);
void rule_protocol(struct reader *r, void *into, const struct member *m);
void rule_icmp_types(struct reader *r, void *into, const struct member *m);
void rule_interfaces(struct reader *r, void *into, const struct member *m);
void rule_cgroups(struct reader *r, void *into, const struct member *m);
void rule_users(struct reader *r, void *into, const struct member *m);

/* interface_wrong(s), cgroup_text(a, s, wrong): of rules and of attach alike. */
const char *interface_wrong(const char *s);
char *cgroup_text(struct arena *a, const char *s, const char **wrong);

/* collect_files(r): fill r->files from the input, its includes and in->more. */
void collect_files(struct reader *r);
char *path_beside(struct arena *a, const char *file, const char *path);

/* rule_check(d, p, rule, failed): what the keys of one rule say about each other. Those in ${failed} have no
 * value and are left out, so that one mistake gives one message. */
void rule_check(struct diag *d, const struct policy *p, const struct rule *rule, uint32_t failed);

#endif
