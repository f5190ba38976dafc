/* SPDX-License-Identifier: GPL-2.0-only */
#include "stat_word.h"

#include <time.h>

#include "bpf/fw_abi.h"

static uint32_t slot(uint32_t n)
{
	return n < FW_SLOTS ? n : 0;
}

struct word_view word_view(uint64_t word, uint64_t now_ms)
{
	struct word_view w = {
		.active = slot(FW_WORD_ACTIVE(word)),
		.fallback = slot(FW_WORD_FALLBACK(word)),
		.candidate = slot(FW_WORD_CANDIDATE(word)),
	};

	if (!(word & FW_WORD_TRIAL))
		return w;
	w.tried = w.active;
	w.over = now_ms >= FW_WORD_DEADLINE(word);
	if (!w.over) {
		w.trial_ms = FW_WORD_DEADLINE(word) - now_ms;
		return w;
	}
	/* as FW_WORD_REVERTED(): there is nothing further to go back to */
	w.active = w.fallback;
	w.fallback = w.candidate = 0;
	return w;
}
