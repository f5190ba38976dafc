/* SPDX-License-Identifier: GPL-2.0-only */
#include "load_ids.h"

#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "tables_build.h"

static void mark(const struct meta *m, bool *used, size_t room)
{
	for (__u32 i = 0; m && i < m->head->n_rules; i++)
		if (m->rules[i].id < room)
			used[m->rules[i].id] = true;
}

/* The first one to name a rule wins. */
static void name_ids(struct names *names, const struct meta *m)
{
	struct where nowhere = { 0 };

	for (__u32 i = 0; m && i < m->head->n_rules; i++) {
		const char *name = meta_string(m, m->rules[i].name);

		if (name)
			names_add(names, name, &nowhere, m->rules[i].id);
	}
}

__u32 *ids_assign(const struct policy *p, struct meta *const *metas, size_t n, bool *fresh, __u32 *n_ids)
{
	__u32 *ids = xalloc(p->n_rules, sizeof(*ids)), next = FW_RULE_ID_FIRST;
	size_t room = FW_RULE_ID_FIRST + p->n_rules + 1;
	struct names names = { 0 };
	bool *used;

	for (size_t i = 0; i < n; i++)
		room += metas[i] ? metas[i]->head->n_rules : 0;
	used = xalloc(room, sizeof(*used));
	for (size_t i = 0; i < n; i++) {
		mark(metas[i], used, room);
		name_ids(&names, metas[i]);
	}
	*n_ids = FW_RULE_ID_FIRST;
	for (size_t i = 0; i < p->n_rules; i++) {
		struct name *old = names_find(&names, p->rules[i].name);

		fresh[i] = !old;
		if (!old)
			while (used[next])
				next++;
		ids[i] = old ? old->value : next++;
		if (ids[i] >= *n_ids)
			*n_ids = ids[i] + 1;
	}
	names_free(&names);
	free(used);
	return ids;
}
