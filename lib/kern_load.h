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
	KP_CONNECT4, KP_CONNECT6, KP_SENDMSG4, KP_SENDMSG6, KP_CLOCK, KP_COMMIT, KP_COUNT
};

enum kern_map {
	KM_CONTROL, KM_ARENAS, KM_COUNTERS, KM_LOG_LIMITS, KM_RINGS, KM_READERS, KM_LIMITS, KM_FLOWS,
	KM_FLOW_HEAD, KM_STATE_STATS, KM_AUDIT_STATS, KM_COUNT
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
	struct fw_control *control; /* mapped, or NULL */
	__u64 word;		/* the control word when it was last looked at */
	bool trial_over;	/* its trial has ended by the deadline, and that is not recorded yet */
	unsigned int trial_ms;	/* until it ends; 0: no trial is on */
	size_t arena_bytes;	/* size class; 0: nothing is loaded */
	__u32 slot;		/* that decides; 0: none */
	struct fw_arena *active; /* header of the active arena (copied), or NULL */
	struct meta *metas[FW_SLOTS]; /* of the generations in the slots that the word names, or NULL */
	const struct meta *meta;      /* of the active generation, or NULL */
	__u32 new_slot, new_generation;
	int new_arena, new_meta, old_arenas;
	int copies[FW_SLOTS]; /* images of resident generations in new maps of another size class, or -1 */
	bool partial;	    /* this process has marked the active tables so */
	size_t stage_bytes; /* size class of the slots to be staged into */
	bool staged;
	struct fw_flow_head flow_head;	   /* of maps[KM_FLOWS] */
	struct fw_flow_head old_flow_head; /* and of the table that is given up for another size: */
	int old_flows;
};

void kern_init(struct kern *k, struct inst *in);

/* kern_open(k): what is pinned, if anything. 0 or an exit status after complaining: EXIT_JUDGED when what is
 * pinned is another version's. Changes nothing. */
int kern_open(struct kern *k);

/* kern_forget(k): the pinned maps are not used any more: what comes is made anew. */
void kern_forget(struct kern *k);

/* kern_repair(k): finish or take back what a load was pinning when it was killed. With the lock, before kern_open(). */
void kern_repair(struct kern *k);

/* kern_need(t, need): mark the programs that the targets need. */
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

/* kern_metas_follow(k): programs were loaded anew, and links updated to them: what is written down of the resident
 * generations says so, too. 0 or an exit status after complaining. */
int kern_metas_follow(struct kern *k);

/* kern_switch(k, trial_ms, same): from now on the new generation decides, on every hook; with ${trial_ms} for that long
 * only, unless the trial is committed. The one before is kept as what to return to; if it is of the ${same} policy, then
 * what was kept before it, and an audit goes on. Can't fail. */
void kern_switch(struct kern *k, unsigned int trial_ms, bool same);

/* kern_audit(k, slot): the tables in ${slot} are the candidate of an audit; 0 ends it. */
void kern_audit(struct kern *k, __u32 slot);

/* kern_stop(k): from now on nothing decides and everything passes. */
void kern_stop(struct kern *k);

/* kern_settle(k): slots that the word doesn't name are given back, with what they are called. */
void kern_settle(struct kern *k);

/* kern_trial_record(k): if a trial has ended by its deadline, the word says so now, too, and k->control who was given
 * up and when. To be called, with the lock, by everyone who is going to change anything. */
void kern_trial_record(struct kern *k);

/* kern_trial_commit(k, late): the generation on trial stays, or ${*late}: the deadline has passed. 0 or an exit status
 * after complaining. */
int kern_trial_commit(struct kern *k, bool *late);

/* kern_roll_back(k): the fallback decides from now on, or nothing where there is none; false: the deadline of the trial
 * has just done the same. */
bool kern_roll_back(struct kern *k);

/* kern_partial(k, slot, on): whether the tables in ${slot} (0: none, fine) have to look if a hook is theirs, because hooks
 * of another generation are attached, too. 0 or an exit status after complaining. */
int kern_partial(struct kern *k, __u32 slot, bool on);

/* kern_read_active(k): ${k->active} and ${k->meta} are what decides by the word as it was last looked at. 0 or an exit
 * status after complaining. */
int kern_read_active(struct kern *k);

/* kern_generation(k, slot): of the tables in it; 0 when it is empty. */
__u32 kern_generation(const struct kern *k, __u32 slot);

/* kern_slot_free(k): one that the word doesn't name. */
__u32 kern_slot_free(const struct kern *k);

/* kern_undo(k): before the switch: remove what was staged. Pins of programs and maps that were made anew stay:
 * they do no harm and the next load uses or replaces them. */
void kern_undo(struct kern *k);

void kern_close(struct kern *k);

__u32 kern_counters(const struct kern *k);	 /* counter ids there is room for */
void kern_zero_counter(const struct kern *k, __u32 id);
void kern_zero_audit(const struct kern *k);	 /* the counts of an audit */
__u32 kern_prog_id(int fd);			 /* 0 for -1 */
void kern_prog_tag(int fd, __u8 tag[8]);	 /* the kernel's digest of a program's instructions; zeros for -1 */
size_t kern_state_memory(const struct kern *k);	 /* bytes of the maps that outlive generations */

/* For kern_*.c: the control word; a map's id, pin and shape; the meta blobs; the skeleton. */
int kern_word_open(struct kern *k);
void kern_word_read(struct kern *k);
const char *kern_map_name(enum kern_map m);
int kern_check_map(const struct kern *k, enum kern_map m);
void kern_drop_stale(struct kern *k); /* programs of other maps than these */
int kern_open_metas(struct kern *k);
int kern_flows_open(struct kern *k);		 /* flow_head of the pinned table */
bool kern_flows_resize(struct kern *k, __u32 max_flows); /* whether another table is needed; its flow_head */
int kern_flows_head(struct kern *k);		 /* flow_head into its map */
void kern_listen(void); /* keep libbpf's messages off stderr, its last complaint for ours */
__u32 kern_map_id(int fd);
void kern_skeleton_free(struct kern *k);

/* kern_program_name(p): its pin below progs/. */
const char *kern_program_name(enum kern_prog p);

/* kern_program_for(t): the program of a target. */
enum kern_prog kern_program_for(const struct target *t);

#endif
