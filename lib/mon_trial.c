/* SPDX-License-Identifier: GPL-2.0-only */
#include "mon_trial.h"

/* An audit may begin and end during it. */
#define SAME_TRIAL(a, b) (!(((a) ^ (b)) & ~FW_WORD(0, 0, 15)))

/* how_ended(last, seen, now_ms): what became of the trial in ${last}, whose word has been replaced. TRIAL_STATE_COUNT: nobody
 * can tell, as when the instance is unloaded. */
static enum trial_state how_ended(const struct trial_seen *last, const struct trial_seen *seen, uint64_t now_ms)
{
	uint64_t was = last->word, is = seen->word, at = now_ms;

	if (seen->reverted_at && seen->reverted == last->generation)
		at = seen->reverted_at;
	else if (FW_WORD_ACTIVE(is) == FW_WORD_ACTIVE(was) || FW_WORD_FALLBACK(is) == FW_WORD_ACTIVE(was))
		return TRIAL_COMMITTED; /* in the second case there was a load after it already */
	else if (!is || (FW_WORD_ACTIVE(is) != FW_WORD_FALLBACK(was) && FW_WORD_FALLBACK(is) != FW_WORD_FALLBACK(was)))
		return TRIAL_STATE_COUNT;
	return at < FW_WORD_DEADLINE(was) ? TRIAL_ROLLED_BACK : TRIAL_REVERTED;
}

static bool is_rollback(const struct trial_seen *last, const struct trial_seen *seen)
{
	return last->generation && seen->reverted_at && seen->reverted == last->generation &&
	       FW_WORD_ACTIVE(seen->word) == FW_WORD_FALLBACK(last->word);
}

static enum trial_state what_ended(const struct trial_watch *t, const struct trial_seen *seen, uint64_t now_ms)
{
	uint64_t was = t->last.word;

	if (!(was & FW_WORD_TRIAL))
		return was != seen->word && is_rollback(&t->last, seen) ? TRIAL_ROLLED_BACK : TRIAL_STATE_COUNT;
	if (t->over)
		return TRIAL_STATE_COUNT;
	if (!SAME_TRIAL(was, seen->word))
		return how_ended(&t->last, seen, now_ms);
	return now_ms >= FW_WORD_DEADLINE(was) ? TRIAL_REVERTED : TRIAL_STATE_COUNT;
}

int trial_look(struct trial_watch *t, const struct trial_seen *seen, uint64_t now_ms,
	       struct event_trial news[TRIAL_NEWS_MAX])
{
	bool same = SAME_TRIAL(t->last.word, seen->word);
	uint64_t deadline = FW_WORD_DEADLINE(seen->word);
	enum trial_state end = what_ended(t, seen, now_ms);
	int n = 0;

	if (end != TRIAL_STATE_COUNT)
		news[n++] = (struct event_trial){
			.state = end, .generation = t->last.generation, .fallback = t->last.fallback};
	t->over = same && (t->over || end == TRIAL_REVERTED);
	t->last = *seen;
	if (same || !(seen->word & FW_WORD_TRIAL))
		return n;
	news[n] = (struct event_trial){.state = TRIAL_STARTED, .generation = seen->generation, .fallback = seen->fallback};
	t->over = now_ms >= deadline;
	if (t->over)
		news[n].state = TRIAL_REVERTED;
	else
		news[n].seconds_left = (uint32_t)((deadline - now_ms + 999) / 1000);
	return n + 1;
}
