/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs and maps of an instance, for its writer (who holds the lock). The steps in the order of a load:
 * kern_open, kern_programs if they are needed, kern_stage, links (kern_link.h), kern_switch, kern_settle; or
 * kern_undo at any point before the switch. */
#ifndef FW_KERN_LOAD_H
#define FW_KERN_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "attach.h"
#include "bpf/tables_abi.h"
#include "flow_set.h"
#include "kern_inst.h"
#include "meta.h"
#include "tables.h"

enum kern_prog {
	KP_XDP, KP_TC_INGRESS, KP_TC_EGRESS, KP_TC_INGRESS3, KP_TC_EGRESS3, KP_CG_INGRESS, KP_CG_EGRESS,
	KP_CONNECT4, KP_CONNECT6, KP_SENDMSG4, KP_SENDMSG6, KP_CLOCK, KP_COUNT
};

enum kern_map {
	KM_CONTROL, KM_ARENAS, KM_COUNTERS, KM_LOG_LIMITS, KM_RINGS, KM_READERS, KM_LIMITS, KM_FLOWS,
	KM_FLOW_HEAD, KM_STATE_STATS, KM_COUNT
};

struct fw; /* the skeleton */

struct kern {
	struct inst *in;
	struct fw *skel;	/* when programs were loaded by this process */
	int progs[KP_COUNT];	/* fds, -1: not there */
	int old_progs[KP_COUNT]; /* those in whose place these are: kept until the end, so that links_undo can go back */
	int maps[KM_COUNT];	/* fds */
	bool fresh_maps[KM_COUNT]; /* made by this process: to be pinned */
	int rings[FW_RINGS];	/* made by this process, or -1 */
	volatile __u64 *word;	/* the control word, mapped */
	size_t arena_bytes;	/* size class; 0: nothing is loaded */
	__u32 slot;		/* active; 0: none */
	struct fw_arena *active; /* header of the active arena (copied), or NULL */
	struct meta *meta;	/* of the active generation, or NULL */
	__u32 new_slot;
	int new_arena, new_meta, meta_fd, old_arenas;
	size_t stage_bytes; /* size class of the slots to be staged into */
	bool staged;
	struct fw_flow_head flow_head;	   /* of maps[KM_FLOWS] */
	struct fw_flow_head old_flow_head; /* and of the table that is given up for another size: */
	int old_flows;
};

void kern_init(struct kern *k, struct inst *in);

/* kern_open(k): what is pinned, if anything. 0 or an exit status after complaining: EXIT_JUDGED when what is
 * pinned is another version's. */
int kern_open(struct kern *k);

/* kern_need(t, need): which programs the targets need. */
void kern_need(const struct targets *t, bool need[KP_COUNT]);

/* kern_build(digest): identity of the BPF object in this binary (SHA-256). */
void kern_build(__u8 digest[32]);

struct kern_sizes {
	size_t arena_bytes; /* size class */
	__u32 counters;	    /* counter ids */
	__u32 max_flows;    /* of the policy */
};

/* kern_programs(k, need, sizes): load and verify the programs, reusing the pinned maps; active tables are copied
 * when the size class changes. Nothing is pinned yet. */
int kern_programs(struct kern *k, const bool need[KP_COUNT], const struct kern_sizes *sizes);

/* kern_flows_move(k): what is in the flow table given up for another size goes into the new one. To be called before the
 * programs change over, and afterwards for what came in between. 0 or an exit status after complaining; ${*left} is
 * raised by the number of flows for which there was no room. */
int kern_flows_move(struct kern *k, size_t *left);

/* kern_flows_map(k, set): the flow table, mapped for writing, with the clock of this moment; flow_set_close() unmaps it.
 * 0 or an exit status after complaining. */
int kern_flows_map(const struct kern *k, struct flow_set *set);

/* kern_stage(k, image): the new tables into a free slot of ${k->stage_bytes}. */
int kern_stage(struct kern *k, const struct image *im);

/* kern_stage_meta(k, meta, len): the meta blob into a map of its own. */
int kern_stage_meta(struct kern *k, const void *meta, size_t len);

/* kern_pin(k): pin programs, fresh maps and the meta blob. Readers look for a generation's names when they meet its
 * first event, so the names must be there before the switch. */
int kern_pin(struct kern *k);

/* kern_switch(k): from now on the new generation decides, on every hook. Can't fail. */
void kern_switch(struct kern *k);

/* kern_stop(k): from now on nothing decides and everything passes. */
void kern_stop(struct kern *k);

/* kern_settle(k): slots that nothing refers to any more are given back. */
void kern_settle(struct kern *k);

/* kern_undo(k): before the switch: remove what was staged. Pins of programs and maps that were made anew stay:
 * they do no harm and the next load uses or replaces them. */
void kern_undo(struct kern *k);

void kern_close(struct kern *k);

struct meta *kern_meta_previous(struct kern *k); /* of the generation before the active one, or NULL */
__u32 kern_counters(const struct kern *k);	 /* counter ids there is room for */
void kern_zero_counter(const struct kern *k, __u32 id);
__u32 kern_prog_id(int fd);			 /* 0 for -1 */
size_t kern_state_memory(const struct kern *k);	 /* bytes of the maps that outlive generations */

/* For kern_*.c: the control word's mapping; a map's id and pin; the meta blob; the skeleton. */
const char *kern_map_name(enum kern_map m);
int kern_open_meta(struct kern *k);
int kern_flows_open(struct kern *k);		 /* flow_head of the pinned table */
bool kern_flows_resize(struct kern *k, __u32 max_flows); /* whether another table is needed; its flow_head */
int kern_flows_head(struct kern *k);		 /* flow_head into its map */
int kern_map_word(struct kern *k);
void kern_listen(void); /* keep libbpf's messages off stderr, its last complaint for ours */
__u32 kern_map_id(int fd);
void kern_skeleton_free(struct kern *k);

/* kern_program_name(p): its pin below progs/. */
const char *kern_program_name(enum kern_prog p);

/* kern_program_for(t): the program of a target. */
enum kern_prog kern_program_for(const struct target *t);

#endif
