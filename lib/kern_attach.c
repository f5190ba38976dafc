/* SPDX-License-Identifier: GPL-2.0-only */
/* A program to a place where none of ours is. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kern_filter.h"
#include "kern_link.h"
#include "resolve.h"

/* linux/bpf.h of Debian 12 doesn't have them yet */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS 47

static const int attach_types[FW_HOOK_COUNT] = {
	[FW_HOOK_XDP] = BPF_XDP,
	[FW_HOOK_TC_INGRESS] = ATTACH_TCX_INGRESS,
	[FW_HOOK_TC_EGRESS] = ATTACH_TCX_EGRESS,
	[FW_HOOK_CGROUP_INGRESS] = BPF_CGROUP_INET_INGRESS,
	[FW_HOOK_CGROUP_EGRESS] = BPF_CGROUP_INET_EGRESS,
	[FW_HOOK_CONNECT4] = BPF_CGROUP_INET4_CONNECT,
	[FW_HOOK_CONNECT6] = BPF_CGROUP_INET6_CONNECT,
	[FW_HOOK_SENDMSG4] = BPF_CGROUP_UDP4_SENDMSG,
	[FW_HOOK_SENDMSG6] = BPF_CGROUP_UDP6_SENDMSG,
};

static const char *why_not(void)
{
	return errno == EPERM ? "it takes CAP_NET_ADMIN" : strerror(errno);
}

/* Who has the XDP slot that we can't get. */
static void xdp_taken(const struct target *t)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info), id;
	int fd;

	if (bpf_xdp_query(t->ifindex, 0, &q)) {
		complain("XDP on %s is taken by another program; free it, or use --xdp off (TC)", t->name);
		return;
	}
	id = q.prog_id ? q.prog_id : q.drv_prog_id ? q.drv_prog_id : q.skb_prog_id;
	fd = bpf_prog_get_fd_by_id(id);
	if (fd >= 0) {
		bpf_obj_get_info_by_fd(fd, &info, &len);
		close(fd);
	}
	complain("XDP on %s is taken by program '%s' (id %u): detach it (ip link set %s xdp off), or use --xdp off (TC)",
		 t->name, *info.name ? info.name : "?", id, t->name);
}

static int attach_xdp(const struct target *t, int prog, struct placed *p)
{
	static const struct {
		__u32 mode, flag;
	} ways[] = { { FW_MODE_NATIVE, XDP_FLAGS_DRV_MODE }, { FW_MODE_GENERIC, XDP_FLAGS_SKB_MODE } };

	for (int i = 0; i < 2; i++) {
		LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = ways[i].flag);

		if ((i == 0 && t->xdp == XDP_MODE_GENERIC) || (i == 1 && t->xdp == XDP_MODE_NATIVE))
			continue;
		p->fd = bpf_link_create(prog, t->ifindex, BPF_XDP, &opts);
		if (p->fd >= 0) {
			p->mode = ways[i].mode;
			if (i == 1 && t->xdp == XDP_MODE_AUTO)
				complain("%s: the driver has no native XDP; using generic XDP (slower)", t->name);
			return 0;
		}
		if (errno == EBUSY || errno == EEXIST) {
			xdp_taken(t);
			return EXIT_SYSTEM;
		}
	}
	complain("cannot attach XDP to %s: %s", t->name, why_not());
	return EXIT_SYSTEM;
}

static int attach_tc(struct kern *k, const struct target *t, int prog, struct placed *p)
{
	const char *env = getenv("FW_TC"); /* "clsact": as if the kernel had no tcx */

	if (!env || strcmp(env, "clsact")) {
		p->fd = bpf_link_create(prog, t->ifindex, attach_types[t->hook], NULL);
		if (p->fd >= 0) {
			p->mode = FW_MODE_TCX;
			return 0;
		}
		if (errno != EINVAL && errno != EOPNOTSUPP) {
			complain("cannot attach %s to %s: %s", hook_name(t->hook), t->name, why_not());
			return EXIT_SYSTEM;
		}
	}
	*p->pin = 0;
	p->mode = FW_MODE_CLSACT;
	return filter_attach(k->in->name, t, prog);
}

static int attach_cgroup(const struct target *t, int prog, struct placed *p)
{
	int cgroup = cgroup_open(t->name);

	if (cgroup >= 0) {
		p->fd = bpf_link_create(prog, cgroup, attach_types[t->hook], NULL);
		close(cgroup);
	}
	if (p->fd >= 0)
		return 0;
	complain("cannot attach %s to cgroup %s: %s", hook_name(t->hook), t->name, why_not());
	return EXIT_SYSTEM;
}

int kern_attach(struct kern *k, const struct target *t, int prog, struct placed *p)
{
	if (hook_is_cgroup(t->hook))
		return attach_cgroup(t, prog, p);
	if (t->hook == FW_HOOK_XDP)
		return attach_xdp(t, prog, p);
	return attach_tc(k, t, prog, p);
}
