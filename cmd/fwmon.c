/* SPDX-License-Identifier: GPL-2.0-only */
/* fwmon: the events of a loaded instance, or recorded ones, as lines on standard output. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/diag.h"
#include "lib/field_value.h"
#include "lib/kern_view.h"
#include "lib/mon.h"

static const char usage_text[] =
	"usage: fwmon [-hqvV] [-N INSTANCE] [-o json|text] [-c COUNT] [FILTER]... [FILE]\n"
	"Print firewall events, one a line; from FILE ('-': standard input) those recorded before.\n"
	"  -N INSTANCE           instance to watch (default: " INSTANCE_DEFAULT ")\n"
	"  -o json|text          JSON lines (default), or aligned text for people\n"
	"  -c COUNT              stop after COUNT events\n"
	"  -q, -v                no notes; a summary at the end\n"
	"  -h, -V                this help; the version\n"
	"Filters; of one kind any may hold, of several kinds each must:\n"
	"  --verdict allow|deny|rate_limited     --direction ingress|egress\n"
	"  --rule NAME                           --interface NAME\n"
	"  --reason REASON                       --pid PID\n"
	"  --proto NAME|NUMBER                   --cgroup PATH|ID\n"
	"  --src CIDR, --dst CIDR                --port PORT\n";

#define FILTER_OPTION 256 /* getopt values from here on are filter kinds */
static const struct option options[] = {
	{"instance", required_argument, NULL, 'N'},
	{"output", required_argument, NULL, 'o'},
	{"count", required_argument, NULL, 'c'},
	{"quiet", no_argument, NULL, 'q'},
	{"verbose", no_argument, NULL, 'v'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"verdict", required_argument, NULL, FILTER_OPTION + FILTER_VERDICT},
	{"rule", required_argument, NULL, FILTER_OPTION + FILTER_RULE},
	{"reason", required_argument, NULL, FILTER_OPTION + FILTER_REASON},
	{"proto", required_argument, NULL, FILTER_OPTION + FILTER_PROTO},
	{"src", required_argument, NULL, FILTER_OPTION + FILTER_SRC},
	{"dst", required_argument, NULL, FILTER_OPTION + FILTER_DST},
	{"port", required_argument, NULL, FILTER_OPTION + FILTER_PORT},
	{"direction", required_argument, NULL, FILTER_OPTION + FILTER_DIRECTION},
	{"interface", required_argument, NULL, FILTER_OPTION + FILTER_INTERFACE},
	{"pid", required_argument, NULL, FILTER_OPTION + FILTER_PID},
	{"cgroup", required_argument, NULL, FILTER_OPTION + FILTER_CGROUP},
	{},
};

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

struct request {
	const char *instance, *file;
	bool verbose;
};

static const struct event_printer *find_printer(const char *name)
{
	const struct event_printer *p = event_printers;

	while (p->name && strcmp(p->name, name))
		p++;
	if (!p->name)
		die(EXIT_USAGE, "-o %s: expected json or text", name);
	return p;
}

static void print_and_exit(const char *text)
{
	fputs(text, stdout);
	exit(fflush(stdout) ? EXIT_SYSTEM : EXIT_DONE);
}

static void read_option(struct mon *m, struct request *r, int c, int index)
{
	const char *why;

	switch (c) {
	case 'N':
		r->instance = optarg;
		break;
	case 'o':
		m->printer = find_printer(optarg);
		break;
	case 'c':
		why = parse_uint(optarg, UINT64_MAX, &m->limit);
		if (why || !m->limit)
			die(EXIT_USAGE, "-c %s: %s", optarg, why ? why : "expected at least 1");
		break;
	case 'q':
		m->quiet = true;
		break;
	case 'v':
		r->verbose = true;
		break;
	case 'h':
		print_and_exit(usage_text);
		break;
	case 'V':
		print_and_exit("fwmon " FW_VERSION "\n");
		break;
	case '?':
		fputs("try: fwmon --help\n", stderr);
		exit(EXIT_USAGE);
	default:
		why = filter_add(&m->filter, (enum filter_kind)(c - FILTER_OPTION), optarg);
		if (why)
			die(EXIT_USAGE, "--%s %s: %s", options[index].name, optarg, why);
	}
}

static void read_arguments(struct mon *m, struct request *r, int argc, char **argv)
{
	int c, index = 0;

	while ((c = getopt_long(argc, argv, "N:o:c:qvhV", options, &index)) != -1)
		read_option(m, r, c, index);
	if (argc - optind > 1)
		die(EXIT_USAGE, "unexpected argument '%s'", argv[optind + 1]);
	r->file = argv[optind];
	if (r->file && r->instance)
		die(EXIT_USAGE, "-N and FILE exclude each other");
}

static void prepare(struct mon *m)
{
	const struct sigaction end = {.sa_handler =
					      on_signal}; /* no SA_RESTART: a blocked write must return */
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	const char *no_colour = getenv("NO_COLOR");

	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGPIPE, &ignore, NULL); /* write() says EPIPE, after which the ring is still given back */
	m->colour = isatty(STDOUT_FILENO) && !(no_colour && *no_colour);
	m->stop = &stop;
	if (line_out_init(&m->out, STDOUT_FILENO, EVENT_ROOM_MAX, &stop))
		die(EXIT_SYSTEM, "out of memory");
}

static int finish(struct mon *m, const struct request *r, int status)
{
	line_out_flush(&m->out);
	if (m->out.error) {
		complain("cannot write to standard output: %s", strerror(m->out.error));
		status = EXIT_SYSTEM;
	}
	if (r->verbose)
		complain("%llu events seen, %llu printed, %llu suppressed, %llu lost", (unsigned long long)m->seen,
			 (unsigned long long)m->printed, (unsigned long long)m->suppressed, (unsigned long long)m->lost);
	line_out_free(&m->out);
	filter_free(&m->filter);
	return status;
}

int main(int argc, char **argv)
{
	struct mon m = {.printer = &event_printers[0]};
	struct request r = {};
	int status;

	read_arguments(&m, &r, argc, argv);
	prepare(&m);
	status = r.file ? mon_file(&m, r.file) : mon_live(&m, r.instance ? r.instance : INSTANCE_DEFAULT);
	return finish(&m, &r, status);
}
