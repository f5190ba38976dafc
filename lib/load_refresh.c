/* SPDX-License-Identifier: GPL-2.0-only */
#include "load_refresh.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ir.h"
#include "kern_load.h"

/* As ir_write() writes a set of which it keeps the size only; in a string the quotation marks would be escaped. */
static const char left_out[] = "\":{\"members\":";

static struct policy *read_snapshot(const struct meta *m, int *status)
{
	const struct fw_meta *head = m->head;
	struct policy *p;
	struct diag d;
	FILE *f;

	*status = EXIT_JUDGED;
	if (!head->ir_len || head->ir + (uint64_t)head->ir_len > m->len) {
		complain("the policy itself isn't kept with this generation: give its file");
		return NULL;
	}
	if (memmem(m->blob + head->ir, head->ir_len, left_out, strlen(left_out))) {
		complain("of its large sets only the size was kept: give the policy's file");
		return NULL;
	}
	f = fmemopen(m->blob + head->ir, head->ir_len, "r");
	if (!f) {
		complain("cannot read the policy that is loaded: %s", strerror(errno));
		*status = EXIT_SYSTEM;
		return NULL;
	}
	diag_init(&d, "fwload");
	d.quiet = true;
	p = ir_read(&d, f, "<loaded policy>");
	diag_finish(&d);
	*status = diag_status(&d);
	fclose(f);
	return p;
}

struct policy *resident_policy(struct load_options *o, int *status)
{
	struct inst in = INST_NONE;
	struct policy *p = NULL;
	struct kern k;

	bool none;

	kern_init(&k, &in);
	*status = inst_open(&in, o->instance, false);
	none = *status == EXIT_JUDGED;
	if (!*status) {
		*status = kern_open(&k);
		none = !*status && !k.meta;
	}
	if (none) {
		complain("instance %s is not loaded: there is nothing to load again", o->instance);
		*status = EXIT_JUDGED;
	}
	if (!*status)
		p = read_snapshot(k.meta, status);
	o->resident = p ? k.active->generation : 0;
	kern_close(&k);
	inst_close(&in);
	return p;
}
