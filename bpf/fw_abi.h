/* SPDX-License-Identifier: GPL-2.0-only */
/* The contract between the BPF programs and user space: fixed-width, no implicit padding, sizes asserted.
 * Everything a reader finds in pinned maps and in the event rings is described here. Any change of layout
 * or meaning raises FW_ABI. Integers are in host byte order; addresses are 16 bytes in network byte order,
 * IPv4 as ::ffff:a.b.c.d. (The classifier tables inside an arena: tables_abi.h.) */
#ifndef FW_ABI_H
#define FW_ABI_H

#include <linux/types.h>

#define FW_ABI 3
#define FW_ADDR_LEN 16
#define FW_COMM_LEN 16

/* ---- verdicts, reasons, hooks: one list each; the names are those of events and metrics ---- */
#define FW_VERDICTS(X) X(ALLOW, "allow") X(DENY, "deny") X(RATE_LIMITED, "rate_limited")
#define FW_REASONS(X)                                                                                      \
	X(RULE, "rule")	      /* a rule matched */                                                         \
	X(DEFAULT, "default") /* no rule matched */                                                        \
	X(FLOW, "flow")	      /* belongs to a flow that a rule allowed */                                   \
	X(MALFORMED, "malformed")                                                                          \
	X(FRAGMENT, "fragment") /* a later fragment whose first did not pass, or one that overlaps */      \
	X(NEIGHBOUR, "neighbour") /* IPv6 neighbour discovery or MLD, passed whatever the default is */    \
	X(NO_MEMORY, "no_memory") /* rate limit without memory for a new key */                            \
	X(INVALID, "invalid")	  /* tcp_strict: TCP without a flow that is no SYN */                      \
	X(FLOWS_FULL, "flows_full") /* allowed, but there is no room for its flow: on_full */              \
	X(FLOW_CUT, "flow_cut")	  /* its flow is not allowed any more since a reload */
#define FW_HOOKS(X)                                                                                        \
	X(XDP, "xdp", INGRESS)                                                                             \
	X(TC_INGRESS, "tc_ingress", INGRESS)                                                               \
	X(TC_EGRESS, "tc_egress", EGRESS)                                                                  \
	X(CGROUP_INGRESS, "cgroup_ingress", INGRESS)                                                       \
	X(CGROUP_EGRESS, "cgroup_egress", EGRESS)                                                          \
	X(CONNECT4, "connect4", EGRESS)                                                                    \
	X(CONNECT6, "connect6", EGRESS)                                                                    \
	X(SENDMSG4, "sendmsg4", EGRESS)                                                                    \
	X(SENDMSG6, "sendmsg6", EGRESS)

#define FW_ENUM_VERDICT(id, name) FW_VERDICT_##id,
#define FW_ENUM_REASON(id, name) FW_REASON_##id,
#define FW_ENUM_HOOK(id, name, dir) FW_HOOK_##id,
enum fw_verdict { FW_VERDICTS(FW_ENUM_VERDICT) FW_VERDICT_COUNT };
enum fw_reason { FW_REASONS(FW_ENUM_REASON) FW_REASON_COUNT };
enum fw_hook { FW_HOOKS(FW_ENUM_HOOK) FW_HOOK_COUNT };
enum { FW_INGRESS, FW_EGRESS };

/* ---- counters: per-CPU array "counters", indexed by counter id ---- */

/* Ids below FW_RULE_ID_FIRST count what no rule decided: id = reason * 2 + direction. A rule's id follows its
 * name across reloads and is not reused while a resident generation names it. */
#define FW_RULE_ID_FIRST 64
#define FW_REASON_ID(reason, direction) ((reason) * 2 + (direction))

/* A judged packet adds to exactly one of the first four and one of the two byte counts. */
struct fw_counter {
	__u64 allowed; /* packets allowed by the rule itself (first packets, or all without state) */
	__u64 denied;
	__u64 limited; /* verdict rate_limited */
	__u64 flow;    /* packets allowed because they belong to a flow of the rule */
	__u64 bytes_passed, bytes_dropped; /* IP bytes */
	__u64 calls; /* connect() and sendmsg() calls denied: never counted as packets */
	__u64 lost;  /* events of this id that did not fit into a ring, summed over rings */
};

/* ---- event rings ---- */

/* Pinned as maps/ringN/events (bpffs allows no dots in names), N < FW_RINGS, each with at most one reader: it
 * holds flock(LOCK_EX) on the directory maps/ringN, sees to it that no program still writes there (bit N in
 * fw_readers.claimed clear, and an RCU grace period after that), empties the ring, zeroes its counts in log_limits, and sets
 * the bit; programs look at it once per event and write only to claimed rings. */
#define FW_RINGS 4
#define FW_RING_BYTES (1u << 20) /* each; a reader maps it, and is to stay below 4 MB */
#define FW_RING_DIR "ring%d" /* below maps/ */

/* Single element of the mmapable array "readers". */
struct fw_readers {
	__u64 claimed;	      /* bit per ring */
	__u64 lost[FW_RINGS]; /* events that did not fit, since the ring was made */
	__u64 sent[FW_RINGS]; /* events submitted to the ring; every FW_WAKE_EVERYth wakes the reader */
};
#define FW_WAKE_EVERY 256

/* Which fields of an event are known; the others are 0. */
#define FW_EV_SADDR (1u << 0)	/* source address */
#define FW_EV_SPORT (1u << 1)
#define FW_EV_DPORT (1u << 2)
#define FW_EV_ICMP (1u << 3)	/* icmp_type, icmp_code */
#define FW_EV_TCP (1u << 4)	/* tcp_flags */
#define FW_EV_VLAN (1u << 5)	/* vlan: the outer tag's VID */
#define FW_EV_TASK (1u << 6)	/* pid, comm: the calling task */
#define FW_EV_UID (1u << 7)	/* uid: the owner of the socket, in the initial user namespace */
#define FW_EV_CGROUP (1u << 8)	/* cgroup_id: the cgroup v2 of the socket */
#define FW_EV_IFACE (1u << 9)	/* ifindex */
#define FW_EV_LENGTH (1u << 10) /* length */
#define FW_EV_ADDRS (1u << 11)	/* ip_version, dst, proto: absent only for what can't be parsed */

struct fw_event {
	__u64 time; /* CLOCK_BOOTTIME, ns */
	__u8 src[FW_ADDR_LEN], dst[FW_ADDR_LEN];
	__u64 cgroup_id;
	__u64 flow_id;	  /* 0: no flow; the same for both directions of a flow */
	__u32 rule;	  /* counter id; below FW_RULE_ID_FIRST: no rule */
	__u32 generation; /* that decided */
	__u32 ifindex;
	__u32 length;	  /* IP bytes */
	__u32 pid, uid;
	__u32 suppressed; /* events of this rule left out since its last one (log_limit) */
	__u16 known;	  /* FW_EV_* */
	__u16 sport, dport;
	__u16 vlan;
	__u8 hook, direction, verdict, reason;
	__u8 proto, ip_version; /* ip_version: 4 or 6 */
	__u8 icmp_type, icmp_code;
	__u8 tcp_flags;
	__u8 type;	    /* FW_EVENT_* */
	__u8 other_verdict; /* FW_EVENT_DISAGREEMENT: of the candidate */
	__u8 pad;
	__u8 comm[FW_COMM_LEN];
	__u32 other_rule;	/* FW_EVENT_DISAGREEMENT: counter id of what decides in the candidate */
	__u32 other_generation; /* and its generation */
};
#define FW_EVENT_VERDICT 0
#define FW_EVENT_DISAGREEMENT 1 /* the candidate of an audit would have decided otherwise */

/* Log limit: element of the mmapable array "log_limits", indexed by counter id; one cache line. Of every event of the
 * id that a program decides with bit N set, ring N either has the record, or it is counted in one of these. So for each
 * rule and reader records + their suppressed + suppressed[N] + lost[N] = decisions, exactly, as soon as the programs that
 * are under way have ended. A reader may take what is there by exchanging it for 0. */
struct fw_log_limit {
	__u64 arrival;		    /* GCRA: theoretical arrival time, CLOCK_BOOTTIME ns; the same for all readers */
	__u64 suppressed[FW_RINGS]; /* events left out by the limit, since the last record in the ring */
	__u32 lost[FW_RINGS];	    /* events that did not fit into the ring; counted here before in fw_readers.lost */
	__u64 pad;
};

/* ---- the control word ---- */

/* Single element of the mmapable array "control". The word is one aligned u64, read once per packet:
 * bits 0-3    the active slot (0: no policy, everything passes)
 * bit  4      a trial is on: from the deadline on the fallback slot decides
 * bits 8-11   the generation before the active one: what --rollback and the end of a trial return to (0: none; at the end
 *             of a trial: no filtering)
 * bits 12-15  the candidate of an audit (0: none)
 * bits 16-63  the deadline, in ms of CLOCK_BOOTTIME (0 without a trial)
 * It is written by compare-and-swap only: by the one who holds flock(LOCK_EX) on the instance's directory, and by the
 * programs, who may commit a trial (fw_arena.confirm_bits). A slot that the word doesn't name is free; it is emptied by
 * a system call (and with that an RCU grace period) before it is used again. */
struct fw_control {
	__u64 word;
	__u64 reverted_at; /* ms of CLOCK_BOOTTIME: when the last change of policy was taken back, by the end of its trial or
			    * by --rollback; 0: it was not */
	__u32 reverted;	   /* the generation that was given up */
	__u32 last_generation; /* the highest number given out: none is used twice */
	__u32 abi;	   /* FW_ABI */
	__u32 pad;
};
#define FW_SLOTS 5 /* 1..4 are used: active, fallback, candidate, and the next */
#define FW_WORD_ACTIVE(w) ((__u32)(w) & 15)
#define FW_WORD_TRIAL (1u << 4)
#define FW_WORD_FALLBACK(w) ((__u32)(w) >> 8 & 15)
#define FW_WORD_CANDIDATE(w) ((__u32)(w) >> 12 & 15)
#define FW_WORD_DEADLINE(w) ((w) >> 16)
#define FW_WORD(active, fallback, candidate) ((__u64)(active) | (__u64)(fallback) << 8 | (__u64)(candidate) << 12)
#define FW_WORD_ON_TRIAL(word, deadline) ((word) | FW_WORD_TRIAL | (__u64)(deadline) << 16)
/* What a trial becomes: committed; over, at its deadline. */
#define FW_WORD_COMMITTED(w) ((w) & 0xffef)
#define FW_WORD_REVERTED(w) ((__u64)FW_WORD_FALLBACK(w))

/* ---- meta: arrays of one element of value_size bytes, pinned as maps/meta1 to maps/meta4: one for the generation in
 * each slot, there before the word names the slot ---- */

/* Offsets are from the start of the element. Strings are NUL-terminated UTF-8; offset 0 is no string. */
#define FW_META_MAGIC 0x6174656d5f7766ULL /* "fw_meta" */
struct fw_meta {
	__u64 magic;
	__u32 abi; /* FW_ABI */
	__u32 size;
	__u64 loaded_at; /* CLOCK_REALTIME, ns */
	__u32 generation;
	__u32 n_rules;
	__u8 digest[32]; /* SHA-256 over the judged parts of the IR and what its names resolved to */
	__u8 build[32];	 /* SHA-256 of the BPF object */
	__u8 policy[32]; /* SHA-256 over the judged parts of the IR without its "attach", and nothing else */
	__u8 attached[32]; /* SHA-256 over ${policy} and the "attach" that holds: its own, or the command line's */
	__u64 arena_bytes; /* of one slot */
	__u64 image_sum; /* of the tables (lib/image_sum.h); 0: not known */
	__u32 rules;	 /* struct fw_meta_rule[n_rules], in priority order */
	__u32 links;	 /* struct fw_meta_link[n_links] */
	__u32 n_links;
	__u32 ir, ir_len; /* the IR (ir_write(IR_SNAPSHOT)) */
	__u32 version;	 /* string: version of the fwload that loaded it */
	__u32 netns;	 /* inode of the network namespace whose interfaces the numbers mean */
	__u32 pad;
};

struct fw_meta_rule {
	__u32 id;   /* counter id */
	__u32 name; /* string */
	__u32 file, line; /* rule_source; file is a string or 0 */
	__u16 priority;
	__u8 action; /* enum fw_action of policy.h: deny, allow, reject, rate_limit */
	__u8 directions; /* bit 0 ingress, bit 1 egress */
	__u32 pad;
};

/* Where a hook was attached. */
struct fw_meta_link {
	__u64 target_id; /* cgroup id; 0 for interfaces */
	__u32 hook;	 /* enum fw_hook */
	__u32 ifindex;	 /* 0 for cgroups */
	__u32 target;	 /* string: interface name or cgroup path */
	__u32 pin;	 /* string: name below links/; 0 for a clsact filter */
	__u32 prog_id;
	__u16 mode;	 /* XDP: 1 native, 2 generic; TC: 3 tcx, 4 clsact; 0 otherwise */
	__u16 flags;	 /* FW_LINK_* */
	__u8 prog_tag[8];
};
#define FW_LINK_HEADER 1 /* packets there start with a link header */
#define FW_MODE_NATIVE 1
#define FW_MODE_GENERIC 2
#define FW_MODE_TCX 3
#define FW_MODE_CLSACT 4

/* ---- flows: array "flows" of struct fw_flow_bucket, pinned with its "flow_head" ---- */

/* A flow is in one of two buckets, found by hashing both ends of its tuple (flow_table.h), in any of the seven
 * ways. It never moves. Who finds no free way takes that of an expired flow, else that of the oldest which may be
 * evicted; those that may not are never touched, and when there are no others the table is full. Nothing
 * has to sweep: whether a flow has expired is judged by who meets it. */
#define FW_FLOW_WAYS 7

/* States, their names for people, the timeout (of lib/policy.h) after which an idle flow in it has expired, and
 * whether a new flow may take its place: what has not been answered, has ended, or was a single exchange. */
#define FW_FLOW_STATES(X)                                                                                     \
	X(FREE, "free", TMO_COUNT, 0)                                                                         \
	X(BUSY, "busy", TMO_COUNT, 0)			     /* being written */                              \
	X(SYN_SENT, "syn_sent", TMO_TCP_SYN_SENT, 1)	     /* SYN of the opener */                          \
	X(SYN_BOTH, "syn_both", TMO_TCP_SYN_SENT, 1)	     /* of both: simultaneous open */                 \
	X(SYN_RECV, "syn_recv", TMO_TCP_SYN_RECV, 1)	     /* SYN-ACK */                                    \
	X(PICKED_UP, "picked_up", TMO_TCP_SYN_SENT, 1)	     /* in the middle: one end has been heard */      \
	X(PICKED_UP_R, "picked_up", TMO_TCP_SYN_SENT, 1)     /* after a RST: the other end has been heard */     \
	X(ESTABLISHED, "established", TMO_TCP_ESTABLISHED, 0)                                                 \
	X(FIN_WAIT_O, "fin_wait", TMO_TCP_FIN_WAIT, 0)	     /* FIN of the opener */                          \
	X(FIN_WAIT_R, "fin_wait", TMO_TCP_FIN_WAIT, 0)	     /* FIN of the other end */                       \
	X(CLOSE_WAIT_O, "close_wait", TMO_TCP_CLOSE_WAIT, 0) /* and something came back after the opener's FIN */ \
	X(CLOSE_WAIT_R, "close_wait", TMO_TCP_CLOSE_WAIT, 0)                                                  \
	X(LAST_ACK_O, "last_ack", TMO_TCP_LAST_ACK, 0)	     /* FINs of both, the opener's last */            \
	X(LAST_ACK_R, "last_ack", TMO_TCP_LAST_ACK, 0)                                                        \
	X(TIME_WAIT, "time_wait", TMO_TCP_TIME_WAIT, 1)                                                       \
	X(CLOSE, "close", TMO_TCP_CLOSE, 1)		     /* RST */                                        \
	X(UDP_NEW, "udp_new", TMO_UDP, 1)                                                                     \
	X(UDP_REPLIED, "udp_replied", TMO_UDP, 0)                                                             \
	X(UDP_STREAM, "udp_stream", TMO_UDP_STREAM, 0)	     /* the opener went on after a reply */           \
	X(ICMP_NEW, "icmp_new", TMO_ICMP, 1)                                                                  \
	X(ICMP_REPLIED, "icmp_replied", TMO_ICMP, 1)	     /* the exchange is over; the next echo is judged */ \
	X(NEW, "new", TMO_GENERIC, 1)			     /* other protocols */                            \
	X(REPLIED, "replied", TMO_GENERIC, 0)                                                                 \
	X(FRAGMENT, "fragment", TMO_FRAGMENT, 1)	     /* a datagram in pieces, of which the first passed */   \
	X(CUT_TCP, "cut", TMO_TCP_ESTABLISHED, 1)	     /* no longer allowed since a reload: the other end */   \
	X(CUT, "cut", TMO_UDP, 1)			     /* must not open the flow again from behind */
#define FW_ENUM_FLOW(id, name, timeout, evictable) FW_FLOW_##id,
enum fw_flow_state { FW_FLOW_STATES(FW_ENUM_FLOW) FW_FLOW_STATE_COUNT };
#define FW_FLOW_IS_CUT(state) ((state) >= FW_FLOW_CUT_TCP) /* the last of the list */
#define FW_FLOW_STATE_ROOM 32 /* a power of two above FW_FLOW_STATE_COUNT */

/* The opener's view. */
struct fw_tuple {
	union {
		struct {
			__u8 src[FW_ADDR_LEN], dst[FW_ADDR_LEN];
			__u16 sport, dport; /* host byte order; ICMP echo: the opener's is the identifier as it stands;
					     * no ports: 0; fragments: the datagram's identification, low and high half */
			__u8 proto;
			__u8 hook;   /* fragments: enum fw_hook + 1, because several hooks see the same; flows: 0 */
			__u16 iface; /* fragments: low half of the ifindex; flows: 0 */
		};
		__u64 d[5]; /* to hash and compare it */
		__u32 w[10];
	};
};

/* The word of a way: everything that changes while a flow lives, so that one compare-and-swap guards it all. */
#define FW_FLOW_STATE(w) ((w) & 0xff)
#define FW_FLOW_LIMITED (1ULL << 8)  /* made under a rate_limit rule */
#define FW_FLOW_EGRESS (1ULL << 9)   /* direction of the first packet */
#define FW_FLOW_V6 (1ULL << 10)	     /* IP version of its header */
#define FW_FLOW_QUIET (1ULL << 11)   /* cut, by a rule that doesn't log */
#define FW_FLOW_SHAKEN (1ULL << 11)  /* not cut: its handshake has been completed under a trial that it may confirm */
#define FW_FLOW_AUDIT(n) ((__u64)(n) << 12) /* bits 12-14: the audit that has looked at it; 0: none */
#define FW_FLOW_LOCKED (1ULL << 15)  /* FRAGMENT: somebody is at the ranges */
#define FW_FLOW_VERSION(w) ((w) >> 16 & 0xff) /* goes up each time the way is taken */
#define FW_FLOW_SEEN(w) ((w) >> 24) /* jiffies, modulo 2^40, of a packet at most 1/8 s before the last */
#define FW_FLOW_SEEN_MASK ((1ULL << 40) - 1)
#define FW_FLOW_WORD(state, flags, version, seen)                                                             \
	((__u64)(state) | (flags) | (__u64)((version) & 0xff) << 16 | (__u64)(seen) << 24)

struct fw_flow {
	struct fw_tuple key;
	__u64 stamp; /* bits 32-63 the generation that last allowed it, 0-31 the counter id of the rule that did */
	union {
		struct {
			__u64 cgroup_id; /* of the opener's socket; 0: unknown */
			__u32 uid;	 /* ~0: unknown */
			__u32 ifindex;	 /* where the first packet was judged; 0: unknown */
		};
		/* Which of a datagram's units of 8 bytes have passed: [0, done), and out of order [late[i], late[i + 1]) */
		struct {
			__u16 done, total; /* total: known from the last fragment, else 0 */
			__u16 late[6];	   /* 0, 0: none */
		};
	};
};
#define FW_FLOW_GENERATION(stamp) ((__u32)((stamp) >> 32))
#define FW_FLOW_RULE(stamp) ((__u32)(stamp))
#define FW_FLOW_STAMP(generation, rule) ((__u64)(generation) << 32 | (rule))

/* Eight cache lines. In this order each index below eight stays within the bucket, which is all that verifiers have to
 * see. */
struct fw_flow_bucket {
	struct fw_flow flow[FW_FLOW_WAYS];
	__u64 word[FW_FLOW_WAYS];
	__u64 tags; /* byte i: 0x80 | 7 bits of the hash of the flow in way i; 0: none */
};

/* Single element of the mmapable array "flow_head". */
#define FW_FLOW_SEEDS 12
struct fw_flow_head {
	__u64 seed[FW_FLOW_SEEDS]; /* of the hash; random, so that nobody can aim at a bucket */
	__u32 n_buckets;
	__u32 max_flows; /* of the policy: the table has room for at least as many */
};

/* Contexts of programs for BPF_PROG_TEST_RUN. progs/clock fills in the clock of flows. */
struct fw_clock {
	__u64 jiffies;
};
/* progs/commit commits the trial in the control word ${word}: it looks at the deadline and writes the word with nothing in
 * between that could last. ${done}: 1, or 0 when the word was another, or it is too late. */
struct fw_commit {
	__u64 word;
	__u64 done;
};

/* "state_stats": per-CPU array of one element. What happened to flows and limits since their maps were made. */
struct fw_state_stats {
	__u64 flows_created;
	__u64 flows_expired; /* taken by a new flow after they had expired */
	__u64 flows_evicted; /* taken before */
	__u64 flows_full;    /* packets that found no room: on_full */
	__u64 flows_cut;     /* no longer allowed after a reload */
	__u64 fragments_created;
	__u64 limits_created; /* keys of rate limits */
	__u64 related;	      /* ICMP errors that passed because of a flow */
};

/* "audit_stats": per-CPU array of one element, zeroed when an audit begins. */
struct fw_audit_stats {
	__u64 judged;	 /* packets without a flow, and flows, by both */
	__u64 disagreed; /* of these */
};

/* ---- rate limits: LRU hash "limits" ---- */
struct fw_limit_key {
	__u8 addr[FW_ADDR_LEN]; /* IPv6 masked to /64; zero with rate_limit_by: rule */
	__u32 rule;		/* counter id */
	__u32 pad;
};
/* value: __u64 theoretical arrival time, CLOCK_BOOTTIME ns */

#ifdef __cplusplus
#define FW_ASSERT_SIZE(t, n) static_assert(sizeof(t) == (n), #t)
#else
#define FW_ASSERT_SIZE(t, n) _Static_assert(sizeof(t) == (n), #t)
#endif
FW_ASSERT_SIZE(struct fw_counter, 64);
FW_ASSERT_SIZE(struct fw_readers, 8 + 16 * FW_RINGS);
FW_ASSERT_SIZE(struct fw_event, 128);
FW_ASSERT_SIZE(struct fw_log_limit, 64);
FW_ASSERT_SIZE(struct fw_control, 32);
FW_ASSERT_SIZE(struct fw_meta, 208);
FW_ASSERT_SIZE(struct fw_meta_rule, 24);
FW_ASSERT_SIZE(struct fw_meta_link, 40);
FW_ASSERT_SIZE(struct fw_tuple, 40);
FW_ASSERT_SIZE(struct fw_flow, 64);
FW_ASSERT_SIZE(struct fw_flow_bucket, 512);
FW_ASSERT_SIZE(struct fw_flow_head, 8 * FW_FLOW_SEEDS + 8);
FW_ASSERT_SIZE(struct fw_state_stats, 64);
FW_ASSERT_SIZE(struct fw_limit_key, 24);

#endif
