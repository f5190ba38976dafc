/* SPDX-License-Identifier: GPL-2.0-only */
/* What the control word (bpf/fw_abi.h) means at a moment. */
#ifndef FW_STAT_WORD_H
#define FW_STAT_WORD_H

#include <stdbool.h>
#include <stdint.h>

/* Slots; 0: none. */
struct word_view {
	uint32_t active;    /* that decides now; 0: nothing is filtered */
	uint32_t fallback;  /* what the end of the trial, or --rollback, returns to */
	uint32_t candidate; /* of an audit */
	uint32_t tried;	    /* on trial, or of a trial that is over and not recorded yet */
	uint64_t trial_ms;  /* until the fallback decides; 0: no trial, or it is over */
	bool over;	    /* the trial has ended at its deadline: ${active} is what was the fallback */
};

/* word_view(word, now_ms): ${word} at ${now_ms} of CLOCK_BOOTTIME. A slot that doesn't exist is none. */
struct word_view word_view(uint64_t word, uint64_t now_ms);


#endif
