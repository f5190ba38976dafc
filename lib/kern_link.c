/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_link.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kern_filter.h"
#include "resolve.h"
#include "tables_build.h"

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

static bool is_tc(const struct target *t)
{
	return t->hook == FW_HOOK_TC_INGRESS || t->hook == FW_HOOK_TC_EGRESS;
}

static void pin_name(const struct target *t, char pin[80])
{
	if (hook_is_cgroup(t->hook))
		snprintf(pin, 80, "%s-%llu", hook_name(t->hook), (unsigned long long)t->id);
	else
		snprintf(pin, 80, "%s-%u", hook_name(t->hook), t->ifindex);
}

/* The link ${fd} is still on its target (an interface or cgroup that went away leaves a link to nothing). */
static bool link_alive(int fd, const struct target *t, __u32 *prog)
{
	struct bpf_link_info info = { 0 };
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return false;
	*prog = info.prog_id;
	if (hook_is_cgroup(t->hook))
		return info.cgroup.cgroup_id == t->id;
	return info.xdp.ifindex == t->ifindex; /* tcx has it at the same place */
}

bool link_protects(struct kern *k, const struct fw_meta_link *l)
{
	const char *pin = meta_string(k->meta, l->pin), *name = meta_string(k->meta, l->target);
	struct target t = { .hook = l->hook, .name = (char *)name, .ifindex = l->ifindex, .id = l->target_id };
	char path[INST_PATH_MAX];
	__u32 prog = 0, level;
	bool ok = false;
	__u64 id;
	int fd;

	if (!name)
		return false;
	/* a new interface or cgroup of the old name is not what was attached to */
	if (hook_is_cgroup(l->hook) ? cgroup_lookup(name, (uint64_t *)&id, &level) || id != l->target_id
				    : if_nametoindex(name) != l->ifindex)
		return false;
	if (!pin)
		return filter_prog(k->in->name, &t) == l->prog_id;
	fd = bpf_obj_get(inst_pin(k->in, path, "links/%s", pin));
	if (fd >= 0) {
		ok = link_alive(fd, &t, &prog) && prog == l->prog_id;
		close(fd);
	}
	return ok;
}

static int links_dir(const struct inst *in, DIR **d)
{
	char path[INST_PATH_MAX];

	*d = opendir(inst_pin(in, path, "links"));
	return *d ? 0 : -1;
}

static bool placed_has(const struct placing *pl, const char *pin)
{
	for (size_t i = 0; i < pl->n; i++)
		if (!strcmp(pl->list[i].pin, pin))
			return true;
	return false;
}

/* Pins of links that no target has. */
static bool has_others(struct kern *k, const struct placing *pl)
{
	struct dirent *e;
	bool found = false;
	DIR *d;

	if (links_dir(k->in, &d))
		return false;
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && !placed_has(pl, e->d_name))
			found = true;
	closedir(d);
	return found;
}

/* The mode that the last load wrote down for a link. */
static __u32 last_mode(const struct meta *m, const char *pin)
{
	for (__u32 i = 0; m && i < m->head->n_links; i++) {
		const char *s = meta_string(m, m->links[i].pin);

		if (s && !strcmp(s, pin))
			return m->links[i].mode;
	}
	return 0;
}

bool links_look(struct kern *k, const struct targets *t, struct placing *pl)
{
	char path[INST_PATH_MAX];
	bool all = true;

	pl->list = xalloc(t->n, sizeof(*pl->list));
	pl->n = t->n;
	for (size_t i = 0; i < t->n; i++) {
		struct placed *p = &pl->list[i];
		__u32 want = kern_prog_id(k->progs[kern_program_for(&t->list[i])]), prog = 0;

		p->hook = t->list[i].hook;
		p->ifindex = t->list[i].ifindex;
		pin_name(&t->list[i], p->pin);
		p->fd = bpf_obj_get(inst_pin(k->in, path, "links/%s", p->pin));
		if (p->fd >= 0 && !link_alive(p->fd, &t->list[i], &prog)) {
			close(p->fd);
			p->fd = -1;
			unlink(path);
		}
		if (p->fd < 0 && is_tc(&t->list[i]) && filter_prog(k->in->name, &t->list[i]) == want && want) {
			*p->pin = 0;
			p->mode = FW_MODE_CLSACT;
			continue;
		}
		p->old_prog = prog;
		if (p->fd >= 0)
			p->mode = last_mode(k->meta, p->pin);
		p->stale = p->fd >= 0 && prog != want;
		all &= p->fd >= 0 && want && !p->stale;
	}
	return all && !has_others(k, pl);
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
		 t->name, info.name, id, t->name);
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
	complain("cannot attach XDP to %s: %s", t->name, strerror(errno));
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
			complain("cannot attach %s to %s: %s", hook_name(t->hook), t->name, strerror(errno));
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
	complain("cannot attach %s to cgroup %s: %s", hook_name(t->hook), t->name, strerror(errno));
	return EXIT_SYSTEM;
}

static int attach_new(struct kern *k, const struct target *t, int prog, struct placed *p)
{
	char path[INST_PATH_MAX];
	int err;

	p->fd = -1;
	p->is_new = true;
	pin_name(t, p->pin);
	if (hook_is_cgroup(t->hook))
		err = attach_cgroup(t, prog, p);
	else if (is_tc(t))
		err = attach_tc(k, t, prog, p);
	else
		err = attach_xdp(t, prog, p);
	if (err || p->fd < 0)
		return err;
	unlink(inst_pin(k->in, path, "links/%s", p->pin));
	if (!bpf_obj_pin(p->fd, path))
		return 0;
	complain("cannot pin %s: %s", path, strerror(errno));
	close(p->fd); /* detaches */
	p->fd = -1;
	return EXIT_SYSTEM;
}

int links_place(struct kern *k, const struct targets *t, struct placing *pl)
{
	for (size_t i = 0; i < t->n; i++) {
		struct placed *p = &pl->list[i];
		int prog = k->progs[kern_program_for(&t->list[i])], err;

		if (p->fd < 0 && p->mode != FW_MODE_CLSACT) {
			err = attach_new(k, &t->list[i], prog, p);
			if (err)
				return err;
			continue;
		}
		if (p->mode == FW_MODE_CLSACT) {
			if (k->skel && filter_attach(k->in->name, &t->list[i], prog))
				return EXIT_SYSTEM;
			continue;
		}
		if (p->old_prog == kern_prog_id(prog))
			continue;
		if (bpf_link_update(p->fd, prog, NULL)) {
			complain("cannot update the program at %s: %s", p->pin, strerror(errno));
			return EXIT_SYSTEM;
		}
		p->updated = true;
	}
	return 0;
}

void links_undo(struct kern *k, const struct targets *t, struct placing *pl)
{
	char path[INST_PATH_MAX];

	for (size_t i = 0; i < pl->n; i++) {
		struct placed *p = &pl->list[i];

		if (p->is_new && p->fd >= 0)
			unlink(inst_pin(k->in, path, "links/%s", p->pin));
		else if (p->is_new && p->mode == FW_MODE_CLSACT)
			filter_detach(k->in->name, t->list[i].ifindex, t->list[i].hook);
		if (p->updated) {
			int old = bpf_prog_get_fd_by_id(p->old_prog);

			if (old < 0 || bpf_link_update(p->fd, old, NULL))
				complain("cannot put the old program back at %s: %s", p->pin, strerror(errno));
			if (old >= 0)
				close(old);
		}
	}
}

static bool filter_kept(const struct placing *pl, const struct fw_meta_link *l)
{
	for (size_t i = 0; pl && i < pl->n; i++)
		if (pl->list[i].mode == FW_MODE_CLSACT && pl->list[i].ifindex == l->ifindex &&
		    pl->list[i].hook == l->hook)
			return true;
	return false;
}

/* Clsact filters of the last load that are no longer wanted. */
static int drop_filters(const struct inst *in, const struct meta *m, const struct placing *pl)
{
	for (__u32 i = 0; m && i < m->head->n_links; i++) {
		const struct fw_meta_link *l = &m->links[i];

		if (l->mode == FW_MODE_CLSACT && !filter_kept(pl, l))
			filter_detach(in->name, l->ifindex, l->hook);
	}
	return 0;
}

int links_drop_others(struct kern *k, const struct placing *pl)
{
	char path[INST_PATH_MAX];
	struct dirent *e;
	int err = 0;
	DIR *d;

	if (links_dir(k->in, &d))
		return EXIT_SYSTEM;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.' || placed_has(pl, e->d_name))
			continue;
		if (unlink(inst_pin(k->in, path, "links/%s", e->d_name))) {
			complain("cannot remove %s: %s", path, strerror(errno));
			err = EXIT_SYSTEM;
		}
	}
	closedir(d);
	return err | drop_filters(k->in, k->meta, pl);
}

int links_drop_all(const struct inst *in, const struct meta *m)
{
	int err = inst_empty(in, "links");

	return err | drop_filters(in, m, NULL);
}

void placing_free(struct placing *pl)
{
	for (size_t i = 0; i < pl->n; i++)
		if (pl->list[i].fd >= 0)
			close(pl->list[i].fd);
	free(pl->list);
	memset(pl, 0, sizeof(*pl));
}
