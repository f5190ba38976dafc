/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_link.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kern_filter.h"
#include "resolve.h"
#include "tables_build.h"

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

/* 1: the link ${fd} is still on its target; 0: it isn't (an interface or cgroup that went away leaves a link to
 * nothing); -1 with errno: that can't be told. */
static int link_alive(int fd, const struct target *t, __u32 *prog)
{
	struct bpf_link_info info = { 0 };
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -1;
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
	fd = inst_get(k->in, inst_pin(k->in, path, "links/%s", pin));
	if (fd >= 0) {
		ok = link_alive(fd, &t, &prog) == 1 && prog == l->prog_id;
		close(fd);
	}
	return ok;
}

static int links_dir(const struct inst *in, DIR **d)
{
	char path[INST_PATH_MAX];

	*d = inst_opendir(in, inst_pin(in, path, "links"));
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

/* The mode that a load wrote down for a link. */
static __u32 last_mode(const struct kern *k, const char *pin)
{
	for (int slot = 0; slot < FW_SLOTS; slot++) {
		const struct meta *m = k->metas[slot];

		for (__u32 i = 0; m && i < m->head->n_links; i++) {
			const char *s = meta_string(m, m->links[i].pin);

			if (s && !strcmp(s, pin) && m->links[i].mode)
				return m->links[i].mode;
		}
	}
	return 0;
}

/* The link pinned for ${t}, if it lives, into ${p}. One that can't be read is not taken for none: what is attached must not
 * be given up by mistake. A dead one's pin goes when another takes its name. */
static int look_at(struct kern *k, const struct target *t, struct placed *p, __u32 *prog)
{
	char path[INST_PATH_MAX];
	int alive;

	pin_name(t, p->pin);
	p->fd = inst_get(k->in, inst_pin(k->in, path, "links/%s", p->pin));
	if (p->fd < 0 && errno == ENOENT)
		return 0;
	alive = p->fd < 0 ? -1 : link_alive(p->fd, t, prog);
	if (alive < 0) {
		complain("cannot look at %s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	if (!alive) {
		close(p->fd);
		p->fd = -1;
		*prog = 0;
	}
	return 0;
}

int links_look(struct kern *k, const struct targets *t, struct placing *pl, bool *all)
{
	int err = 0;

	pl->list = xalloc(t->n, sizeof(*pl->list));
	for (size_t i = 0; i < t->n; i++)
		pl->list[i].fd = -1;
	pl->n = t->n;
	*all = true;
	for (size_t i = 0; !err && i < t->n; i++) {
		struct placed *p = &pl->list[i];
		__u32 want = kern_prog_id(k->progs[kern_program_for(&t->list[i])]), prog = 0;

		p->hook = t->list[i].hook;
		p->ifindex = t->list[i].ifindex;
		err = look_at(k, &t->list[i], p, &prog);
		if (p->fd < 0 && is_tc(&t->list[i]))
			prog = filter_prog(k->in->name, &t->list[i]);
		if (p->fd < 0 && prog) {
			*p->pin = 0;
			p->mode = FW_MODE_CLSACT;
		} else if (p->fd >= 0) {
			p->mode = last_mode(k, p->pin);
		}
		p->old_prog = prog;
		p->stale = prog && prog != want;
		*all &= prog && want && !p->stale;
	}
	*all &= !has_others(k, pl);
	return err;
}

static int attach_new(struct kern *k, const struct target *t, int prog, struct placed *p)
{
	char path[INST_PATH_MAX];
	int err;

	p->fd = -1;
	p->is_new = true;
	pin_name(t, p->pin);
	err = kern_attach(k, t, prog, p);
	if (err || p->fd < 0)
		return err;
	inst_unlink(k->in, inst_pin(k->in, path, "links/%s", p->pin));
	if (!inst_put(k->in, p->fd, path))
		return 0;
	complain("cannot pin %s: %s", path, strerror(errno));
	close(p->fd); /* detaches */
	p->fd = -1;
	return EXIT_SYSTEM;
}

static int place(struct kern *k, const struct target *t, struct placed *p, bool attach)
{
	int prog = k->progs[kern_program_for(t)];

	if (p->fd < 0 && p->mode != FW_MODE_CLSACT)
		return attach ? attach_new(k, t, prog, p) : 0;
	if (p->old_prog == kern_prog_id(prog))
		return 0;
	if (p->mode == FW_MODE_CLSACT) {
		p->updated = !filter_attach(k->in->name, t, prog);
		return p->updated ? 0 : EXIT_SYSTEM;
	}
	if (bpf_link_update(p->fd, prog, NULL)) {
		complain("cannot update the program at %s: %s", p->pin, strerror(errno));
		return EXIT_SYSTEM;
	}
	p->updated = true;
	return 0;
}

int links_place(struct kern *k, const struct targets *t, struct placing *pl, bool attach)
{
	int err = 0;

	for (size_t i = 0; !err && i < t->n; i++)
		err = place(k, &t->list[i], &pl->list[i], attach);
	return err;
}

/* By its id only if it must be: that takes CAP_SYS_ADMIN. */
static int old_prog(const struct kern *k, __u32 id)
{
	for (int i = 0; i < KP_COUNT; i++)
		if (k->old_progs[i] >= 0 && kern_prog_id(k->old_progs[i]) == id)
			return fcntl(k->old_progs[i], F_DUPFD_CLOEXEC, 0);
	return bpf_prog_get_fd_by_id(id);
}

void links_undo(struct kern *k, const struct targets *t, struct placing *pl)
{
	char path[INST_PATH_MAX];

	for (size_t i = 0; i < pl->n; i++) {
		struct placed *p = &pl->list[i];

		if (p->is_new && p->fd >= 0)
			inst_unlink(k->in, inst_pin(k->in, path, "links/%s", p->pin));
		else if (p->is_new && p->mode == FW_MODE_CLSACT)
			filter_detach(k->in->name, t->list[i].ifindex, t->list[i].hook);
		if (p->updated) {
			int old = old_prog(k, p->old_prog);

			if (p->mode == FW_MODE_CLSACT && old >= 0)
				filter_attach(k->in->name, &t->list[i], old);
			else if (old < 0 || bpf_link_update(p->fd, old, NULL))
				complain("cannot put the old program back at %s: %s", p->pin, strerror(errno));
			if (old >= 0)
				close(old);
		}
	}
}

static bool filter_kept(const struct placing *pl, const struct fw_meta_link *l)
{
	for (size_t i = 0; pl && i < pl->n; i++)
		if (pl->list[i].fd < 0 && pl->list[i].ifindex == l->ifindex && pl->list[i].hook == l->hook)
			return true;
	return false;
}

/* Clsact filters of a generation that was there when this process came, and which are no longer wanted. */
static void drop_filters(const struct kern *k, const struct placing *pl)
{
	for (int slot = 0; slot < FW_SLOTS; slot++) {
		const struct meta *m = k->metas[slot];

		for (__u32 i = 0; m && i < m->head->n_links; i++) {
			const struct fw_meta_link *l = &m->links[i];

			if (l->mode == FW_MODE_CLSACT && !filter_kept(pl, l))
				filter_detach(k->in->name, l->ifindex, l->hook);
		}
	}
}

/* Detached at once: when the last pin goes the kernel takes its time. 0 or -1 with errno. */
static int drop_link(const struct inst *in, const char *path)
{
	int fd = inst_get(in, path);

	if (fd >= 0) {
		bpf_link_detach(fd);
		close(fd);
	}
	return inst_unlink(in, path);
}

int links_drop_others(struct kern *k, const struct placing *pl)
{
	char path[INST_PATH_MAX];
	struct dirent *e;
	int err = 0;
	DIR *d;

	if (links_dir(k->in, &d)) {
		complain("cannot open %s: %s", inst_pin(k->in, path, "links"), strerror(errno));
		return EXIT_SYSTEM;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.' || placed_has(pl, e->d_name))
			continue;
		if (drop_link(k->in, inst_pin(k->in, path, "links/%s", e->d_name))) {
			complain("cannot remove %s: %s", path, strerror(errno));
			err = EXIT_SYSTEM;
		}
	}
	closedir(d);
	drop_filters(k, pl);
	return err;
}

int links_drop_all(const struct inst *in)
{
	struct if_nameindex *ifaces = if_nameindex();
	char path[INST_PATH_MAX];
	struct dirent *e;
	int err = 0;
	DIR *d;

	if (!links_dir(in, &d)) {
		while ((e = readdir(d)))
			if (e->d_name[0] != '.' && drop_link(in, inst_pin(in, path, "links/%s", e->d_name))) {
				complain("cannot remove %s: %s", path, strerror(errno));
				err = EXIT_SYSTEM;
			}
		closedir(d);
	}
	for (struct if_nameindex *i = ifaces; i && i->if_index; i++) {
		err |= filter_detach(in->name, i->if_index, FW_HOOK_TC_INGRESS);
		err |= filter_detach(in->name, i->if_index, FW_HOOK_TC_EGRESS);
	}
	if (ifaces)
		if_freenameindex(ifaces);
	return err | inst_empty(in, "links"); /* where the directory could not be listed */
}

bool links_none(const struct inst *in)
{
	struct dirent *e;
	bool none = true;
	DIR *d;

	if (links_dir(in, &d))
		return errno == ENOENT;
	while ((e = readdir(d)))
		none &= e->d_name[0] == '.';
	closedir(d);
	return none;
}

bool links_any(const struct placing *pl)
{
	for (size_t i = 0; i < pl->n; i++)
		if ((pl->list[i].fd >= 0 && !pl->list[i].is_new) || pl->list[i].mode == FW_MODE_CLSACT)
			return true;
	return false;
}

void placing_free(struct placing *pl)
{
	for (size_t i = 0; i < pl->n; i++)
		if (pl->list[i].fd >= 0)
			close(pl->list[i].fd);
	free(pl->list);
	memset(pl, 0, sizeof(*pl));
}
