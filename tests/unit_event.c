/* SPDX-License-Identifier: GPL-2.0-only */
/* Events as text: exact lines, hostile names, random ones; each JSON line must be strict JSON and read back
 * as what prints the same. TAP. */
#include <jansson.h>
#include <stdlib.h>

#include "lib/event_parse.h"
#include "lib/utf8.h"
#include "tests/event_samples.h"
#include "tests/tap.h"

static char line[EVENT_ROOM_MAX + 1];

static const char *print(event_print *how, const struct event *ev, bool colour)
{
	*how(line, ev, colour) = 0;
	return line;
}

/* harmless(s): one line of UTF-8 without any character that a terminal obeys. */
static bool harmless(const char *s)
{
	size_t len = strlen(s);
	uint32_t c;

	if (!len || s[len - 1] != '\n')
		return false;
	for (size_t i = 0, n; i < len - 1; i += n) {
		n = utf8_decode(s + i, len - i, &c);
		if (!n || c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
		    (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
			return false;
	}
	return true;
}

/* survives(text): ${text} is strict JSON, and fwmon reads it back as what prints the same. Overwrites it. */
static bool survives(char *text)
{
	static char first[EVENT_ROOM_MAX + 1];
	static struct event_line back;
	json_error_t err;
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &err);
	const char *why;

	if (!j) {
		printf("# %s: %s", err.text, text);
		return false;
	}
	json_decref(j);
	strcpy(first, text);
	why = event_parse(text, strlen(text) - 1, &back);
	if (why)
		printf("# %s: %s", why, first);
	else if (strcmp(print(event_json, &back.ev, false), first))
		printf("# was: %s# now: %s", first, line);
	else {
		event_line_free(&back);
		return true;
	}
	event_line_free(&back);
	return false;
}

static void test_lines(void)
{
	struct fw_event e = tcp4();
	struct event ev = of(&e);
	struct event lost = {.type = EVENT_LOST, .time = 1000000000, .count = UINT64_MAX};

	same(print(event_json, &ev, false),
	     "{\"timestamp\":\"2026-11-22T13:18:47.123456789Z\",\"event_type\":\"verdict\",\"verdict\":"
	     "\"deny\","
	     "\"reason\":\"rule\",\"rule\":\"ssh\",\"priority\":10,\"rule_source\":\"web.yaml:12\",\"hook\":"
	     "\"xdp\","
	     "\"direction\":\"ingress\",\"in_iface\":\"eth0\",\"src_ip\":\"192.0.2.1\",\"src_port\":51234,"
	     "\"dst_ip\":\"10.0.0.1\",\"dst_port\":22,\"proto\":\"tcp\",\"ip_version\":4,\"tcp_flags\":"
	     "\"SYN\","
	     "\"length\":60,\"generation\":7}\n",
	     "JSON: a denied SYN");
	same(print(event_text, &ev, false),
	     "2026-11-22T13:18:47.123456Z deny         ssh                 xdp            ingress "
	     "tcp     192.0.2.1:51234      > 10.0.0.1:22           if=eth0 flags=SYN len=60\n",
	     "text: a denied SYN");
	ok(strstr(print(event_text, &ev, true), "\033[31mdeny"), "text: coloured only when asked");
	e = connect6();
	ev = of(&e);
	same(print(event_json, &ev, false),
	     "{\"timestamp\":\"2026-11-22T13:18:47.123456789Z\",\"event_type\":\"verdict\",\"verdict\":"
	     "\"allow\","
	     "\"reason\":\"default\",\"hook\":\"connect6\",\"direction\":\"egress\",\"dst_ip\":\"2001:db8::"
	     "35\","
	     "\"dst_port\":443,\"proto\":\"tcp\",\"ip_version\":6,\"generation\":4294967295,\"pid\":"
	     "4294967295,"
	     "\"comm\":\"curl\",\"uid\":1000,\"cgroup_id\":\"18446744073709551615\","
	     "\"cgroup\":\"/system.slice/ssh.service\",\"flow_id\":\"9007199254740993\",\"suppressed\":12}\n",
	     "JSON: an allowed connect");
	same(print(event_text, &ev, false),
	     "2026-11-22T13:18:47.123456Z allow        (default)           connect6       egress  "
	     "tcp     *                    > [2001:db8::35]:443    pid=4294967295 comm=curl uid=1000 "
	     "cgroup=/system.slice/ssh.service suppressed=12\n",
	     "text: an allowed connect");
	same(print(event_json, &lost, false),
	     "{\"event_type\":\"lost\",\"timestamp\":\"1970-01-01T00:00:01.000000000Z\",\"count\":"
	     "18446744073709551615}\n",
	     "JSON: losses");
	lost.rule = &ssh;
	lost.count = 5;
	same(print(event_json, &lost, false),
	     "{\"event_type\":\"lost\",\"timestamp\":\"1970-01-01T00:00:01.000000000Z\",\"count\":5,"
	     "\"rule\":\"ssh\",\"priority\":10,\"rule_source\":\"web.yaml:12\"}\n",
	     "JSON: losses of a rule");
	ok(survives(line), "which reads back");
	lost = (struct event){.type = EVENT_SUPPRESSED,
			      .time = 1000000000,
			      .count = 7,
			      .reason = FW_REASON_DEFAULT,
			      .direction = FW_EGRESS};
	same(print(event_text, &lost, false),
	     "1970-01-01T00:00:01.000000Z suppressed   events 7 reason=default direction=egress\n", "text: suppressed");
	same(print(event_json, &lost, false),
	     "{\"event_type\":\"suppressed\",\"timestamp\":\"1970-01-01T00:00:01.000000000Z\",\"count\":7,"
	     "\"reason\":\"default\",\"direction\":\"egress\"}\n",
	     "JSON: suppressed, by default");
	ok(survives(line), "which reads back, too");
	e = (struct fw_event){.hook = 200, .verdict = 200, .reason = 200, .direction = 200};
	ev = of(&e);
	same(print(event_json, &ev, false),
	     "{\"timestamp\":\"2026-11-22T13:18:47.123456789Z\",\"event_type\":\"verdict\",\"generation\":0}"
	     "\n",
	     "JSON: numbers without a word are absent");
	ok(harmless(print(event_text, &ev, false)), "text: numbers without a word");
}

/* What the live policy denied and the candidate of an audit would allow, by rule or by default. */
static void test_disagreement(void)
{
	struct fw_event e = tcp4();
	struct event ev = of(&e);
	const char *tail;

	e.type = FW_EVENT_DISAGREEMENT;
	e.other_verdict = FW_VERDICT_ALLOW;
	e.other_rule = 65;
	e.other_generation = 8;
	ev.type = EVENT_DISAGREEMENT;
	ev.candidate = &admins;
	print(event_json, &ev, false);
	tail = strstr(line, ",\"generation\":7");
	ok(strstr(line, "\"event_type\":\"disagreement\",\"verdict\":\"deny\",\"reason\":\"rule\",\"rule\":\"ssh\","), "JSON: a disagreement");
	same(tail ? tail : "",
	     ",\"generation\":7,\"candidate_verdict\":\"allow\",\"candidate_rule\":\"admins\","
	     "\"candidate_rule_source\":\"new.yaml:7\",\"candidate_generation\":8}\n",
	     "JSON: what the candidate says");
	ok(survives(line), "which reads back");
	print(event_text, &ev, false);
	tail = strstr(line, " len=60");
	same(tail ? tail : "", " len=60 candidate=allow:admins candidate_generation=8\n", "text: what the candidate says");
	e.other_rule = FW_REASON_ID(FW_REASON_DEFAULT, FW_EGRESS);
	ev.candidate = NULL;
	print(event_json, &ev, false);
	ok(strstr(line, ",\"candidate_verdict\":\"allow\",\"candidate_reason\":\"default\",\"candidate_generation\":8}\n") && survives(line),
	   "JSON: no rule of the candidate");
	ok(strstr(print(event_text, &ev, false), " candidate=allow:(default) "), "text: no rule of the candidate");
	e.other_rule = 4711;
	print(event_json, &ev, false);
	ok(strstr(line, "\"allow\",\"candidate_generation\":8}\n") && survives(line), "JSON: a rule that nobody knows");
}

static void test_trial_line(void)
{
	struct event ev = {.type = EVENT_TRIAL,
			   .time = 1000000000,
			   .trial = {.state = TRIAL_STARTED, .generation = 8, .fallback = 7, .seconds_left = 60}};

	same(print(event_json, &ev, false),
	     "{\"event_type\":\"trial\",\"timestamp\":\"1970-01-01T00:00:01.000000000Z\",\"state\":\"started\","
	     "\"generation\":8,\"fallback\":7,\"seconds_left\":60}\n",
	     "JSON: a trial");
	ok(survives(line), "which reads back");
	same(print(event_text, &ev, false),
	     "1970-01-01T00:00:01.000000Z trial        started     generation 8, fallback generation 7, 60 s left\n", "text: a trial");
	ev.trial = (struct event_trial){.state = TRIAL_ROLLED_BACK, .generation = 8};
	same(print(event_json, &ev, false),
	     "{\"event_type\":\"trial\",\"timestamp\":\"1970-01-01T00:00:01.000000000Z\",\"state\":\"rolled_back\","
	     "\"generation\":8,\"fallback\":0}\n",
	     "JSON: its end");
	ok(survives(line), "which reads back, too");
	same(print(event_text, &ev, false),
	     "1970-01-01T00:00:01.000000Z trial        rolled_back generation 8, fallback no filtering\n", "text: its end");
}

static void test_meta_line(void)
{
	struct event_meta m = {
		.generation = 3, .rules = 2, .loaded_at = 1795353527000000000ull, .digest = {0xab}};
	struct event ev = {.type = EVENT_META, .time = 1795353527123456789ull, .meta = &m};

	label_make(&m.version, "0.1.0", 5);
	label_make(&m.instance, "default", 7);
	same(print(event_json, &ev, false),
	     "{\"event_type\":\"meta\",\"timestamp\":\"2026-11-22T13:18:47.123456789Z\",\"version\":\"0.1."
	     "0\","
	     "\"instance\":\"default\",\"generation\":3,\"digest\":"
	     "\"ab00000000000000000000000000000000000000000000000000000000000000\",\"rules\":2,"
	     "\"loaded_at\":\"2026-11-22T13:18:47.000000000Z\"}\n",
	     "JSON: meta");
	same(print(event_text, &ev, false),
	     "2026-11-22T13:18:47.123456Z meta         instance default, generation 3, rules 2, loaded "
	     "2026-11-22T13:18:47Z\n",
	     "text: meta");
	m.generation = 0;
	ok(strstr(print(event_json, &ev, false), "\"instance\":\"default\",\"generation\":0,\"rules\":0}\n") && survives(line),
	   "JSON: meta, when nothing is filtered");
	same(print(event_text, &ev, false), "2026-11-22T13:18:47.123456Z meta         instance default, nothing is filtered\n",
	     "text: the same");
	label_free(&m.version);
	label_free(&m.instance);
}

static const char *const hostile[] = {
	"\"}\n{\"event",
	"\\",
	"\033[2J\033[1m",
	"\x7f\x01\x02\t\r\n",
	"\xff\xfe\x80\xc0\xaf",
	"\xc2\x85\xc2\x9b",
	"\xe2\x80\xae"
	"drow",
	"\xe2\x81\xa6x\xe2\x80\x8f",
	"\xed\xa0\x80\xf4\x90\x80\x80",
	"\xd8\x9c\xe2\x80\xa8",
	"gr\xc3\xbc\xc3\x9f \xf0\x9f\x94\xa5",
	"abcdefghijklmn\xc3\xbc",
	"abcdefghijklmno\xc3",
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	"\xef\xbf\xbd",
	"\xef\xbb\xbf",
	"",
};

static void test_hostile(void)
{
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		size_t len = strlen(hostile[i]);
		struct fw_event e = connect6();
		struct event_rule rule;
		struct label name;
		struct event ev;

		memset(e.comm, 0, sizeof(e.comm));
		memcpy(e.comm, hostile[i], len < FW_COMM_LEN ? len : FW_COMM_LEN);
		event_rule_make(&rule, hostile[i], len, 1, hostile[i], len);
		label_make(&name, hostile[i], len);
		ev = of(&e);
		ev.rule = &rule;
		ev.iface = ev.cgroup = &name;
		e.known |= FW_EV_IFACE;
		ok(harmless(print(event_text, &ev, false)), "hostile names %zu: text is harmless", i);
		ok(harmless(print(event_json, &ev, false)), "hostile names %zu: JSON is harmless", i);
		ok(survives(line), "hostile names %zu: valid JSON that reads back", i);
		event_rule_free(&rule);
		label_free(&name);
	}
}

static void test_random(void)
{
	size_t bad = 0, longest = 0, n = 20000;

	for (size_t i = 0; i < n; i++) {
		struct fw_event e;
		struct event ev;

		for (size_t b = 0; b < sizeof(e); b++)
			((uint8_t *)&e)[b] = (uint8_t)(random64() >> 24);
		e.verdict %= FW_VERDICT_COUNT;
		e.ip_version = e.known & 1 ? 4 : 6;
		if (e.ip_version == 4) {
			ip4(e.src, (uint32_t)random64());
			ip4(e.dst, (uint32_t)random64());
		} else if (e.length & 1) { /* runs of zeros */
			memset(e.dst + e.sport % 8, 0, e.dport % 9);
			memset(e.src, 0, e.sport % 17);
		}
		if (!(e.known & FW_EV_ADDRS) && e.ip_version == 4)
			e.known &= (uint16_t)~FW_EV_SADDR;
		if (e.cgroup_id % 3 == 0)
			e.rule = 64;
		ev = of(&e);
		if (i & 1) {
			ev.type = EVENT_DISAGREEMENT;
			e.other_verdict %= FW_VERDICT_COUNT;
			e.other_rule %= 2 * FW_RULE_ID_FIRST;
			ev.candidate = e.other_rule > FW_RULE_ID_FIRST ? &admins : NULL;
		}
		print(event_json, &ev, false);
		longest = strlen(line) > longest ? strlen(line) : longest;
		bad += !harmless(line) || !survives(line);
	}
	ok(!bad, "%zu random events: harmless, valid, read back the same", n);
	ok(longest < 2048, "longest of them %zu bytes", longest);
}

static void test_longest(void)
{
	static char big[LABEL_MAX + 100];
	struct fw_event e = connect6();
	struct event_rule rule;
	struct label name;
	struct event ev = of(&e);

	memset(big, 0x01, sizeof(big));
	memset(e.comm, 1, sizeof(e.comm));
	e.known = 0xffff;
	event_rule_make(&rule, big, sizeof(big), 65535, big, sizeof(big));
	label_make(&name, big, sizeof(big));
	ev.rule = ev.candidate = &rule;
	ev.iface = ev.cgroup = &name;
	ev.type = EVENT_DISAGREEMENT;
	e.other_rule = FW_RULE_ID_FIRST;
	ok(event_json(line, &ev, false) - line <= (long)EVENT_ROOM_MAX, "JSON: longest names fit");
	ok(event_text(line, &ev, true) - line <= (long)EVENT_ROOM_MAX, "text: longest names fit");
	event_rule_free(&rule);
	label_free(&name);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	samples_make();
	test_lines();
	test_disagreement();
	test_trial_line();
	test_meta_line();
	test_hostile();
	test_random();
	test_longest();
	samples_free();
	return done();
}
