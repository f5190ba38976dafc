/* SPDX-License-Identifier: GPL-2.0-only */
/* Sums, fill ratios, thresholds and columns of fwstat without a kernel. TAP on standard
 * output. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/flow_list.h"
#include "lib/out_grid.h"
#include "lib/out_stat.h"
#include "lib/policy.h"
#include "lib/stat_check.h"

static int tests, failed;

static void ok(bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++tests, what);
	failed += !good;
}

/* is(text, want, what): and frees ${text}. */
static void is(char *text, const char *want, const char *what)
{
	ok(!strcmp(text, want), what);
	if (strcmp(text, want))
		printf("# got:  %s\n# want: %s\n", text, want);
	free(text);
}

static void test_sum(void)
{
	struct rule_gauge rules[2] = {
		{.directions = DIR_BIT(DIR_INGRESS), .sum = {.allowed = 1, .flow = 2, .bytes_passed = 10}},
		{.directions = DIR_BOTH, .sum = {.denied = 4, .limited = 8, .bytes_dropped = 20, .calls = 3}},
	};
	struct gauges g = {.rules = rules, .n_rules = 2};

	g.unruled[FW_REASON_ID(FW_REASON_DEFAULT, FW_EGRESS)] = (struct fw_counter){.denied = 16, .calls = 5};
	g.unruled[FW_REASON_ID(FW_REASON_NO_MEMORY, FW_INGRESS)] = (struct fw_counter){.limited = 32};
	for (int twice = 0; twice < 2; twice++)
		gauges_sum(&g);
	ok(g.packets[FW_REASON_RULE][FW_VERDICT_ALLOW][SIDE_INGRESS] == 1, "packets of a rule");
	ok(g.packets[FW_REASON_FLOW][FW_VERDICT_ALLOW][SIDE_INGRESS] == 2, "packets of its flows");
	ok(g.packets[FW_REASON_RULE][FW_VERDICT_DENY][SIDE_BOTH] == 4, "a rule for both directions");
	ok(g.packets[FW_REASON_DEFAULT][FW_VERDICT_DENY][SIDE_EGRESS] == 16, "denied by default");
	ok(g.packets[FW_REASON_NO_MEMORY][FW_VERDICT_RATE_LIMITED][SIDE_INGRESS] == 32, "no memory");
	ok(g.verdicts[FW_VERDICT_ALLOW] == 3 && g.verdicts[FW_VERDICT_DENY] == 20 &&
		   g.verdicts[FW_VERDICT_RATE_LIMITED] == 40,
	   "totals by verdict");
	ok(g.bytes_passed == 10 && g.bytes_dropped == 20 && g.calls_denied == 8, "bytes and calls");
}

static void test_state(void)
{
	struct gauges g = {.state = {.limits_created = 10}, .limits = {.entries = 7}};
	uint64_t n, sum = 0;
	int names = 0;

	for (int s = 0; s < FW_FLOW_STATE_COUNT; s++)
		g.flows.by_state[s] = s > FW_FLOW_BUSY ? 1ull << s : 0;
	for (int s = -1; s <= FW_FLOW_STATE_COUNT; s++) {
		if (!flows_in_state(&g, s, &n))
			continue;
		names++;
		sum += n;
	}
	ok(sum == (1ull << FW_FLOW_STATE_COUNT) - 4, "each state is in exactly one name");
	ok(names == 19 && flows_in_state(&g, FW_FLOW_FIN_WAIT_O, &n) &&
		   n == (1ull << FW_FLOW_FIN_WAIT_O | 1ull << FW_FLOW_FIN_WAIT_R) &&
		   !flows_in_state(&g, FW_FLOW_FIN_WAIT_R, &n),
	   "states that share a name are summed");
	gauges_sum(&g);
	ok(g.limits.evicted == 3, "evicted keys: made less present");
	g.limits.entries = 11;
	gauges_sum(&g);
	ok(g.limits.evicted == 0, "never fewer than none");
}

/* parsed(text): what flow_filter_parse() says of it, "" if nothing. */
static const char *parsed(struct flow_filter *f, const char *text)
{
	static char why[512];

	flow_filter_free(f);
	why[0] = 0;
	return flow_filter_parse(f, text, why, sizeof(why)) ? why : "";
}

static void test_filter(void)
{
	struct flow_filter f = {};
	char text[64], small[8];
	bool all = true;

	ok(!*parsed(&f, "all") && !f.states && !f.event.used, "all");
	ok(!*parsed(&f, " src=10.0.0.0/8,port=443  port=80,,state=fin_wait ") &&
		   f.event.used == (1u << FILTER_SRC | 1u << FILTER_PORT) && f.event.count[FILTER_PORT] == 2 &&
		   f.states == (1u << FW_FLOW_FIN_WAIT_O | 1u << FW_FLOW_FIN_WAIT_R),
	   "keys by blanks and commas, more of one, states by name");
	ok(strstr(parsed(&f, "port=80 sorce=10.0.0.1"), "sorce=10.0.0.1: no such filter"), "an unknown key is named");
	ok(strstr(parsed(&f, "port=x"), "port=x: "), "a bad value is named");
	ok(strstr(parsed(&f, "verdict=deny"), "no such filter") && strstr(parsed(&f, "pid=1"), "no such filter"),
	   "what a flow doesn't have is no filter");
	ok(*parsed(&f, "") && *parsed(&f, " ,") && *parsed(&f, "all all") && *parsed(&f, "all,port=1") &&
		   *parsed(&f, "port") && *parsed(&f, "=80") && *parsed(&f, "src="),
	   "nothing at all is not everything");
	ok(flow_filter_parse(&f, "colour=red", small, sizeof(small)) && strlen(small) == 7, "a short buffer");
	for (int s = FW_FLOW_BUSY + 1; s < FW_FLOW_FRAGMENT; s++) {
		snprintf(text, sizeof(text), "state=%s", flow_state_names[s]);
		all = all && !*parsed(&f, text) && (f.states >> s & 1) &&
		      strstr(parsed(&f, "state=x"), flow_state_names[s]);
	}
	ok(all, "every state can be asked for, and is in the message");
	ok(*parsed(&f, "state=fragment") && *parsed(&f, "state=free"), "what is no flow can't");
	flow_filter_free(&f);
}

static void test_ratio(void)
{
	ok(fill_ratio(0, 0) == 0 && fill_ratio(1, 4) == 0.25 && fill_ratio(5, 4) == 1, "fill ratios");
}

static char *check_text(const struct gauges *g, double w, double c, enum check_state *state)
{
	const struct check_limits limits = {.warning = w, .critical = c};
	size_t len;
	char *text;
	FILE *f = open_memstream(&text, &len);

	*state = stat_check(f, g, &limits);
	fclose(f);
	return text;
}

static void test_check(void)
{
	struct map_gauge map = {.name = "flows",
				.capacity = 100,
				.entries = 80,
				.counted = true,
				.fills = true,
				.by_traffic = true};
	struct hook_gauge hooks[8];
	struct gauges g = {.word = {.active = 1},
			   .generation = 3,
			   .maps = &map,
			   .n_maps = 1,
			   .hooks = hooks,
			   .n_hooks = 1,
			   .n_rings = 1,
			   .state = {.flows_full = 3, .flows_evicted = 4},
			   .rings = {{.size = 100, .used = 10, .state = RING_READ}}};
	enum check_state state;

	for (int i = 0; i < 8; i++)
		hooks[i] = (struct hook_gauge){.hook = "xdp", .target = "e|0", .mode = "", .up = true};
	is(check_text(&g, 0.81, 0.95, &state),
	   "FW OK - generation 3, 0 rules, 1 hooks attached | flows=80.0%;81;95;0;100 "
	   "ring0=10.0%;81;95;0;100 "
	   "events_lost=0c flows_full=3c flows_evicted=4c allow=0c deny=0c rate_limited=0c memory=0B\n",
	   "OK line with performance data");
	ok(state == CHECK_OK, "OK");
	free(check_text(&g, 0.8, 0.95, &state));
	ok(state == CHECK_WARNING, "at the warning limit");
	free(check_text(&g, 0.5, 0.8, &state));
	ok(state == CHECK_CRITICAL, "at the critical limit");
	map.by_traffic = false;
	free(check_text(&g, 0.5, 0.8, &state));
	ok(state == CHECK_OK, "a map that the loader sizes may be full");
	g.rings[0].lost = 1;
	free(check_text(&g, 0.8, 0.95, &state));
	ok(state == CHECK_WARNING, "a reader lost an event");
	g.rings[0].state = RING_FREE;
	g.rings[0].used = 100;
	free(check_text(&g, 0.8, 0.95, &state));
	ok(state == CHECK_OK, "a full ring without reader");
	g.n_hooks = 8;
	for (int i = 0; i < 8; i++)
		hooks[i].up = i == 7;
	is(check_text(&g, 0.8, 0.95, &state),
	   "FW CRITICAL - xdp on e/0 gone: , xdp on e/0 gone: , xdp on e/0 gone: , xdp on e/0 gone: , xdp on "
	   "e/0 gone:  and 2 more | "
	   "ring0=100.0%;80;95;0;100 events_lost=1c flows_full=3c flows_evicted=4c "
	   "allow=0c deny=0c rate_limited=0c memory=0B\n",
	   "no bar in the text, and not too long");
	ok(state == CHECK_CRITICAL, "hooks gone");
	g.n_hooks = 0;
	free(check_text(&g, 0.8, 0.95, &state));
	ok(state == CHECK_CRITICAL, "no hooks");
}

/* said(g, limits): the line's text, without performance data. */
static const char *said(const struct gauges *g, const struct check_limits *limits, enum check_state *state)
{
	static char text[1200];
	FILE *f = fmemopen(text, sizeof(text), "w");

	*state = stat_check(f, g, limits);
	fclose(f);
	*strstr(text, " | ") = 0;
	return text;
}

static void test_check_more(void)
{
	struct check_limits limits = {.warning = 0.8, .critical = 0.95, 
					      .expect = {.file = "web.json", .policy = {1, 2}, .attached = {3}}};
	struct fw_meta head = {.policy = {1, 2}, .attached = {4}};
	struct meta meta = {.head = &head};
	struct hook_gauge hook = {.hook = "tc_ingress", .target = "eth0", .mode = "tcx", .up = true};
	struct gauges g = {.word = {.active = 1}, .generation = 8, .meta = &meta, .hooks = &hook, .n_hooks = 1};
	enum check_state state;

	ok(!strcmp(said(&g, &limits, &state), "FW OK - generation 8, 0 rules, 1 hooks attached") && state == CHECK_OK,
	   "the expected policy");
	g.word.trial_ms = 40001;
	g.word.candidate = 3;
	g.candidate = 9;
	g.audit = (struct fw_audit_stats){.judged = 100, .disagreed = 3};
	ok(!strcmp(said(&g, &limits, &state), "FW OK - generation 8 on trial, 41 s left, 0 rules, 1 hooks attached, "
					      "audit of generation 9: 3 of 100 disagree") &&
		   state == CHECK_OK,
	   "a trial and an audit are OK, and told");
	limits.expect.attach = true;
	ok(strstr(said(&g, &limits, &state), "the loaded policy is attached elsewhere than web.json says") && state == CHECK_WARNING,
	   "attached elsewhere");
	limits.expect.policy[31] = 1;
	ok(strstr(said(&g, &limits, &state), "the loaded policy is not that of web.json") && state == CHECK_CRITICAL,
	   "another policy than the expected");
	limits.expect.unread = true;
	ok(strstr(said(&g, &limits, &state), "web.json is no policy") && state == CHECK_CRITICAL, "a file that is none");
	limits.expect.file = NULL;
	g.reverted = true;
	g.reverted_generation = 9;
	ok(!strcmp(said(&g, &limits, &state), "FW WARNING - generation 9 was taken back at 1970-01-01T00:00:00Z, 8 decides") &&
		   state == CHECK_WARNING,
	   "a load that was taken back");
	g.word.active = 0;
	ok(strstr(said(&g, &limits, &state), "no policy is active: generation 9 was taken back") && state == CHECK_CRITICAL,
	   "a first load that was taken back");
	g.word.active = 1;
	g.reverted = false;
	hook.before = 2;
	ok(strstr(said(&g, &limits, &state), "2 programs of others before tc_ingress on eth0") && state == CHECK_WARNING,
	   "programs before ours");
	gauges_tamper(&g, "the tables were written to");
	ok(!strcmp(said(&g, &limits, &state), "FW CRITICAL - the tables were written to") && state == CHECK_CRITICAL, "tampering");
	g.n_tamper = 0;
	g.n_rings = 1;
	g.rings[0] = (struct ring_gauge){.number = 2, .state = RING_READ, .lost = 70, .losing = 7};
	ok(!strcmp(said(&g, &limits, &state), "FW CRITICAL - ring2 is losing events (7 in 0.2 s)") && state == CHECK_CRITICAL,
	   "losing events now");
	g.rings[0].state = RING_ABANDONED;
	said(&g, &limits, &state);
	ok(state == CHECK_WARNING, "a dead reader loses nothing");
}

static void test_grid(void)
{
	static const struct grid_column columns[] = {
		{"a", GRID_LEFT, 2},
		{"empty", GRID_LEFT, 0},
		{"n", GRID_RIGHT, 1},
		{"text", GRID_SHRINK, 0},
		{},
	};
	static const char *const want[] = {
		"a     n  text\nxy    7  0123456789\nz   123\n",
		"a     n  text\nxy    7  0123456~\nz   123\n",
		"a   text\nxy  0123456~\nz\n",
	};
	static const unsigned int widths[] = {0, 17, 12};

	for (int i = 0; i < 3; i++) {
		struct grid t;
		size_t len;
		char *text;
		FILE *f = open_memstream(&text, &len);

		grid_init(&t, columns);
		for (const char *const *s =
			     (const char *const[]){"xy", "", "7", "0123456789", "z", "", "123", "", NULL};
		     *s; s++)
			grid_add(&t, "%s", *s);
		grid_print(&t, f, widths[i]);
		fclose(f);
		is(text, want[i], i ? "columns cut to the terminal" : "columns");
	}
}

static void test_safe(void)
{
	char long_text[600], *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	/* two-byte characters at odd places: the pieces must not cut one */
	long_text[0] = 'x';
	for (size_t i = 1; i + 2 < sizeof(long_text); i += 2)
		memcpy(long_text + i, "\xc3\xa9", 2);
	long_text[sizeof(long_text) - 1] = 0;
	long_text[sizeof(long_text) - 2] = 'y';
	long_text[sizeof(long_text) - 3] = 'y';
	out_safe(f, long_text);
	fclose(f);
	is(text, long_text, "long UTF-8 text stays whole");
	f = open_memstream(&text, &len);
	out_safe(f, "\"\033\xff");
	fclose(f);
	is(text, "\\\"\\u001b\\ufffd", "escapes");
}

int main(void)
{
	test_sum();
	test_state();
	test_filter();
	test_ratio();
	test_check();
	test_check_more();
	test_grid();
	test_safe();
	printf("1..%d\n", tests);
	return failed != 0;
}
