/* SPDX-License-Identifier: GPL-2.0-only */
/* A producer for the tests of fwmon: each run reads a request from the packet and emits that many events as
 * bpf/emit.h does, numbered in flow_id. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/fw_abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1048576);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct fw_readers);
} readers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct fw_log_limit);
} log_limits SEC(".maps");

struct request {
	__u32 count;   /* events */
	__u32 discard; /* nonzero: reserve and discard a record of this many bytes (8 or 24) before each */
	__u64 first;   /* flow_id of the first */
	struct fw_event event;
};

static __always_inline void emit(struct fw_readers *r, struct fw_log_limit *l, struct fw_event *e, __u32 discard)
{
	void *room;

	if (discard) {
		room = discard == 8 ? bpf_ringbuf_reserve(&events, 8, 0)
				    : bpf_ringbuf_reserve(&events, 24, 0);
		if (room)
			bpf_ringbuf_discard(room, BPF_RB_NO_WAKEUP);
	}
	if (bpf_ringbuf_output(&events, e, sizeof(*e),
			       r->sent[0] % FW_WAKE_EVERY ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP)) {
		__sync_fetch_and_add(&l->lost[0], 1);
		__sync_fetch_and_add(&r->lost[0], 1);
	} else {
		__sync_fetch_and_add(&r->sent[0], 1);
	}
}

SEC("xdp")
int produce(struct xdp_md *ctx)
{
	struct request *q = (void *)(long)ctx->data;
	__u32 zero = 0, count, discard, rule;
	struct fw_log_limit *l;
	struct fw_readers *r;
	struct fw_event e;
	__u64 first;

	r = bpf_map_lookup_elem(&readers, &zero);
	if ((void *)(q + 1) > (void *)(long)ctx->data_end || !r)
		return XDP_ABORTED;
	if (!(r->claimed & 1))
		return XDP_DROP;
	e = q->event;
	rule = e.rule;
	l = bpf_map_lookup_elem(&log_limits, &rule);
	if (!l)
		return XDP_ABORTED;
	count = q->count;
	discard = q->discard;
	first = q->first;
	for (__u32 i = 0; i < 1024 && i < count; i++) {
		e.flow_id = first + i;
		emit(r, l, &e, discard);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
