/* SPDX-License-Identifier: GPL-2.0-only */
/* ir_check [all|judged|snapshot|digest|schema|tree]: IR on stdin, canonical IR (or the part or digest asked
 * for) on stdout; exit 1 if it is bad. "tree" reads the JSON alone; "schema" prints the schema and reads
 * nothing. */
#include "lib/ir.h"

#include <stdlib.h>
#include <string.h>

static int print_digest(const struct policy *p)
{
	uint8_t digest[SHA256_LEN];
	struct sha256 s;

	sha256_init(&s);
	ir_digest(p, &s);
	sha256_end(&s, digest);
	for (int i = 0; i < SHA256_LEN; i++)
		printf("%02x", digest[i]);
	return putchar('\n') == EOF ? -1 : 0;
}

static int read_tree(struct diag *d)
{
	struct arena *a = arena_new();
	struct set_input *sets;
	size_t n;
	struct node *root = ir_tree(a, d, stdin, "<stdin>", &sets, &n);

	arena_free(a);
	return root && !diag_failed(d) ? EXIT_DONE : EXIT_JUDGED;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "all";
	struct policy *p;
	struct diag d;
	int err;

	diag_init(&d, "ir_check");
	if (!strcmp(what, "schema"))
		return fputs(ir_schema, stdout) == EOF ? EXIT_SYSTEM : EXIT_DONE;
	if (!strcmp(what, "tree"))
		return read_tree(&d);
	p = ir_read(&d, stdin, "<stdin>");
	diag_finish(&d);
	if (!p)
		return d.io ? EXIT_SYSTEM : EXIT_JUDGED;
	if (!strcmp(what, "digest"))
		err = print_digest(p);
	else
		err = ir_write(p,
			       !strcmp(what, "judged")	   ? IR_JUDGED
			       : !strcmp(what, "snapshot") ? IR_SNAPSHOT
							   : IR_ALL,
			       stdout);
	policy_free(p);
	if (err)
		die(EXIT_SYSTEM, "can't write to standard output: %m");
	return EXIT_DONE;
}
