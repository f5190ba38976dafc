/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs at hooks against what was loaded. */
#ifndef FW_KERN_GAUGE_PROGS_H
#define FW_KERN_GAUGE_PROGS_H

#include "kern_view.h"

#define PINS_MAX 64

struct pinned {
	char name[32];
	uint32_t id;
};
struct pins {
	struct pinned list[PINS_MAX];
	size_t n;
};
struct gauge_pins {
	struct pins maps, progs;
};

/* pins_maps(p, v), pins_progs(p, v): the maps that programs work on, and the programs. What can't be read is left out. */
void pins_maps(struct pins *p, const struct view *v);
void pins_progs(struct pins *p, const struct view *v);

/* An empty text: none. */
struct prog_doubt {
	char text[120];
};

/* prog_check(p, l, id): why the program ${id}, which is at the hook ${l}, is not the one that was loaded. */
struct prog_doubt prog_check(const struct gauge_pins *p, const struct fw_meta_link *l, uint32_t id);

/* progs_before(l, id): programs of others that see a packet before ${id} does, and can let it pass without asking it. That is
 * so only with tcx: XDP has one program, of those at a cgroup each must agree, and clsact filters are not looked at. */
unsigned int progs_before(const struct fw_meta_link *l, uint32_t id);

#endif
