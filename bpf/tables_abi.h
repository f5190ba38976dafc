/* SPDX-License-Identifier: GPL-2.0-only */
/* The lowered policy: one contiguous image ("arena") per generation. lib/tables_* write it, classify.h reads
 * it, in the kernel and in user space alike. All offsets are in bytes from the start of the arena, 8-byte
 * aligned, below FW_ARENA_MAX. Integers in host byte order.
 *
 * Every field that rules can match is a dimension. A look-up in a dimension gives a class: the set of rules
 * that match in it, as a record of bits. ANDing the records of all dimensions leaves the matching rules; the
 * lowest bit is the first in priority order ("aggregated bit vector", Baboescu and Varghese, SIGCOMM 2001). */
#ifndef FW_TABLES_ABI_H
#define FW_TABLES_ABI_H

#include "fw_abi.h"

#define FW_ARENA_MAGIC 0x52414657 /* "WFAR" */
#define FW_ARENA_MIN (1u << 20)
#define FW_ARENA_MAX (1u << 29) /* the verifier bounds variable offsets by BPF_MAX_VAR_OFF */

/* ---- interval trie: a key below 2^63 to a u32 value ----
 * An entry is a u64:
 *   leaf      tag 0: bits 32-63 the value
 *   interval  tag 1: bits 3-31 offset of struct fw_interval, 64-byte aligned
 *   index     tag 2: bits 3-31 offset of 2^bits entries, bits 32-37 shift, bits 40-44 bits;
 *             the next entry is number (key >> shift) & (2^bits - 1)
 *   next      tag 3: bits 3-31 offset of two entries: an IPv6 address goes on with its low 64 bits */
#define FW_TRIE_LEAF 0
#define FW_TRIE_INTERVAL 1
#define FW_TRIE_INDEX 2
#define FW_TRIE_NEXT 3
#define FW_TRIE_DEPTH 12 /* nodes on a path, at most */
#define FW_LEAF(value) ((__u64)(value) << 32)
#define FW_LEAF_VALUE(e) ((__u32)((e) >> 32))

struct fw_interval {
	__u64 bound[3]; /* ascending; unused ones are 2^63 - 1 and more */
	__u64 next[4];	/* next[number of bounds <= key] */
	__u64 pad;
};

/* ---- class record: fw_dir.n_super of these ---- */
/* Bit b of ${summary} says that among the 64 << shift rules from rule (super * 64 + b) * (64 << shift) on at least
 * one is in the class. The lines, 64 bytes for 512 rules, have their offsets in an array of u32: at ${lines}, or
 * right behind the record where n_super is 1. If the summary has only one bit then, as with most classes of large
 * policies, ${single} is 1 and what stands behind the record are the 1 << shift words themselves: a look-up
 * finds all of such a class in one cache line. Equal lines, arrays and records are stored once. */
struct fw_super {
	__u64 summary;
	__u32 lines;
	__u32 single;
};
#define FW_SUPER_MAX 8
#define FW_SHIFT_MAX 3

/* ---- service dimension: per protocol, source port (or ICMP type) x destination port ---- */
#define FW_SVC_COUNT 512      /* [0..255] protocols of IPv4, [256..511] of IPv6 */
#define FW_ICMP_FAVOURED 256  /* key of a neighbour discovery or MLD packet: its type + this */
struct fw_svc {
	__u64 a, b;	     /* tries: source port or ICMP type; destination port; value: row, column */
	__u32 table;	     /* u32 record offsets, [row * n_b + column] */
	__u32 n_b;
	__u32 a_may, a_must; /* rows: type or port unknown; a_must also for "the packet has none" */
	__u32 b_none;	     /* column: the packet has no destination port */
	__u32 pad;
};

/* ---- rules ---- */
/* What every packet of a rule needs, apart from what only rate limits need: eight rules to a cache line. */
struct fw_rule_rec {
	__u32 id;    /* counter id */
	__u8 action; /* enum fw_action of policy.h */
	__u8 flags;  /* FW_RULE_* */
	__u16 pad;
};
struct fw_rate {
	__u64 interval;	 /* GCRA: ns between two packets at the rate */
	__u64 tolerance; /* GCRA: ns a packet may come early: (burst - 1) * interval */
	__u32 by;	 /* enum fw_rate_by */
	__u8 flags;	 /* FW_RULE_* of its rule */
	__u8 pad[11];
};
#define FW_RULE_LOG 1
#define FW_NO_RULE ~0u

/* ---- one direction ---- */
#define FW_CGROUP_LEVELS 16
struct fw_dir {
	__u64 src4, dst4;	/* trie entries; key: IPv4 address */
	__u64 src6[2], dst6[2]; /* by the top bit; key: bits 64-126 of the address, then bits 0-62 */
	__u32 src_may[2], src_must[2]; /* records for an unknown source: [0] IPv4, [1] IPv6 */
	__u32 svc;		/* u32[FW_SVC_COUNT] offsets of struct fw_svc */
	__u32 rules;		/* struct fw_rule_rec[] in priority order */
	__u32 n_rules;
	__u32 n_super, shift;
	/* context: interface x user x cgroup; u32 record offsets,
	 * [(interface * n_user + user) * n_cgroup + cgroup]; 0: no rule asks for any of them */
	__u32 ctx;
	__u32 n_user, n_cgroup;
	__u32 iface_may, iface_must; /* rows for an unknown interface */
	__u32 user_may, user_must, cgroup_may, cgroup_must;
	__u64 user;	   /* trie; key: uid */
	__u64 cgroup;	   /* trie; key: cgroup id; value: column + 1, or 0: look further up the tree */
	__u32 cgroup_levels; /* below FW_CGROUP_LEVELS; bit l: the policy names a cgroup at level l of the hierarchy */
	__u8 default_action; /* ACTION_ALLOW or ACTION_DENY */
	__u8 default_flows;  /* what the default allows makes flows: replies could be denied otherwise */
	__u8 pad[2];
};

/* ---- header, at offset 0 ---- */
#define FW_ARENA_STATEFUL 1
#define FW_ARENA_LOOPBACK 2	     /* filter_loopback */
#define FW_ARENA_MALFORMED_DEFAULT 4 /* on_malformed: default */
#define FW_ARENA_LOG_DENY 8	     /* log_default */
#define FW_ARENA_LOG_ALLOW 16
#define FW_ARENA_IFACES 32 /* rules or ownership depend on the interface */
#define FW_ARENA_CGROUP 64 /* cgroup hooks are attached, below fw_arena.cgroup */
#define FW_ARENA_TCP_STRICT 128 /* tcp_strict */
#define FW_ARENA_FULL_ALLOW 256 /* on_full: allow_stateless */
#define FW_ARENA_PARTIAL 512 /* hooks of another generation are attached, too: whether one is ours must be looked up */

/* Value of the interface trie: bits 0-15 row of fw_dir.ctx, above: */
#define FW_IFACE_ROW(v) ((v) & 0xffff)
#define FW_IFACE_INGRESS_OWNED (1u << 16) /* XDP or TC judged the packet before cgroup ingress sees it */
#define FW_IFACE_HOOK(hook) (1u << (17 + (hook))) /* XDP, TC ingress, TC egress: the policy is attached there */

struct fw_arena {
	__u32 magic, abi;
	__u32 size; /* bytes in use */
	__u32 generation;
	__u32 flags;
	__u32 netns;	    /* inode of the network namespace whose interfaces are meant */
	__u64 iface;	    /* trie; key: ifindex */
	__u64 cgroup;	    /* id of the cgroup the hooks are attached to */
	__u32 cgroup_level; /* its depth */
	__u32 tmo[FW_FLOW_STATE_ROOM]; /* enum fw_flow_state to the longest idle time, in jiffies */
	__u32 jiffies_per_s;
	__u32 zero, zero2; /* always 0, which the verifier doesn't know; read together, too */
	__u32 by_id, n_ids; /* u32[n_ids]: counter id to offset of its struct fw_rate, or 0 */
	__u64 log_interval, log_tolerance; /* ns, as fw_rule_rec's; interval 0: no limit */
	struct fw_dir dir[2];
	__u8 digest[32];
	/* On trial: a TCP handshake that has come from these addresses and was completed commits it. */
	union {
		__u8 confirm_net[FW_ADDR_LEN];
		__u64 confirm_net64[2];
	};
	__u64 confirm_mask[2]; /* in network byte order, too */
	__u32 confirm_bits;    /* of the prefix (IPv4: + 96), plus 1; 0: none does */
	__u32 pad;
};

FW_ASSERT_SIZE(struct fw_interval, 64);
FW_ASSERT_SIZE(struct fw_super, 16);
FW_ASSERT_SIZE(struct fw_svc, 40);
FW_ASSERT_SIZE(struct fw_rule_rec, 8);
FW_ASSERT_SIZE(struct fw_rate, 32);
FW_ASSERT_SIZE(struct fw_dir, 144);
FW_ASSERT_SIZE(struct fw_arena, 80 + 4 * FW_FLOW_STATE_ROOM + 2 * 144 + 32 + 40);

#endif
