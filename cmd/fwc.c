/* SPDX-License-Identifier: GPL-2.0-only */
/* fwc: policy (YAML) in, IR (JSON) out. Needs no privilege and no kernel. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "lib/ir.h"
#include "lib/policy_stats.h"
#include "lib/save_file.h"
#include "lib/yaml_tree.h"

static const char help[] =
	"usage: fwc [-cWqv] [-o FILE] [--stats] [FILE...]\n"
	"       fwc --schema\n"
	"Compile a firewall policy (YAML, see fw-policy(5)) to its IR (JSON, see fw-ir(5)) on standard "
	"output.\n"
	"Without FILE, or with -, read standard input. The first FILE is the policy; more of them are taken "
	"as if it\n"
	"included them: only their sets and rules count, and at equal priority these come first.\n"
	"\n"
	"  -c, --check        check only, write nothing\n"
	"  -W                 warnings are errors\n"
	"  -o, --output FILE  write to FILE, which is replaced as a whole or not at all\n"
	"      --stats        what is in the policy, on standard error\n"
	"      --schema       print the JSON Schema of the IR\n"
	"  -q, --quiet        no warnings\n"
	"  -v, --verbose      say what was done\n"
	"  -h, --help         this text\n"
	"  -V, --version      the version\n"
	"\n"
	"exit status: 0 done, 1 the policy is bad, 2 usage, 3 a file could not be read or written\n"
	"example: fwc rules.yaml | fwload\n";

struct options {
	bool check, stats, verbose;
	const char *output;
	char **files;
	int n_files;
};

/* Print ${text}: all that was asked for. */
static void print_and_exit(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout) == EOF)
		die(EXIT_SYSTEM, "can't write to standard output: %s", strerror(errno));
	exit(EXIT_DONE);
}

static struct options parse_options(int argc, char **argv, struct diag *d)
{
	enum { OPT_STATS = 256, OPT_SCHEMA };
	static const struct option longs[] = {
		{"check", no_argument, NULL, 'c'},
		{"output", required_argument, NULL, 'o'},
		{"stats", no_argument, NULL, OPT_STATS},
		{"schema", no_argument, NULL, OPT_SCHEMA},
		{"quiet", no_argument, NULL, 'q'},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	struct options o = {0};
	int c;

	argv[0] = program_invocation_short_name; /* for getopt's messages */
	while ((c = getopt_long(argc, argv, "cOWo:qvhV", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o.check = true;
			break;
		case 'O':
			die(EXIT_USAGE, "-O is not supported yet");
		case 'W':
			d->werror = true;
			break;
		case 'o':
			o.output = optarg;
			break;
		case OPT_STATS:
			o.stats = true;
			break;
		case OPT_SCHEMA:
			print_and_exit(ir_schema);
			break;
		case 'q':
			d->quiet = true;
			break;
		case 'v':
			o.verbose = true;
			break;
		case 'h':
			print_and_exit(help);
			break;
		case 'V':
			print_and_exit("fwc " FW_VERSION "\n");
			break;
		default:
			fputs("Try 'fwc --help'.\n", stderr);
			exit(EXIT_USAGE);
		}
	}
	o.files = argv + optind;
	o.n_files = argc - optind;
	return o;
}

/* ${path} is named by a policy at ${named}, or by the command line, where "-" is standard input. */
static struct node *load(struct arena *a, struct diag *d, const char *path, const struct where *named)
{
	bool from_stdin = !named->file && !strcmp(path, "-");
	FILE *f = from_stdin ? stdin : fopen(path, "re");
	struct node *root;

	if (!f) {
		diag_error(d, named, NULL, "can't read \"%s\": %s", path, strerror(errno));
		d->io = true;
		return NULL;
	}
	root = yaml_read(a, d, f, from_stdin ? "<stdin>" : path);
	if (!from_stdin)
		fclose(f);
	return root;
}

static struct policy *compile(struct diag *d, const struct options *o)
{
	const struct where command_line = {0};
	const char *first = o->n_files ? o->files[0] : "-";
	struct policy_input in = {.lang = LANG_YAML, .load = load};
	struct arena *a = arena_new();
	struct policy *p = NULL;

	in.file = strcmp(first, "-") ? first : "<stdin>";
	in.root = load(a, d, first, &command_line);
	if (o->n_files > 1) {
		in.more = (const char *const *)o->files + 1;
		in.n_more = o->n_files - 1;
	}
	if (in.root)
		p = policy_read(d, a, &in);
	if (p)
		policy_check(d, p);
	else
		arena_free(a);
	return p;
}

static void write_ir(const struct policy *p, const char *output)
{
	static char buffer[256 << 10];
	struct save_file s;

	if (!output) {
		setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
		if (ir_write(p, IR_ALL, stdout) < 0)
			die(EXIT_SYSTEM, "can't write to standard output: %s", strerror(errno));
		return;
	}
	if (save_open(&s, output) < 0)
		die(EXIT_SYSTEM, "can't write \"%s\": %s", output, strerror(errno));
	setvbuf(s.f, buffer, _IOFBF, sizeof(buffer));
	if (ir_write(p, IR_ALL, s.f) < 0) {
		save_abort(&s);
		die(EXIT_SYSTEM, "can't write \"%s\": %s", output, strerror(errno));
	}
	if (save_commit(&s) < 0)
		die(EXIT_SYSTEM, "can't write \"%s\": %s", output, strerror(errno));
}

int main(int argc, char **argv)
{
	struct diag d;
	struct options o;
	struct policy *p;

	diag_init(&d, "fwc");
	o = parse_options(argc, argv, &d);
	p = compile(&d, &o);
	if (p && o.stats)
		policy_stats(p, stderr);
	if (p && !diag_failed(&d) && !o.check)
		write_ir(p, o.output);
	if (p && o.verbose && !diag_failed(&d))
		complain("%zu rules, %zu sets, %u warnings", p->n_rules, p->n_sets, d.warnings);
	diag_finish(&d);
	policy_free(p);
	return diag_status(&d);
}
