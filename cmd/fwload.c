/* SPDX-License-Identifier: GPL-2.0-only */
/* fwload - IR in, policy enforced */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/field_value.h"
#include "lib/ir.h"
#include "lib/kern_view.h"
#include "lib/load.h"
#include "lib/load_kill.h"

static const char usage[] =
	"usage: fwload [-n] [-N INSTANCE] [-i IFACE]... [-g CGROUP] [--xdp MODE] [-W] [--wait DURATION] [FILE]\n"
	"       fwload --status | --unload [-N INSTANCE]\n"
	"       fwload --kill-flows FILTER [-n] [-N INSTANCE]\n"
	"Load a compiled policy (fwc's output; standard input when no FILE) into the kernel.\n"
	"  -n, --dry-run         do everything but the switch, say what would change, leave nothing behind\n"
	"  -N, --instance NAME   instance (default: default)\n"
	"  -i, --interface NAME  enforce on this interface or glob, instead of the policy's attach\n"
	"  -g, --cgroup PATH     enforce on this cgroup v2, instead of the policy's attach\n"
	"      --xdp MODE        auto, native, generic or off (off: TC ingress)\n"
	"  -W, --werror          warnings are errors\n"
	"      --wait DURATION   how long to wait for another fwload (default 5s)\n"
	"      --status          what is loaded; exit 1 when nothing is\n"
	"      --unload          stop filtering and remove the instance\n"
	"      --kill-flows FILTER  end the flows it names: 'all', or KEY=VALUE separated by blanks or commas, as\n"
	"                        src=10.0.0.0/8,port=443; exit 1 when there is none. -n only says how many\n"
	"  -q, --quiet   -v, --verbose   -h, --help   -V, --version\n";

enum { OPT_XDP = 256, OPT_WAIT, OPT_STATUS, OPT_UNLOAD, OPT_KILL, OPT_LATER };

static const struct option options[] = {
	{ "dry-run", no_argument, NULL, 'n' },	     { "instance", required_argument, NULL, 'N' },
	{ "interface", required_argument, NULL, 'i' }, { "cgroup", required_argument, NULL, 'g' },
	{ "xdp", required_argument, NULL, OPT_XDP },   { "werror", no_argument, NULL, 'W' },
	{ "wait", required_argument, NULL, OPT_WAIT }, { "status", no_argument, NULL, OPT_STATUS },
	{ "unload", no_argument, NULL, OPT_UNLOAD },   { "quiet", no_argument, NULL, 'q' },
	{ "verbose", no_argument, NULL, 'v' },	       { "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },	       { "confirm", required_argument, NULL, OPT_LATER },
	{ "confirm-from", required_argument, NULL, OPT_LATER }, { "commit", no_argument, NULL, OPT_LATER },
	{ "rollback", no_argument, NULL, OPT_LATER },  { "audit", no_argument, NULL, OPT_LATER },
	{ "refresh", no_argument, NULL, OPT_LATER },   { "upgrade", no_argument, NULL, OPT_LATER },
	{ "group", required_argument, NULL, OPT_LATER }, { "kill-flows", required_argument, NULL, OPT_KILL },
	{ 0 },
};

struct command {
	int (*run)(const struct load_options *o); /* NULL: load */
	struct load_options o;
	const char *file;
	const char *kill; /* FILTER of --kill-flows, or NULL */
	struct flow_filter flows;
};

static void usage_error(const char *text, const char *what)
{
	fprintf(stderr, "fwload: %s%s\n%s", text, what, usage);
	exit(EXIT_USAGE);
}

static enum fw_xdp_mode parse_xdp(const char *s)
{
	for (enum fw_xdp_mode m = XDP_MODE_AUTO; m <= XDP_MODE_OFF; m++)
		if (!strcmp(s, xdp_mode_name(m)))
			return m;
	usage_error("--xdp takes auto, native, generic or off, not ", s);
	return XDP_MODE_AUTO;
}

static void add_iface(struct attach *a, char *name)
{
	a->interfaces = realloc(a->interfaces, (a->n_interfaces + 1) * sizeof(*a->interfaces));
	if (!a->interfaces)
		die(EXIT_SYSTEM, "out of memory");
	a->interfaces[a->n_interfaces++] = name;
	a->given = true;
}

static void add_kill(struct command *c, const char *filter)
{
	char why[512];

	/* the second of two would be taken for more of the same by some, for instead of the first by others */
	if (c->kill)
		usage_error("--kill-flows twice: one FILTER holds all, ", filter);
	c->kill = filter;
	if (flow_filter_parse(&c->flows, filter, why, sizeof(why)))
		die(EXIT_USAGE, "--kill-flows %s", why);
}

static void read_option(struct command *c, int opt)
{
	uint32_t seconds;

	switch (opt) {
	case 'n': c->o.dry_run = true; break;
	case 'N': c->o.instance = optarg; break;
	case 'i': add_iface(&c->o.attach, optarg); break;
	case 'g':
		c->o.attach.cgroup = optarg;
		c->o.attach.given = true;
		break;
	case OPT_XDP:
		c->o.attach.xdp = parse_xdp(optarg);
		c->o.xdp_given = true;
		break;
	case 'W': c->o.werror = true; break;
	case 'q': c->o.quiet = true; break;
	case 'v': c->o.verbose = true; break;
	case OPT_WAIT:
		if (parse_duration(optarg, &seconds) || seconds > 4000000)
			usage_error("--wait takes a duration like 5s or 1m, not ", optarg);
		c->o.wait_ms = seconds * 1000;
		break;
	case OPT_STATUS: c->run = load_status; break;
	case OPT_UNLOAD: c->run = load_unload; break;
	case OPT_KILL: add_kill(c, optarg); break;
	case OPT_LATER: die(EXIT_USAGE, "this option is not supported yet");
	case 'h':
		fputs(usage, stdout);
		exit(fflush(stdout) ? EXIT_SYSTEM : EXIT_DONE);
	case 'V':
		puts("fwload " FW_VERSION);
		exit(fflush(stdout) ? EXIT_SYSTEM : EXIT_DONE);
	default:
		fputs(usage, stderr);
		exit(EXIT_USAGE);
	}
}

static void read_command(struct command *c, int argc, char **argv)
{
	int opt;

	*c = (struct command){ .o = { .instance = INSTANCE_DEFAULT, .wait_ms = 5000 } };
	while ((opt = getopt_long(argc, argv, "nN:i:g:WqvhV", options, NULL)) != -1)
		read_option(c, opt);
	if (c->kill && c->run)
		usage_error("--kill-flows stands without --status and --unload", "");
	if (argc - optind > 1 || ((c->run || c->kill) && argc > optind))
		usage_error("too many arguments: ", argv[optind + (c->run || c->kill ? 0 : 1)]);
	c->file = optind < argc ? argv[optind] : "-";
}

static struct policy *read_policy(const struct command *c, int *status)
{
	bool is_stdin = !strcmp(c->file, "-");
	FILE *f = is_stdin ? stdin : fopen(c->file, "re");
	struct policy *p;
	struct diag d;

	if (!f)
		die(EXIT_SYSTEM, "cannot open %s: %s", c->file, strerror(errno));
	diag_init(&d, "fwload");
	d.werror = c->o.werror;
	d.quiet = true; /* fwc has said its warnings */
	p = ir_read(&d, f, is_stdin ? "<stdin>" : c->file);
	diag_finish(&d);
	*status = diag_status(&d);
	if (!is_stdin)
		fclose(f);
	return p;
}

int main(int argc, char **argv)
{
	struct command c;
	struct policy *p;
	int status;

	read_command(&c, argc, argv);
	if (c.run)
		return c.run(&c.o);
	if (c.kill) {
		status = load_kill_flows(&c.o, &c.flows);
		flow_filter_free(&c.flows);
		return status;
	}
	p = read_policy(&c, &status);
	if (p && !status)
		status = load_policy(p, &c.o);
	policy_free(p);
	free(c.o.attach.interfaces);
	return status;
}
