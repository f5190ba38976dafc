/* SPDX-License-Identifier: GPL-2.0-only */
/* The tables that decide, and those that would if a trial ended, against what the loader wrote down of them. */
#include "kern_gauge.h"

#include <errno.h>
#include <string.h>

#include "diag.h"
#include "image_sum.h"
#include "kern_slot.h"

/* differs(s, m, depth): what is other than loaded, or NULL. */
static const char *differs(const struct slot_view *s, const struct fw_meta *m, enum gauge_depth depth)
{
	if (!s->arena)
		return "are gone";
	if (s->arena->generation != m->generation)
		return "are of another generation";
	if (memcmp(s->arena->digest, m->digest, sizeof(m->digest)))
		return "have another digest";
	if (depth != GAUGE_CHECK || !m->image_sum)
		return NULL;
	if (s->arena->size > s->bytes || image_sum(s->arena, s->arena->size) != m->image_sum)
		return "were written to";
	return NULL;
}

static int look(struct gauges *g, const struct view *v, uint32_t slot, enum gauge_depth depth)
{
	const char *why, *what;
	struct slot_view s;
	struct meta *m;

	errno = 0;
	m = view_meta_slot(v, slot, &why);
	if (!m && errno == ENOMEM) {
		complain("cannot read the names of the policy in slot %u: %s", slot, why);
		return -1;
	}
	if (!m) {
		gauges_tamper(g, "the names of the policy in slot %u can't be read: %s", slot, why);
		return 0;
	}
	if (depth == GAUGE_CHECK ? slot_open(&s, v, slot) : slot_open_header(&s, v, slot)) {
		complain("cannot read slot %u of instance %s: %m", slot, v->instance);
		meta_free(m);
		return -1;
	}
	what = differs(&s, m->head, depth);
	if (what)
		gauges_tamper(g, "the tables of generation %u in slot %u %s", m->head->generation, slot, what);
	slot_close(&s);
	meta_free(m);
	return 0;
}

int gauge_tables(struct gauges *g, const struct view *v, enum gauge_depth depth)
{
	const uint32_t slots[] = {g->word.active, g->word.fallback, g->word.candidate};
	int err = 0;

	for (size_t i = 0; i < sizeof(slots) / sizeof(*slots) && !err; i++)
		if (slots[i])
			err = look(g, v, slots[i], depth);
	return err;
}
