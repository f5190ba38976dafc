/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_filter.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "tables_build.h"

#define PRIORITY 50

static __u32 handle_of(const char *instance)
{
	return 0x66770000 | (hash_bytes(instance, strlen(instance)) & 0xffff);
}

static enum bpf_tc_attach_point point_of(__u32 hook)
{
	return hook == FW_HOOK_TC_INGRESS ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

int filter_attach(const char *instance, const struct target *t, int prog)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = t->ifindex, .attach_point = point_of(t->hook));
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle_of(instance), .priority = PRIORITY, .prog_fd = prog,
		    .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&hook);

	if (!err || err == -EEXIST)
		err = bpf_tc_attach(&hook, &opts);
	if (!err)
		return 0;
	complain("cannot attach %s to %s: %s", hook_name(t->hook), t->name, strerror(-err));
	return EXIT_SYSTEM;
}

__u32 filter_prog(const char *instance, const struct target *t)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = t->ifindex, .attach_point = point_of(t->hook));
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle_of(instance), .priority = PRIORITY);

	return bpf_tc_query(&hook, &opts) ? 0 : opts.prog_id;
}

int filter_detach(const char *instance, __u32 ifindex, __u32 hook_id)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point_of(hook_id));
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = handle_of(instance), .priority = PRIORITY);

	/* to look takes no capability */
	if (bpf_tc_detach(&hook, &opts) != -EPERM || bpf_tc_query(&hook, &opts))
		return 0;
	complain("cannot remove the filter %s from interface %u: it takes CAP_NET_ADMIN", hook_name(hook_id), ifindex);
	return EXIT_SYSTEM;
}
