/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs that user space runs, by BPF_PROG_TEST_RUN. */
#ifndef FW_SYSCALL_H
#define FW_SYSCALL_H

#include <bpf/bpf_helpers.h>

#include "trial.h"

/* The clock of flows. */
SEC("syscall")
int fw_clock(struct fw_clock *ctx)
{
	ctx->jiffies = bpf_jiffies64();
	return 0;
}

/* --commit */
SEC("syscall")
int fw_commit_trial(struct fw_commit *ctx)
{
	ctx->done = fw_commit(ctx->word);
	return 0;
}

#endif
