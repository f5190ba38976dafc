/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>
#include <string.h>

#include "kern_link.h"
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
