/* SPDX-License-Identifier: GPL-2.0-only */
#include "stat_expect.h"

#include <string.h>

#include "diag.h"
#include "ir.h"
#include "policy_digest.h"

int stat_expect(struct expected *e)
{
	bool input = !strcmp(e->file, "-");
	FILE *f = input ? stdin : fopen(e->file, "re");
	struct policy *p;
	struct diag d;

	if (!f) {
		complain("cannot open %s: %m", e->file);
		return EXIT_SYSTEM;
	}
	diag_init(&d, "fwstat");
	d.quiet = true;
	p = ir_read(&d, f, input ? "<stdin>" : e->file);
	if (!input)
		fclose(f);
	e->unread = !p;
	if (p) {
		e->attach = p->attach.given;
		policy_digests(p, e->policy, e->attached);
		policy_free(p);
	}
	return diag_status(&d) == EXIT_SYSTEM ? EXIT_SYSTEM : EXIT_DONE;
}
