/* SPDX-License-Identifier: GPL-2.0-only */
/* fwstat: fill levels, counters and hooks of a loaded instance: pinned maps in, a table, JSON or metrics out.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "lib/diag.h"
#include "lib/field_value.h"
#include "lib/kern_flow_list.h"
#include "lib/kern_gauge.h"
#include "lib/out_flows.h"
#include "lib/out_stat.h"
#include "lib/save_file.h"
#include "lib/stat_check.h"

static const char usage_text[] =
	"usage: fwstat [-hqvV] [-N INSTANCE] [-o table|json|prometheus] [-O FILE] [--watch SECS]\n"
	"       fwstat --check [-N INSTANCE] [-w PCT] [-c PCT] [--expect FILE]\n"
	"       fwstat --flows [-N INSTANCE] [-o table|json] [-O FILE] [--watch SECS] [FILTER]...\n"
	"Show how full the maps of a loaded firewall are, what its rules counted, and whether its hooks "
	"still protect.\n"
	"\n"
	"  -N, --instance INSTANCE  instance to show (default: " INSTANCE_DEFAULT ")\n"
	"  -o, --output FORMAT      table (default), json: one object on a line, or prometheus: metrics\n"
	"  -O, --output-file FILE   write to FILE, which is replaced as a whole or not at all\n"
	"      --watch SECS         again every SECS seconds, until interrupted\n"
	"      --check              one line and exit status 0-3 as a monitoring plugin\n"
	"  -w PCT, -c PCT           with --check: warning and critical fill levels (default: 80, 95)\n"
	"      --expect FILE        with --check: the policy that should be loaded, as fwc writes it ('-': standard input)\n"
	"      --flows              the live flows instead; as JSON one a line. FILTERs are fwmon's, and the state:\n"
	"                           --rule NAME, --proto NAME|NUMBER, --src CIDR, --dst CIDR, --port PORT,\n"
	"                           --direction ingress|egress, --interface NAME, --cgroup PATH|ID, --state STATE\n"
	"  -q, --quiet              no notes\n"
	"  -v, --verbose            the whole digest in the table\n"
	"  -h, --help               this text\n"
	"  -V, --version            the version\n"
	"\n"
	"exit status: 0 done, 1 a hook no longer protects or no policy is active, 2 usage, 3 the system "
	"refused\n"
	"examples: fwstat -o json | jq '.rules[] | select(.packets_denied > 0) | .name'\n"
	"          fwstat --flows --state established --port 22\n";

#define WATCH_MAX 86400 /* seconds */

struct request {
	const char *instance, *file;
	const char *output; /* -o, or NULL */
	const struct out_format *format;
	const struct out_flows_format *flows; /* --flows, or NULL */
	struct flow_filter filter;
	struct out_style style;
	struct check_limits limits;
	uint64_t watch; /* seconds; 0: once */
	bool check, limited, filtered, quiet;
};

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

static void print_and_exit(const char *text)
{
	fputs(text, stdout);
	exit(fflush(stdout) ? EXIT_SYSTEM : EXIT_DONE);
}

static void find_format(struct request *r)
{
	if (!r->output)
		return;
	if (r->flows) {
		for (r->flows = out_flows_formats; r->flows->name && strcmp(r->flows->name, r->output);)
			r->flows++;
		if (!r->flows->name)
			die(EXIT_USAGE, "-o %s: expected table or json with --flows", r->output);
		return;
	}
	while (r->format->name && strcmp(r->format->name, r->output))
		r->format++;
	if (!r->format->name)
		die(EXIT_USAGE, "-o %s: expected table, json or prometheus", r->output);
}

static uint64_t number(const char *option, const char *text, uint64_t max)
{
	const char *why;
	uint64_t n;

	why = parse_uint(text, max, &n);
	if (why)
		die(EXIT_USAGE, "%s %s: %s", option, text, why);
	return n;
}

enum { OPT_CHECK = 256, OPT_WATCH, OPT_HTTP, OPT_FLOWS, OPT_EXPECT, OPT_FILTER };

static void add_filter(struct request *r, const char *key)
{
	const char *why = flow_filter_add(&r->filter, key, optarg);

	if (why)
		die(EXIT_USAGE, "--%s %s: %s", key, optarg, why);
	r->filtered = true;
}

static void read_option(struct request *r, int c, const char *name)
{
	switch (c) {
	case 'N':
		r->instance = optarg;
		break;
	case 'o':
		r->output = optarg;
		break;
	case 'O':
		r->file = optarg;
		break;
	case 'w':
	case 'c':
		*(c == 'w' ? &r->limits.warning : &r->limits.critical) =
			(double)number(c == 'w' ? "-w" : "-c", optarg, 100) / 100;
		r->limited = true;
		break;
	case 'q':
		r->quiet = true;
		break;
	case 'v':
		r->style.verbose = true;
		break;
	case OPT_CHECK:
		r->check = true;
		break;
	case OPT_WATCH:
		r->watch = number("--watch", optarg, WATCH_MAX);
		if (!r->watch)
			die(EXIT_USAGE, "--watch 0: expected at least 1 second");
		break;
	case OPT_FLOWS:
		r->flows = out_flows_formats;
		break;
	case OPT_EXPECT:
		r->limits.expect.file = optarg;
		break;
	case OPT_FILTER:
		add_filter(r, name);
		break;
	case OPT_HTTP:
		die(EXIT_USAGE, "--http is not supported yet");
	case 'h':
		print_and_exit(usage_text);
		break;
	case 'V':
		print_and_exit("fwstat " FW_VERSION "\n");
		break;
	default:
		fputs("Try 'fwstat --help'.\n", stderr);
		exit(EXIT_USAGE);
	}
}

static void read_arguments(struct request *r, int argc, char **argv)
{
	static const struct option longs[] = {
		{"instance", required_argument, NULL, 'N'},
		{"output", required_argument, NULL, 'o'},
		{"output-file", required_argument, NULL, 'O'},
		{"check", no_argument, NULL, OPT_CHECK},
		{"watch", required_argument, NULL, OPT_WATCH},
		{"http", no_argument, NULL, OPT_HTTP},
		{"flows", no_argument, NULL, OPT_FLOWS},
		{"expect", required_argument, NULL, OPT_EXPECT},
		{"rule", required_argument, NULL, OPT_FILTER},
		{"proto", required_argument, NULL, OPT_FILTER},
		{"src", required_argument, NULL, OPT_FILTER},
		{"dst", required_argument, NULL, OPT_FILTER},
		{"port", required_argument, NULL, OPT_FILTER},
		{"direction", required_argument, NULL, OPT_FILTER},
		{"interface", required_argument, NULL, OPT_FILTER},
		{"cgroup", required_argument, NULL, OPT_FILTER},
		{"state", required_argument, NULL, OPT_FILTER},
		{"warning", required_argument, NULL, 'w'},
		{"critical", required_argument, NULL, 'c'},
		{"quiet", no_argument, NULL, 'q'},
		{"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{},
	};
	int c, index = 0;

	argv[0] = program_invocation_short_name; /* for getopt's messages */
	while ((c = getopt_long(argc, argv, "N:o:O:w:c:qvhV", longs, &index)) != -1)
		read_option(r, c, longs[index].name);
	find_format(r);
	if (optind < argc)
		die(EXIT_USAGE, "unexpected argument '%s'", argv[optind]);
	if (r->limited && !r->check)
		die(EXIT_USAGE, "-w and -c belong to --check");
	if (r->limits.expect.file && !r->check)
		die(EXIT_USAGE, "--expect belongs to --check");
	if (r->check && (r->output || r->file || r->watch || r->flows))
		die(EXIT_USAGE, "--check has an output of its own: without -o, -O, --watch and --flows");
	if (r->filtered && !r->flows)
		die(EXIT_USAGE, "filters belong to --flows");
	if (r->limits.warning > r->limits.critical)
		die(EXIT_USAGE, "-w %g is above -c %g", 100 * r->limits.warning, 100 * r->limits.critical);
}

/* look(r, g, why, len): the line, on standard output; ${*why} is to be free()d. */
static enum check_state look(struct request *r, struct gauges *g, char **why, size_t *len)
{
	FILE *terminal = stderr, *collect = open_memstream(why, len);
	enum check_state state = CHECK_UNKNOWN;
	int status = 0;

	if (collect)
		stderr = collect;
	if (r->limits.expect.file)
		status = stat_expect(&r->limits.expect);
	if (!status)
		status = gauges_read(g, r->instance, GAUGE_CHECK);
	stderr = terminal;
	if (collect)
		fclose(collect);
	if (!status)
		return stat_check(stdout, g, &r->limits);
	if (g->damaged || view_lacks(r->instance))
		state = CHECK_CRITICAL;
	return stat_check_failed(stdout, state, !*why ? "" : *why + (strncmp(*why, "fwstat: ", 8) ? 0 : 8));
}

/* What a plugin has to say goes to standard output, complaints of the library included: they are collected. */
static int check(struct request *r)
{
	char *why = NULL;
	size_t len = 0;
	struct gauges g = {};
	enum check_state state = look(r, &g, &why, &len);

	gauges_free(&g);
	free(why);
	return fflush(stdout) ? CHECK_UNKNOWN : (int)state;
}

/* What is to be printed: one of the two. */
struct shown {
	const struct gauges *g;
	const struct flow_view *flows;
};

static int print(const struct request *r, FILE *f, const struct shown *s, const struct out_style *style)
{
	struct flow_list l;

	if (r->flows) {
		l = flow_view_list(s->flows, &r->filter);
		return out_flows(f, r->flows, &l, style->colour, &stop);
	}
	r->format->print(f, s->g, style);
	return ferror(f) ? -1 : 0;
}

static int print_file(const struct request *r, const struct shown *shown)
{
	const struct out_style plain = {.verbose = r->style.verbose};
	struct save_file s;

	if (save_open(&s, r->file)) {
		complain("cannot write %s: %m", r->file);
		return EXIT_SYSTEM;
	}
	if (print(r, s.f, shown, &plain)) {
		complain("cannot write %s: %m", r->file);
		save_abort(&s);
		return EXIT_SYSTEM;
	}
	if (save_commit(&s)) {
		complain("cannot write %s: %m", r->file);
		return EXIT_SYSTEM;
	}
	return 0;
}

static int print_stdout(const struct request *r, const struct shown *s)
{
	struct out_style style = r->style;
	const char *no_colour = getenv("NO_COLOR");
	bool terminal = isatty(STDOUT_FILENO);
	struct winsize size;

	if (terminal && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		style.width = size.ws_col;
	style.colour = terminal && !(no_colour && *no_colour);
	if (r->watch && terminal && (r->flows ? r->flows->print == out_flows_table : r->format->print == out_stat_table))
		fputs("\033[H\033[2J", stdout);
	if (print(r, stdout, s, &style) || fflush(stdout)) {
		complain("cannot write to standard output: %m");
		return EXIT_SYSTEM;
	}
	return 0;
}

/* judge(r, g): EXIT_JUDGED when traffic passes that somebody believes to be filtered. */
static int judge(const struct request *r, const struct gauges *g)
{
	if (gauges_sound(g))
		return 0;
	if (!g->word.active && !r->quiet)
		complain("instance %s: no policy is active: everything passes", g->instance);
	else if (!g->n_hooks && !r->quiet)
		complain("instance %s: no hook is attached", g->instance);
	for (size_t i = 0; i < g->n_tamper && !r->quiet; i++)
		complain("instance %s: %s", g->instance, g->tamper[i].text);
	for (size_t i = 0; i < g->n_hooks; i++)
		if (!g->hooks[i].up && !r->quiet)
			complain("hook %s on %s no longer protects: %s", g->hooks[i].hook, g->hooks[i].target,
				 g->hooks[i].detail);
	return EXIT_JUDGED;
}

static int show_flows(const struct request *r)
{
	struct view v = VIEW_NONE;
	struct flow_view flows = {};
	const struct shown s = {.flows = &flows};
	int status = view_open(&v, r->instance, VIEW_WATCH);

	if (!status)
		status = flow_view_open(&flows, &v, FLOW_LIST);
	if (!status)
		status = r->file ? print_file(r, &s) : print_stdout(r, &s);
	flow_view_close(&flows);
	view_close(&v);
	return status;
}

static int show(const struct request *r)
{
	struct gauges g;
	const struct shown s = {.g = &g};
	int status;

	if (r->flows)
		return show_flows(r);
	status = gauges_read(&g, r->instance, GAUGE_SHOW);
	if (!status)
		status = r->file ? print_file(r, &s) : print_stdout(r, &s);
	if (!status)
		status = judge(r, &g);
	gauges_free(&g);
	return status;
}

/* Hooks that went down don't end a watch, what can't be read does. */
static int watch(const struct request *r)
{
	const struct sigaction end = {.sa_handler = on_signal};
	struct timespec next;
	int status;

	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	clock_gettime(CLOCK_MONOTONIC, &next);
	do {
		status = show(r);
		next.tv_sec += (time_t)r->watch;
		if (status == EXIT_DONE || status == EXIT_JUDGED)
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	} while (!stop && (status == EXIT_DONE || status == EXIT_JUDGED));
	return status;
}

int main(int argc, char **argv)
{
	struct request r = {
		.instance = INSTANCE_DEFAULT,
		.format = &out_formats[0],
		.limits = {.warning = 0.8, .critical = 0.95},
	};
	int status;

	read_arguments(&r, argc, argv);
	if (r.check)
		return check(&r);
	status = r.watch ? watch(&r) : show(&r);
	flow_filter_free(&r.filter);
	return status;
}
