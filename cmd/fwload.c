/* SPDX-License-Identifier: GPL-2.0-only */
/* fwload - IR in, policy enforced */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/field_value.h"
#include "lib/ir.h"
#include "lib/kern_view.h"
#include "lib/load.h"
#include "lib/load_kill.h"
#include "lib/load_refresh.h"
#include "lib/load_trial.h"

static const char usage[] =
	"usage: fwload [-n] [-N INSTANCE] [-i IFACE]... [-g CGROUP] [--xdp MODE] [-W] [--wait DURATION]\n"
	"              [--confirm DURATION [--confirm-from CIDR] | --audit | --refresh | --upgrade]\n"
	"              [--group GROUP] [FILE]\n"
	"       fwload --commit | --rollback | --audit-end | --status | --unload [-N INSTANCE]\n"
	"       fwload --kill-flows FILTER [-n] [-N INSTANCE]\n"
	"Load a compiled policy (fwc's output; standard input when no FILE) into the kernel.\n"
	"  -n, --dry-run         do everything but the switch, say what would change, leave nothing behind\n"
	"  -N, --instance NAME   instance (default: default)\n"
	"  -i, --interface NAME  enforce on this interface or glob, instead of the policy's attach\n"
	"  -g, --cgroup PATH     enforce on this cgroup v2, instead of the policy's attach\n"
	"      --xdp MODE        auto, native, generic or off (off: TC ingress)\n"
	"  -W, --werror          warnings are errors\n"
	"      --group GROUP     members may run fwmon and fwstat on the instance (root: nobody); kept by later loads\n"
	"      --wait DURATION   how long to wait for another fwload (default 5s)\n"
	"      --confirm DURATION   on trial: unless --commit comes in time, the policy before decides again\n"
	"      --confirm-from CIDR  a new TCP connection from there that the new policy allows commits it, too\n"
	"      --commit          the policy on trial stays; exit 1 when that is too late\n"
	"      --rollback        back to the policy before\n"
	"      --audit           compare with what is loaded, which goes on deciding; fwmon shows where they disagree\n"
	"      --audit-end       no longer\n"
	"      --refresh         the loaded policy (or FILE) again: interfaces, cgroups and users that have come or gone\n"
	"      --upgrade         the loaded policy (or FILE) with this version's programs, without a gap\n"
	"      --status          what is loaded; exit 1 when nothing is\n"
	"      --unload          stop filtering and remove the instance\n"
	"      --kill-flows FILTER  end the flows it names: 'all', or KEY=VALUE separated by blanks or commas, as\n"
	"                        src=10.0.0.0/8,port=443; exit 1 when there is none. -n only says how many\n"
	"  -q, --quiet   -v, --verbose   -h, --help   -V, --version\n";

enum {
	OPT_XDP = 256, OPT_WAIT, OPT_STATUS, OPT_UNLOAD, OPT_KILL, OPT_CONFIRM, OPT_CONFIRM_FROM, OPT_COMMIT, OPT_ROLLBACK,
	OPT_AUDIT, OPT_AUDIT_END, OPT_UPGRADE, OPT_REFRESH, OPT_GROUP
};

static const struct option options[] = {
	{ "dry-run", no_argument, NULL, 'n' },	     { "instance", required_argument, NULL, 'N' },
	{ "interface", required_argument, NULL, 'i' }, { "cgroup", required_argument, NULL, 'g' },
	{ "xdp", required_argument, NULL, OPT_XDP },   { "werror", no_argument, NULL, 'W' },
	{ "wait", required_argument, NULL, OPT_WAIT }, { "status", no_argument, NULL, OPT_STATUS },
	{ "unload", no_argument, NULL, OPT_UNLOAD },   { "quiet", no_argument, NULL, 'q' },
	{ "verbose", no_argument, NULL, 'v' },	       { "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },	       { "confirm", required_argument, NULL, OPT_CONFIRM },
	{ "confirm-from", required_argument, NULL, OPT_CONFIRM_FROM }, { "commit", no_argument, NULL, OPT_COMMIT },
	{ "rollback", no_argument, NULL, OPT_ROLLBACK }, { "audit", no_argument, NULL, OPT_AUDIT },
	{ "audit-end", no_argument, NULL, OPT_AUDIT_END },
	{ "refresh", no_argument, NULL, OPT_REFRESH }, { "upgrade", no_argument, NULL, OPT_UPGRADE },
	{ "group", required_argument, NULL, OPT_GROUP }, { "kill-flows", required_argument, NULL, OPT_KILL },
	{ 0 },
};

struct command {
	int (*run)(const struct load_options *o); /* NULL: load */
	const char *run_name;
	struct load_options o;
	const char *file; /* NULL: the policy that is loaded */
	bool refresh;
	const char *kill; /* FILTER of --kill-flows, or NULL */
	struct flow_filter flows;
	struct cidr from; /* of --confirm-from */
	unsigned int gid; /* of --group */
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

static unsigned int read_ms(const char *option, const char *text)
{
	uint32_t seconds;

	if (parse_duration(text, &seconds) || seconds > 4000000) {
		fprintf(stderr, "fwload: %s takes a duration like 5s or 1m, not %s\n%s", option, text, usage);
		exit(EXIT_USAGE);
	}
	return seconds * 1000;
}

static void read_confirm_from(struct command *c, const char *text)
{
	bool masked = false;
	const char *wrong = parse_cidr(text, strlen(text), &c->from, &masked);

	if (wrong)
		die(EXIT_USAGE, "--confirm-from %s: %s", text, wrong);
	if (c->o.confirm_from)
		usage_error("--confirm-from twice: one prefix holds all, ", text);
	c->o.confirm_from = &c->from;
}

static void read_group(struct command *c, const char *text)
{
	const struct group *g = getgrnam(text);
	unsigned long id;
	char *end;

	errno = 0;
	id = g ? g->gr_gid : strtoul(text, &end, 10);
	/* strtoul() takes signs, and the last number means no group */
	if (!g && (*text < '0' || *text > '9' || *end || errno || id >= UINT32_MAX))
		die(EXIT_USAGE, "--group %s: there is no group of this name, nor is it a number of one", text);
	c->gid = (unsigned int)id;
	c->o.group = &c->gid;
}

/* Of several commands the last would win, and nobody knows which was meant. */
static void set_run(struct command *c, const char *name, int (*run)(const struct load_options *o))
{
	if (c->run && c->run != run) {
		fprintf(stderr, "fwload: %s and %s exclude each other\n%s", c->run_name, name, usage);
		exit(EXIT_USAGE);
	}
	c->run = run;
	c->run_name = name;
}

static void read_option(struct command *c, int opt)
{
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
	case OPT_WAIT: c->o.wait_ms = read_ms("--wait", optarg); break;
	case OPT_CONFIRM:
		c->o.confirm_ms = read_ms("--confirm", optarg);
		if (!c->o.confirm_ms)
			usage_error("--confirm 0: nobody can commit in no time", "");
		break;
	case OPT_CONFIRM_FROM: read_confirm_from(c, optarg); break;
	case OPT_COMMIT: set_run(c, "--commit", load_keep); break;
	case OPT_ROLLBACK: set_run(c, "--rollback", load_roll_back); break;
	case OPT_AUDIT: c->o.audit = true; break;
	case OPT_AUDIT_END: set_run(c, "--audit-end", load_audit_end); break;
	case OPT_UPGRADE: c->o.upgrade = true; break;
	case OPT_REFRESH: c->refresh = true; break;
	case OPT_STATUS: set_run(c, "--status", load_status); break;
	case OPT_UNLOAD: set_run(c, "--unload", load_unload); break;
	case OPT_KILL: add_kill(c, optarg); break;
	case OPT_GROUP: read_group(c, optarg); break;
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

/* What can't be meant together. */
static void check_options(const struct command *c)
{
	bool loads = !c->run && !c->kill;

	if (c->o.confirm_from && !c->o.confirm_ms)
		usage_error("--confirm-from needs --confirm", "");
	if (c->o.audit && c->o.confirm_ms)
		usage_error("--audit and --confirm exclude each other: first the one, then the other", "");
	if (!loads && (c->o.audit || c->o.confirm_ms || c->o.upgrade || c->refresh || c->o.group))
		usage_error("--confirm, --audit, --refresh, --upgrade and --group are for loading", "");
	if (c->run && c->run != load_status && c->o.dry_run) {
		fprintf(stderr, "fwload: -n is for loading and for --kill-flows, not for %s\n%s", c->run_name, usage);
		exit(EXIT_USAGE);
	}
	if ((c->o.upgrade || c->refresh) && (c->o.audit || c->o.confirm_ms))
		usage_error("--refresh and --upgrade stand without --audit and --confirm", "");
}

static void read_command(struct command *c, int argc, char **argv)
{
	int opt;

	*c = (struct command){ .o = { .instance = INSTANCE_DEFAULT, .wait_ms = 5000 } };
	while ((opt = getopt_long(argc, argv, "nN:i:g:WqvhV", options, NULL)) != -1)
		read_option(c, opt);
	if (c->kill && c->run)
		usage_error("--kill-flows stands without ", c->run_name);
	check_options(c);
	if (argc - optind > 1 || ((c->run || c->kill) && argc > optind))
		usage_error("too many arguments: ", argv[optind + (c->run || c->kill ? 0 : 1)]);
	c->file = optind < argc ? argv[optind] : c->refresh || c->o.upgrade ? NULL : "-";
}

static struct policy *read_policy(struct command *c, int *status)
{
	bool is_stdin = c->file && !strcmp(c->file, "-");
	struct policy *p;
	struct diag d;
	FILE *f;

	if (!c->file)
		return resident_policy(&c->o, status);
	f = is_stdin ? stdin : fopen(c->file, "re");
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
	do {
		p = read_policy(&c, &status);
		if (p && !status)
			status = load_policy(p, &c.o);
		policy_free(p);
	} while (status == LOAD_AGAIN);
	free(c.o.attach.interfaces);
	return status;
}
