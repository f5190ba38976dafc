/* SPDX-License-Identifier: GPL-2.0-only */
/* ns per event from record to JSON line on /dev/null: ours, and jansson's json_dumpb of an equivalent object.
 * usage: bench_event [EVENTS] */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/event.h"
#include "lib/event_filter.h"
#include "lib/event_names.h"
#include "lib/line_out.h"
#include "lib/mon.h"

#define SAMPLES 8192 /* a ring of 1 MiB */
#define RULES 1000

static struct fw_event samples[SAMPLES];
static volatile sig_atomic_t stop;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void make_samples(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	srandom(1);
	for (size_t i = 0; i < SAMPLES; i++) {
		struct fw_event *e = &samples[i];

		*e = (struct fw_event){
			.time = (uint64_t)ts.tv_sec * 1000000000ull + i * 1000,
			.rule = 64 + (uint32_t)random() % RULES,
			.generation = 5,
			.ifindex = 1,
			.length = 40 + (uint32_t)random() % 1460,
			.known = FW_EV_ADDRS | FW_EV_SADDR | FW_EV_SPORT | FW_EV_DPORT | FW_EV_TCP |
				 FW_EV_LENGTH | FW_EV_IFACE,
			.sport = (uint16_t)random(),
			.dport = (uint16_t)random(),
			.hook = (uint8_t)(random() % 3),
			.verdict = FW_VERDICT_DENY,
			.reason = FW_REASON_RULE,
			.proto = 6,
			.ip_version = 4,
			.tcp_flags = (uint8_t)(random() % 32),
			.flow_id = (uint64_t)random() << 20,
		};
		memset(e->src + 10, 0xff, 2);
		memset(e->dst + 10, 0xff, 2);
		for (int b = 12; b < 16; b++) {
			e->src[b] = (uint8_t)random();
			e->dst[b] = (uint8_t)random();
		}
		if (i % 4 == 0) { /* every fourth: a connect over IPv6 with its process */
			e->ip_version = 6;
			e->hook = FW_HOOK_CONNECT6;
			for (int b = 0; b < 16; b++)
				e->dst[b] = (uint8_t)(b < 4 || b > 12 ? random() : 0);
			e->known = FW_EV_ADDRS | FW_EV_DPORT | FW_EV_TASK | FW_EV_UID | FW_EV_CGROUP;
			e->cgroup_id = 1;
			e->pid = (uint32_t)random() % 65536;
			memcpy(e->comm, "python3", 7);
		}
	}
}

static struct meta *make_meta(void)
{
	size_t strings = sizeof(struct fw_meta) + RULES * sizeof(struct fw_meta_rule),
	       len = strings + RULES * 16 + 32;
	struct fw_meta *m = calloc(1, len);
	struct fw_meta_rule *r = (struct fw_meta_rule *)(m + 1);
	const char *why;

	*m = (struct fw_meta){.magic = FW_META_MAGIC,
			      .abi = FW_ABI,
			      .size = (uint32_t)len,
			      .generation = 5,
			      .n_rules = RULES,
			      .rules = sizeof(*m)};
	strcpy((char *)m + strings, "/etc/fw/policy.yaml");
	for (uint32_t i = 0; i < RULES; i++) {
		uint32_t name = (uint32_t)strings + 32 + i * 16;

		snprintf((char *)m + name, 16, "allow_web_%u", i);
		r[i] = (struct fw_meta_rule){.id = 64 + i,
					     .name = name,
					     .file = (uint32_t)strings,
					     .line = i,
					     .priority = (uint16_t)i};
	}
	return meta_parse(m, len, &why);
}

static double ours(struct event_names *names, long n, event_print *how, int fd, size_t *bytes)
{
	struct line_out out;
	struct event ev;
	double start;
	char *before, *end;

	line_out_init(&out, fd, EVENT_ROOM_MAX, &stop);
	start = now();
	for (long i = 0; i < n; i++) {
		event_names_fill(names, &samples[i % SAMPLES], &ev);
		before = line_out_at(&out);
		end = how(before, &ev, false);
		*bytes += (size_t)(end - before);
		line_out_end(&out, end);
	}
	line_out_flush(&out);
	start = now() - start;
	line_out_free(&out);
	return start / (double)n;
}

static double janssons(struct event_names *names, long n)
{
	json_t *objects[64];
	char buf[4096];
	double start;
	size_t sum = 0;

	for (size_t i = 0; i < 64; i++) {
		struct event ev;

		event_names_fill(names, &samples[i], &ev);
		*event_json(buf, &ev, false) = 0;
		objects[i] = json_loads(buf, 0, NULL);
	}
	start = now();
	for (long i = 0; i < n; i++)
		sum += json_dumpb(objects[i % 64], buf, sizeof(buf), JSON_COMPACT);
	start = now() - start;
	for (size_t i = 0; i < 64; i++)
		json_decref(objects[i]);
	return sum ? start / (double)n : 0;
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 2000000;
	struct event_names *names = event_names_new();
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	size_t bytes = 0, ignored = 0;
	double best = 1e9, text = 1e9, dump = 1e9;

	make_samples();
	event_names_meta(names, make_meta());
	for (int i = 0; i < 3; i++) {
		double t = ours(names, n, event_json, fd, &bytes);

		best = t < best ? t : best;
		t = ours(names, n, event_text, fd, &ignored);
		text = t < text ? t : text;
		t = janssons(names, n / 10);
		dump = t < dump ? t : dump;
	}
	printf("json           %6.0f ns/event  %.2f M/s  %.0f bytes/line\n", best, 1e3 / best,
	       (double)bytes / 3 / (double)n);
	printf("text           %6.0f ns/event\n", text);
	printf("jansson dumpb  %6.0f ns/event  (%.1f times ours; the object already built)\n", dump,
	       dump / best);
	event_names_free(names);
	return 0;
}
