/* SPDX-License-Identifier: GPL-2.0-only */
/* How a trial goes, from one look at the control word to the next. Its end by the deadline is nobody's writing: only the clock
 * tells. */
#ifndef FW_MON_TRIAL_H
#define FW_MON_TRIAL_H

#include "event.h"

/* What struct fw_control says, with the generations in the slots that its word calls active and fallback (0: none). */
struct trial_seen {
	uint64_t word, reverted_at; /* reverted_at in ms of CLOCK_BOOTTIME */
	uint32_t reverted, generation, fallback;
};

/* All zero before the first look. */
struct trial_watch {
	struct trial_seen last;
	bool over; /* its deadline has been reported */
};

#define TRIAL_NEWS_MAX 2

/* trial_look(t, seen, now_ms, news): what has happened since the last look, in this order, into ${news}; how much. ${now_ms}
 * is CLOCK_BOOTTIME. */
int trial_look(struct trial_watch *t, const struct trial_seen *seen, uint64_t now_ms,
	       struct event_trial news[TRIAL_NEWS_MAX]);

#endif
