/* SPDX-License-Identifier: GPL-2.0-only */
/* Which generation decides, and how a trial ends without any process: at its deadline, or by a handshake. */
#ifndef FW_TRIAL_H
#define FW_TRIAL_H

#include <bpf/bpf_helpers.h>

#include "flow.h"
#include "maps.h"

#define NS_PER_MS 1000000

/* ${word} of a trial, as it is now. Global: only then does anybody ask for the time. */
__noinline __u64 fw_word_on_trial(__u64 word)
{
	return bpf_ktime_get_boot_ns() / NS_PER_MS < FW_WORD_DEADLINE(word) ? word : FW_WORD_REVERTED(word);
}

/* The control word, read once per packet. */
static __always_inline __u64 word_now(void)
{
	__u64 word, trial;
	__u32 zero = 0;
	struct fw_control *c = bpf_map_lookup_elem(&control, &zero);

	if (!c)
		return 0;
	word = *(volatile __u64 *)&c->word;
	trial = word;
	/* hides from the verifier that it is the same: both ways to come out of here are to look alike to it */
	asm volatile("%0 >>= 4" : "+r"(trial));
	if (trial & 1)
		word = fw_word_on_trial(word);
	return word;
}

/* The trial in ${word} is committed, if the word is still that one and the deadline has not passed: 1. */
__noinline int fw_commit(__u64 word)
{
	__u32 zero = 0;
	struct fw_control *c = bpf_map_lookup_elem(&control, &zero);

	if (!c || !(word & FW_WORD_TRIAL) || fw_word_on_trial(word) != word)
		return 0;
	/* who is first, a loader or another CPU, is right in any case */
	return __sync_val_compare_and_swap(&c->word, word, FW_WORD_COMMITTED(word)) == word;
}

/* A packet of a TCP flow has passed under the generation in ${slot}, which is on trial; the flow's state was ${before}. If
 * the flow has come from where --confirm-from said, and its handshake was completed on trial, that is the proof that was
 * asked for. A forged ACK completes a handshake here, where nobody looks at sequence numbers, but the host answers it
 * with a RST: so it is the host's next packet that commits, which is no RST. 1: committed. */
__noinline int fw_confirm(__u64 ref, __u32 slot, __u32 before, __u32 tcp_flags)
{
	const struct fw_arena *a = arena_in(slot);
	const struct fw_flow *f;
	struct fw_flow_bucket *b;
	struct fw_control *c;
	__u32 way, zero = 0;
	__u64 flow, word;

	c = bpf_map_lookup_elem(&control, &zero);
	b = flow_at(ref, &way);
	if (!a || !b || !c || !a->confirm_bits)
		return 0;
	f = flow_in(b, way);
	flow = flow_word(b, way);
	if (flow & FW_FLOW_EGRESS || FW_FLOW_IS_CUT(FW_FLOW_STATE(flow)) || FW_FLOW_GENERATION(f->stamp) != a->generation)
		return 0;
	if ((f->key.d[0] ^ a->confirm_net64[0]) & a->confirm_mask[0] ||
	    (f->key.d[1] ^ a->confirm_net64[1]) & a->confirm_mask[1])
		return 0;
	if (!FLOW_REF_REPLY(ref)) {
		if (before == FW_FLOW_SYN_RECV && FW_FLOW_STATE(flow) == FW_FLOW_ESTABLISHED)
			__sync_fetch_and_or(flow_word_in(b, way), FW_FLOW_SHAKEN);
		return 0;
	}
	if (!(flow & FW_FLOW_SHAKEN) || tcp_flags & (TCP_SYN | TCP_RST))
		return 0;
	word = *(volatile __u64 *)&c->word;
	return FW_WORD_ACTIVE(word) == slot ? fw_commit(word) : 0;
}

#endif
