/* SPDX-License-Identifier: GPL-2.0-only */
/* The few kernel fields that no context offers, by CO-RE: the owner and the cgroup of a socket and its
 * network namespace. Only what is read is declared. */
#ifndef FW_KERNEL_H
#define FW_KERNEL_H

#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	unsigned int val;
} kuid_t;

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
	int level;
	struct cgroup *ancestors[];
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	kuid_t sk_uid;
	struct sock_cgroup_data sk_cgrp_data;
};

#pragma clang attribute pop

/* The context's sk pointer, a full socket, as something that may be read from: the verifier forbids arithmetic
 * on the typed pointer, but not reading its spilled value. */
static __always_inline const struct sock *sk_kernel(const void *sk)
{
	const void *volatile slot = sk;
	const struct sock *kernel = 0;

	bpf_probe_read_kernel(&kernel, sizeof(kernel), (const void *)&slot);
	return kernel;
}

static __always_inline __u32 sk_uid(const void *sk)
{
	return BPF_CORE_READ(sk_kernel(sk), sk_uid.val);
}

static __always_inline struct cgroup *sk_cgroup(const void *sk)
{
	return BPF_CORE_READ(sk_kernel(sk), sk_cgrp_data.cgroup);
}

static __always_inline __u32 sk_netns(const void *sk)
{
	return BPF_CORE_READ(sk_kernel(sk), __sk_common.skc_net.net, ns.inum);
}

static __always_inline __u64 cgroup_id(struct cgroup *cg)
{
	return BPF_CORE_READ(cg, kn, id);
}

/* The id of the ancestor of ${cg} (or itself) at ${level}, 0 where there is none. */
static __always_inline __u64 cgroup_ancestor_id(struct cgroup *cg, __u32 level)
{
	struct cgroup *up = 0;

	if (!cg || level > (__u32)BPF_CORE_READ(cg, level))
		return 0;
	bpf_core_read(&up, sizeof(up), &cg->ancestors[level]);
	return up ? cgroup_id(up) : 0;
}

#endif
