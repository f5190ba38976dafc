/* SPDX-License-Identifier: GPL-2.0-only */
/* What fwmon reads: recorded lines, filters, numbers, addresses and times. TAP. */
#include <stdlib.h>

#include "lib/event_filter.h"
#include "lib/event_parse.h"
#include "lib/put.h"
#include "lib/rfc3339.h"
#include "tests/event_samples.h"
#include "tests/tap.h"

static char line[EVENT_ROOM_MAX + 1];

static void test_parse_errors(void)
{
	static const char *const bad[] = {
		"",
		"x",
		"{",
		"[]",
		"{}x",
		"{\"event_type\":\"verdict\"}",
		"{\"timestamp\":\"2026-02-30T00:00:00Z\"}",
		"{\"timestamp\":1}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"other\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"verdict\",\"verdict\":\"maybe\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"verdict\",\"verdict\":\"deny\","
		"\"pid\":1,\"pid\":1}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"verdict\",\"verdict\":\"deny\","
		"\"src_port\":65536}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"verdict\",\"verdict\":\"deny\","
		"\"src_ip\":\"010.0.0.1\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"verdict\",\"verdict\":\"deny\","
		"\"comm\":\"a\\u0000\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"verdict\",\"verdict\":\"deny\","
		"\"comm\":\"\xff\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"verdict\",\"verdict\":\"deny\","
		"\"comm\":\"\\ud800\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"verdict\",\"verdict\":\"deny\",}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"lost\",\"count\":-1}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"trial\",\"generation\":1}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"trial\",\"state\":\"begun\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"disagreement\",\"verdict\":\"deny\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"disagreement\",\"candidate_verdict\":\"deny\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"disagreement\",\"verdict\":\"deny\","
		"\"candidate_verdict\":\"allow\",\"candidate_reason\":\"none\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"disagreement\",\"verdict\":\"deny\","
		"\"candidate_verdict\":\"allow\",\"candidate_reason\":\"default\",\"candidate_rule\":\"x\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"suppressed\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"suppressed\",\"count\":1,"
		"\"reason\":\"none\"}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"lost\",\"count\":"
		"18446744073709551616}",
		"{\"timestamp\":\"2026-01-01T00:00:00Z\",\"event_type\":\"lost\",\"count\":1,\"x\":[1,{\"a\":"
		"}]}",
	};
	static const char good[] = "  {\"x\":[1,-2.5e3,{\"a\":[true,null,\"\\u00e4\"]}],\"timestamp\": "
				   "\"2026-01-01T00:00:00Z\" ,"
				   "\"event_type\":\"lost\",\"count\":1,\"container\":{}} ";
	struct event_line l = {};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		/* exactly as long as the text, so that the sanitizer sees a read beyond it */
		size_t len = strlen(bad[i]);
		char *copy = malloc(len + 1);
		const char *why;

		memcpy(copy, bad[i], len);
		copy = realloc(copy, len ? len : 1);
		why = event_parse(copy, len, &l);
		ok(why != NULL, "refused: %s (%s)", bad[i], why ? why : "accepted");
		free(copy);
	}
	strcpy(line, good);
	ok(!event_parse(line, strlen(line), &l) && l.ev.count == 1, "unknown keys are skipped");
	for (size_t cut = 0; cut < sizeof(good) - 2; cut++) {
		char *copy = malloc(cut ? cut : 1);

		memcpy(copy, good, cut);
		if (!event_parse(copy, cut, &l))
			ok(false, "accepted a line cut at %zu", cut);
		free(copy);
	}
	event_line_free(&l);
}

static void test_filters(void)
{
	static const struct {
		enum filter_kind kind;
		const char *value;
		bool tcp, conn; /* whether tcp4() and connect6() pass */
	} cases[] = {
		{FILTER_VERDICT, "deny", true, false},
		{FILTER_VERDICT, "allow", false, true},
		{FILTER_REASON, "rule", true, false},
		{FILTER_REASON, "default", false, true},
		{FILTER_RULE, "ssh", true, false},
		{FILTER_RULE, "ss", false, false},
		{FILTER_PROTO, "tcp", true, true},
		{FILTER_PROTO, "6", true, true},
		{FILTER_PROTO, "udp", false, false},
		{FILTER_SRC, "192.0.2.0/24", true, false},
		{FILTER_SRC, "192.0.2.1", true, false},
		{FILTER_SRC, "192.0.2.2", false, false},
		{FILTER_SRC, "0.0.0.0/0", true, false},
		{FILTER_SRC, "::/0", false, false},
		{FILTER_DST, "::/0", false, true},
		{FILTER_DST, "0.0.0.0/0", true, false},
		{FILTER_DST, "2001:db8::/33", false, true},
		{FILTER_DST, "2001:db8:8000::/33", false, false},
		{FILTER_PORT, "22", true, false},
		{FILTER_PORT, "51234", true, false},
		{FILTER_PORT, "443", false, true},
		{FILTER_PORT, "0", false, false},
		{FILTER_DIRECTION, "ingress", true, false},
		{FILTER_DIRECTION, "egress", false, true},
		{FILTER_INTERFACE, "eth0", true, false},
		{FILTER_INTERFACE, "eth", false, false},
		{FILTER_PID, "4294967295", false, true},
		{FILTER_PID, "0", false, false},
		{FILTER_CGROUP, "18446744073709551615", false, true},
		{FILTER_CGROUP, "/system.slice", false, true},
		{FILTER_CGROUP, "/system.slice/", false, true},
		{FILTER_CGROUP, "/system.slice/ssh.service", false, true},
		{FILTER_CGROUP, "/system.slice/ssh", false, false},
		{FILTER_CGROUP, "/", false, true},
	};
	static const struct {
		enum filter_kind kind;
		const char *value;
	} bad[] = {{FILTER_VERDICT, "drop"}, {FILTER_PORT, "65536"}, {FILTER_PORT, "-1"},
		   {FILTER_SRC, "10.1"},     {FILTER_PROTO, "256"},  {FILTER_PROTO, "06"},
		   {FILTER_RULE, ""},	     {FILTER_CGROUP, "a/b"}};
	struct fw_event t = tcp4(), c = connect6();
	struct event et = of(&t), ec = of(&c), lost = {.type = EVENT_LOST, .count = 1};
	struct event_filter f = {};

	ok(filter_pass(&f, &et) && filter_pass(&f, &ec), "no filter passes everything");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *why = filter_add(&f, cases[i].kind, cases[i].value);

		ok(!why && filter_pass(&f, &et) == cases[i].tcp && filter_pass(&f, &ec) == cases[i].conn &&
			   filter_pass(&f, &lost),
		   "filter kind %d, %s", cases[i].kind, cases[i].value);
		filter_free(&f);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(filter_add(&f, bad[i].kind, bad[i].value) && !f.used, "no value: '%s'", bad[i].value);
	filter_add(&f, FILTER_PORT, "22");
	filter_add(&f, FILTER_PORT, "443");
	ok(filter_pass(&f, &et) && filter_pass(&f, &ec), "values of one kind are alternatives");
	filter_add(&f, FILTER_VERDICT, "deny");
	ok(filter_pass(&f, &et) && !filter_pass(&f, &ec), "kinds must all hold");
	filter_free(&f);
}

static void test_filter_audit(void)
{
	struct fw_event e = tcp4();
	struct event ev = of(&e), trial = {.type = EVENT_TRIAL};
	struct event_filter f = {};

	ev.type = EVENT_DISAGREEMENT;
	ev.candidate = &admins;
	e.other_verdict = FW_VERDICT_ALLOW;
	filter_add(&f, FILTER_RULE, "admins");
	ok(filter_pass(&f, &ev), "a disagreement passes by the candidate's rule");
	ok(filter_pass(&f, &trial), "trial records always pass");
	filter_add(&f, FILTER_VERDICT, "deny");
	ok(filter_pass(&f, &ev), "and by the live verdict");
	filter_free(&f);
	filter_add(&f, FILTER_RULE, "ssh");
	ok(filter_pass(&f, &ev), "and by the live rule");
	filter_add(&f, FILTER_VERDICT, "allow");
	ok(!filter_pass(&f, &ev), "not by the candidate's verdict");
	filter_free(&f);
}

static void test_filter_suppressed(void)
{
	struct event ev = {.type = EVENT_SUPPRESSED, .count = 1, .rule = &ssh};
	struct event_filter f = {};

	filter_add(&f, FILTER_PORT, "1");
	ok(filter_pass(&f, &ev), "suppressed records have no ports, and pass");
	filter_add(&f, FILTER_RULE, "web");
	ok(!filter_pass(&f, &ev), "but not for another rule");
	filter_free(&f);
	filter_add(&f, FILTER_REASON, "rule");
	ok(filter_pass(&f, &ev), "a rule's pass for reason rule");
	ev.rule = NULL;
	ev.reason = FW_REASON_DEFAULT;
	ok(!filter_pass(&f, &ev), "and not a default's");
	filter_free(&f);
}

static void test_values(void)
{
	static const uint8_t six[][16] = {
		{0},
		{[15] = 1},
		{[10] = 0xff, [11] = 0xff, [12] = 1, [15] = 4},
		{0x20, 1, 0x0d, 0xb8, [7] = 1, [15] = 1},
		{0xfe, 0x80, [9] = 1},
		{[1] = 1, [3] = 1, [5] = 1, [7] = 1, [9] = 1, [11] = 1, [13] = 1},
	};
	static const char *const text[] = {
		"::", "::1", "::ffff:1.0.0.4", "2001:db8:0:1::1", "fe80::1:0:0:0", "1:1:1:1:1:1:1:0"};
	static const uint64_t numbers[] = {
		0, 9, 10, 99, 100, 12345, 4294967295u, 4294967296ull, 10000000000ull, UINT64_MAX};
	char buf[64], want[64];
	uint64_t t;

	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		*put_ip(buf, six[i], 6) = 0;
		same(buf, text[i], "address");
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		snprintf(want, sizeof(want), "%llu", (unsigned long long)numbers[i]);
		*put_u64(buf, numbers[i]) = 0;
		same(buf, want, "number");
	}
	ok(!rfc3339_parse("2024-02-29T23:59:59.5Z", 22, &t) && t == 1709251199500000000ull,
	   "time with half a second");
	for (int d = 0; d <= 9; d++) {
		*rfc3339_put(buf, 1709251199123456789ull, d) = 0;
		snprintf(want, sizeof(want), "2024-02-29T23:59:59%s%.*sZ", d ? "." : "", d, "123456789");
		same(buf, want, "time");
	}
	ok(rfc3339_parse("2023-02-29T00:00:00Z", 20, &t) && rfc3339_parse("2023-01-01T24:00:00Z", 20, &t) &&
		   rfc3339_parse("2023-01-01T00:00:00+00:00", 25, &t) &&
		   rfc3339_parse("2023-01-01T00:00:00.Z", 21, &t),
	   "times that don't exist or aren't ours");
	for (int i = 0; i < 256; i++) {
		size_t len = (size_t)(event_flags_put(buf, (uint8_t)i) - buf);

		if (event_flags_parse(buf, len) != i)
			ok(false, "TCP flags %d", i);
		*event_proto_put(buf, (uint8_t)i) = 0;
		if (event_proto_parse(buf) != i)
			ok(false, "proto %d", i);
	}
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	samples_make();
	test_values();
	test_parse_errors();
	test_filters();
	test_filter_audit();
	test_filter_suppressed();
	samples_free();
	return done();
}
