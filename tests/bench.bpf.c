// SPDX-License-Identifier: GPL-2.0-only
/* Programs around the one that is measured: each feeder copies the next frame of a trace into the packet and
 * tail-calls, so that BPF_PROG_TEST_RUN meets varied packets; what the feeder costs is subtracted. send_next() puts
 * the packets on the wire instead. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define FRAME 64

struct frame {
	__u64 w[FRAME / 8];
};
struct lpm_key {
	__u32 len;
	__u8 addr[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct frame);
} trace SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct lpm_key);
	__type(value, __u32);
} lpm SEC(".maps");

/* Constant indices, so that the JIT makes direct jumps of the tail calls. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

__u32 at, mask; /* next frame; frames - 1 */

static __always_inline int put_next(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 i = at++ & mask;
	struct frame *f = bpf_map_lookup_elem(&trace, &i), *d = data;

	if (!f || data + FRAME > end)
		return -1;
	for (int w = 0; w < FRAME / 8; w++)
		d->w[w] = f->w[w];
	return 0;
}

static __always_inline int feed(struct xdp_md *ctx, __u32 to)
{
	if (!put_next(ctx))
		bpf_tail_call_static(ctx, &next, to);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int feed_empty(struct xdp_md *ctx)
{
	return feed(ctx, 0);
}

SEC("xdp.frags")
int feed_fw(struct xdp_md *ctx)
{
	return feed(ctx, 1);
}

SEC("xdp.frags")
int feed_other(struct xdp_md *ctx)
{
	return feed(ctx, 2);
}

SEC("xdp.frags")
int send_next(struct xdp_md *ctx)
{
	return put_next(ctx) ? XDP_ABORTED : XDP_TX;
}

SEC("xdp.frags")
int empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp.frags")
int look_up(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct lpm_key k = {.len = 32};

	if (data + 34 > end)
		return XDP_ABORTED;
	__builtin_memcpy(k.addr, data + 26, 4);
	return bpf_map_lookup_elem(&lpm, &k) ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
