/* SPDX-License-Identifier: GPL-2.0-only */
#include "ir.h"

struct policy *ir_read(struct diag *d, FILE *f, const char *name)
{
	struct policy_input in = {.lang = LANG_IR, .file = name};
	struct arena *a = arena_new();
	unsigned int before = d->errors;
	struct set_input *sets = NULL;
	struct policy *p = NULL;

	in.root = ir_tree(a, d, f, name, &sets, &in.n_sets);
	in.sets = sets;
	if (in.root)
		p = policy_read(d, a, &in);
	if (!p) {
		arena_free(a);
		return NULL;
	}
	policy_check(d, p);
	/* the tree may have had errors that policy_read() doesn't know of, such as a duplicate key */
	if (d->errors > before) {
		policy_free(p);
		return NULL;
	}
	return p;
}
