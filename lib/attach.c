/* SPDX-License-Identifier: GPL-2.0-only */
#include "attach.h"

#include <errno.h>
#include <fnmatch.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup_path.h"
#include "resolve.h"
#include "tables_build.h"

#define HOOK_ROW(id, name, dir) [FW_HOOK_##id] = name,
static const char *const hook_names[FW_HOOK_COUNT] = { FW_HOOKS(HOOK_ROW) };

const char *hook_name(enum fw_hook h)
{
	return hook_names[h];
}

bool hook_is_cgroup(enum fw_hook h)
{
	return h >= FW_HOOK_CGROUP_INGRESS;
}

static void add(struct targets *t, struct target one)
{
	t->list = realloc(t->list, (t->n + 1) * sizeof(*t->list));
	if (!t->list)
		die(EXIT_SYSTEM, "out of memory");
	one.name = strdup(one.name);
	t->list[t->n++] = one;
}

static void add_iface(struct targets *t, const struct attach *a, struct res_iface *i)
{
	bool has_link = i->type == ARPHRD_ETHER || i->type == ARPHRD_LOOPBACK;
	struct target one = { .name = (char *)i->name, .ifindex = i->ifindex, .has_link = has_link, .xdp = a->xdp };

	for (size_t k = 0; k < t->n; k++)
		if (t->list[k].ifindex == i->ifindex)
			return;
	/* XDP programs expect Ethernet: tunnels without link header have TC */
	one.hook = a->xdp != XDP_MODE_OFF && (has_link || a->xdp != XDP_MODE_AUTO) ? FW_HOOK_XDP : FW_HOOK_TC_INGRESS;
	add(t, one);
	i->hooks = FW_IFACE_HOOK(one.hook) | FW_IFACE_HOOK(FW_HOOK_TC_EGRESS);
	one.hook = FW_HOOK_TC_EGRESS;
	add(t, one);
	i->ingress_owned = 1;
}

static void plan_ifaces(struct diag *d, const struct attach *a, struct resolved *r, struct targets *t)
{
	for (size_t k = 0; k < a->n_interfaces; k++) {
		const char *want = a->interfaces[k];
		size_t found = 0;

		for (size_t i = 0; i < r->n_ifaces; i++)
			if (!fnmatch(want, r->ifaces[i].name, 0)) {
				add_iface(t, a, &r->ifaces[i]);
				found++;
			}
		if (!found && strpbrk(want, "*?["))
			diag_warn(d, NULL, NULL, "no interface matches '%s' now", want);
		else if (!found)
			diag_error(d, NULL, NULL, "interface %s does not exist here (ip link shows what does)", want);
	}
	for (size_t i = 0; a->host && i < r->n_ifaces; i++)
		if (r->ifaces[i].physical)
			add_iface(t, a, &r->ifaces[i]);
	if (a->host && !t->n)
		diag_error(d, NULL, NULL, "host: this network namespace has no physical interface; name interfaces");
}

/* The cgroup hooks come together or not at all: each sees traffic that the others don't. */
static void plan_cgroup(struct diag *d, const char *path, struct resolved *r, struct targets *t)
{
	struct target one = { .name = (char *)cgroup_below_mount(path) };

	if (!*one.name)
		one.name = "/";
	if (cgroup_lookup(path, &r->cgroup_id, &r->cgroup_level)) {
		diag_error(d, NULL, NULL, "cgroup %s: %s", path,
			   errno == ENODEV ? "no cgroup v2 is mounted" : strerror(errno));
		return;
	}
	one.id = r->cgroup_id;
	for (one.hook = FW_HOOK_CGROUP_INGRESS; one.hook < FW_HOOK_COUNT; one.hook++)
		add(t, one);
}

static int by_hook(const void *x, const void *y)
{
	const struct target *a = x, *b = y;

	return a->hook != b->hook ? (int)a->hook - (int)b->hook : strcmp(a->name, b->name);
}

void attach_plan(struct diag *d, const struct attach *a, struct resolved *r, struct targets *t)
{
	memset(t, 0, sizeof(*t));
	if (a->n_interfaces || a->host)
		plan_ifaces(d, a, r, t);
	if (a->cgroup || !(a->n_interfaces || a->host))
		plan_cgroup(d, a->cgroup ? a->cgroup : "/", r, t);
	if (t->n)
		qsort(t->list, t->n, sizeof(*t->list), by_hook);
}

bool targets_have(const struct targets *t, const struct target *one)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->list[i].hook == one->hook && t->list[i].ifindex == one->ifindex && t->list[i].id == one->id)
			return true;
	return false;
}

void targets_free(struct targets *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->list[i].name);
	free(t->list);
	memset(t, 0, sizeof(*t));
}

/* User and cgroup are known to the cgroup hooks alone. Without them, or with TC seeing packets of sockets that
 * are outside of their cgroup, a rule on these fields can't be decided anywhere. */
void attach_check(struct diag *d, const struct policy *p, const struct resolved *r, const struct targets *t)
{
	const struct target *tc = NULL;
	bool cgroup = r->cgroup_id != 0;

	for (size_t i = 0; i < t->n && !tc; i++)
		if (t->list[i].hook == FW_HOOK_TC_EGRESS)
			tc = &t->list[i];
	if (!tc || (cgroup && r->cgroup_level == 0))
		return;
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct rule *rule = &p->rules[i];
		enum rule_key key = rule->n_users ? RK_USERS : RK_CGROUPS;

		if (!rule->n_users && !rule->n_cgroups)
			continue;
		diag_error(d, &rule->keys[key], rule->name,
			   "%s is not known at hook tc_egress on %s, and no later hook sees %s; attach the cgroup root (-g /)",
			   key == RK_USERS ? "users" : "cgroups", tc->name,
			   cgroup ? "sockets outside the attached cgroup" : "the packet");
	}
}
