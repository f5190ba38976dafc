/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_view_names.h"

#include <stddef.h>

int view_names(const struct view *v, struct event_names *n)
{
	struct word_view w = view_word(v);
	const uint32_t slots[] = {w.active, w.fallback, w.candidate, w.tried};
	const char *why;

	for (size_t i = 0; i < sizeof(slots) / sizeof(*slots); i++) {
		struct meta *m = slots[i] ? view_meta_slot(v, slots[i], &why) : NULL;

		if (!m)
			continue;
		if (event_names_knows(n, m->head->generation))
			meta_free(m);
		else if (event_names_add(n, m))
			return -1;
	}
	return 0;
}
