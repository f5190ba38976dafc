/* SPDX-License-Identifier: GPL-2.0-only */
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "kern_link.h"
#include "resolve.h"
#include "tables_build.h"

void targets_of_meta(const struct meta *m, struct targets *t)
{
	t->list = xalloc(m->head->n_links, sizeof(*t->list));
	t->n = 0;
	for (__u32 i = 0; i < m->head->n_links; i++) {
		const struct fw_meta_link *l = &m->links[i];
		const char *name = meta_string(m, l->target);

		if (l->hook >= FW_HOOK_COUNT || !name)
			continue;
		t->list[t->n++] = (struct target){
			.hook = l->hook,
			.name = strdup(name),
			.ifindex = l->ifindex,
			.id = l->target_id,
			.has_link = l->flags & FW_LINK_HEADER,
			.xdp = l->mode == FW_MODE_GENERIC ? XDP_MODE_GENERIC : XDP_MODE_AUTO,
		};
	}
}

static bool is_gone(const struct target *t)
{
	char name[IF_NAMESIZE];
	uint64_t id;
	uint32_t level;

	if (!hook_is_cgroup(t->hook))
		return !if_indextoname(t->ifindex, name);
	return cgroup_lookup(t->name, &id, &level) || id != t->id;
}

void targets_drop_gone(struct targets *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		if (!is_gone(&t->list[i])) {
			t->list[n++] = t->list[i];
			continue;
		}
		complain("%s %s is gone: not attached", hook_name(t->list[i].hook), t->list[i].name);
		free(t->list[i].name);
	}
	t->n = n;
}
