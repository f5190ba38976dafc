/* SPDX-License-Identifier: GPL-2.0-only */
/* An event with its names, and the ways to print it (fw-events(5)). The numbers are those of struct fw_event;
 * names come from the instance (event_names.h) or from recorded lines (event_parse.h). */
#ifndef FW_EVENT_H
#define FW_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/fw_abi.h"

/* A label: a name as it is, for filters, and as put_safe() writes it, for printers. Longer names are cut at
 * LABEL_MAX, so that a line has a longest length. */
#define LABEL_MAX 4096
struct label {
	char *raw;  /* NUL-terminated */
	char *safe; /* not NUL-terminated */
	uint32_t raw_len, safe_len;
};

/* label_make(n, s, len): copies of ${s}. 0, or -1 without memory. label_free(n) leaves it empty. */
int label_make(struct label *n, const char *s, size_t len);
void label_free(struct label *n);

struct event_rule {
	struct label name;
	char *json; /* ,"rule":"NAME","priority":N,"rule_source":"FILE:LINE" */
	uint32_t json_len;
	uint32_t source_len; /* of FILE:LINE in it, with which it ends; 0: no rule_source */
};

/* event_rule_make(r, name, len, priority, source, source_len): priority < 0 and source NULL are left out. */
int event_rule_make(struct event_rule *r, const char *name, size_t len, int priority, const char *source,
		    size_t source_len);
void event_rule_free(struct event_rule *r);

/* A recorded comm can be longer than the kernel's 16 bytes: each of them may have become U+FFFD. */
#define EVENT_COMM_MAX (3 * FW_COMM_LEN)

enum event_type { EVENT_VERDICT, EVENT_DISAGREEMENT, EVENT_META, EVENT_LOST, EVENT_SUPPRESSED, EVENT_TRIAL };

/* How a trial stands, or how a load was taken back. */
#define TRIAL_STATES(X)                                                                                      \
	X(STARTED, "started")		                                                                     \
	X(COMMITTED, "committed")	                                                                     \
	X(REVERTED, "reverted")	      /* its deadline came */                                                \
	X(ROLLED_BACK, "rolled_back") /* before that, or without a trial */
#define TRIAL_ENUM(id, name) TRIAL_##id,
enum trial_state { TRIAL_STATES(TRIAL_ENUM) TRIAL_STATE_COUNT };

struct event_trial {
	enum trial_state state;
	uint32_t generation;   /* on trial */
	uint32_t fallback;     /* generation that decides when it is given up; 0: nothing is filtered then */
	uint32_t seconds_left; /* TRIAL_STARTED; rounded up */
};

/* What a generation says about itself. */
struct event_meta {
	struct label version, instance; /* version of the fwmon that wrote the record */
	uint32_t generation, rules; /* generation 0: nothing is filtered, and the rest is 0, too */
	uint8_t digest[32];
	uint64_t loaded_at; /* CLOCK_REALTIME ns */
};

struct event {
	enum event_type type;
	uint64_t time;			    /* CLOCK_REALTIME, ns */
	const struct fw_event *e;	    /* EVENT_VERDICT, EVENT_DISAGREEMENT */
	const struct event_rule *rule;	    /* NULL: no rule, or not known */
	const struct event_rule *candidate; /* EVENT_DISAGREEMENT: of the other policy; NULL: no rule, or not known */
	const struct label *iface, *cgroup; /* NULL: not known */
	const char *comm;  /* with ${e} and FW_EV_TASK: comm_len bytes, as the kernel has them */
	uint32_t comm_len; /* at most EVENT_COMM_MAX */
	const struct event_meta *meta; /* EVENT_META */
	struct event_trial trial;      /* EVENT_TRIAL */
	/* EVENT_LOST, EVENT_SUPPRESSED: how many events of this rule since the last such record. If no rule decided, why:
	 * reason is other than FW_REASON_RULE, and direction is known. */
	uint64_t count;
	uint8_t reason, direction;
};

/* The longest line of any printer: up to six names and texts of LABEL_MAX bytes, each six times as long when
 * escaped. */
#define EVENT_ROOM_MAX (2048 + 6 * 6 * LABEL_MAX)

/* A printer writes one line with its newline at ${p} and returns the end. Pure: no I/O, no clock. */
typedef char *event_print(char *p, const struct event *ev, bool colour);
struct event_printer {
	const char *name; /* of -o */
	event_print *print;
};
extern const struct event_printer event_printers[]; /* ends with a NULL name; the first is the default */
event_print event_json, event_text;

/* Words of the lists in fw_abi.h; NULL for a number that has none. */
const char *event_verdict_name(unsigned int v);
const char *event_reason_name(unsigned int r);
const char *event_hook_name(unsigned int h);
const char *event_direction_name(unsigned int d);
const char *event_trial_name(unsigned int s);

/* event_judged(ev): it is about a packet or a call. */
static inline bool event_judged(const struct event *ev)
{
	return ev->type == EVENT_VERDICT || ev->type == EVENT_DISAGREEMENT;
}

/* event_word(of, word): the number of a word, or -1. ${of} is one of the functions above. */
int event_word(const char *(*of)(unsigned int), const char *word);

/* event_proto_put(p, proto): "tcp", "icmpv6" ... or the number; at most 7 bytes, no NUL; returns the end. */
char *event_proto_put(char *p, uint8_t proto);
/* event_proto_parse(s): the number of such a text, or -1. */
int event_proto_parse(const char *s);

/* event_flags_put(p, flags): "SYN,ACK"; at most 31 bytes, no NUL. event_flags_parse: the reverse, or -1. */
char *event_flags_put(char *p, uint8_t flags);
int event_flags_parse(const char *s, size_t len);

#endif
