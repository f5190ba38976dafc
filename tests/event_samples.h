/* SPDX-License-Identifier: GPL-2.0-only */
/* Two events for tests: a denied SYN and an allowed connect(). */
#ifndef FW_EVENT_SAMPLES_H
#define FW_EVENT_SAMPLES_H

#include <string.h>

#include "lib/event.h"

static void ip4(uint8_t a[16], uint32_t host)
{
	memset(a, 0, 16);
	a[10] = a[11] = 0xff;
	for (int i = 0; i < 4; i++)
		a[12 + i] = (uint8_t)(host >> (24 - 8 * i));
}

static struct event_rule ssh, admins; /* admins: of an audit's candidate */
static struct label eth0, sshd;

static struct fw_event tcp4(void)
{
	struct fw_event e = {
		.time = 0,
		.rule = 64,
		.generation = 7,
		.ifindex = 2,
		.length = 60,
		.known = FW_EV_ADDRS | FW_EV_SADDR | FW_EV_SPORT | FW_EV_DPORT | FW_EV_TCP | FW_EV_LENGTH |
			 FW_EV_IFACE,
		.sport = 51234,
		.dport = 22,
		.hook = FW_HOOK_XDP,
		.direction = FW_INGRESS,
		.verdict = FW_VERDICT_DENY,
		.reason = FW_REASON_RULE,
		.proto = 6,
		.ip_version = 4,
		.tcp_flags = 2,
	};

	ip4(e.src, 0xc0000201);
	ip4(e.dst, 0x0a000001);
	return e;
}

static struct event of(const struct fw_event *e)
{
	struct event ev = {.type = EVENT_VERDICT, .time = 1795353527123456789ull, .e = e};

	if (e->rule == 64)
		ev.rule = &ssh;
	if (e->known & FW_EV_IFACE)
		ev.iface = &eth0;
	if (e->known & FW_EV_CGROUP)
		ev.cgroup = &sshd;
	ev.comm = (const char *)e->comm;
	ev.comm_len = (uint32_t)strnlen(ev.comm, FW_COMM_LEN);
	return ev;
}

static struct fw_event connect6(void)
{
	struct fw_event e = {
		.rule = FW_REASON_ID(FW_REASON_DEFAULT, 1),
		.generation = 4294967295u,
		.pid = 4294967295u,
		.uid = 1000,
		.cgroup_id = UINT64_MAX,
		.flow_id = 9007199254740993ull,
		.suppressed = 12,
		.known = FW_EV_ADDRS | FW_EV_DPORT | FW_EV_TASK | FW_EV_UID | FW_EV_CGROUP,
		.dport = 443,
		.hook = FW_HOOK_CONNECT6,
		.direction = FW_EGRESS,
		.verdict = FW_VERDICT_ALLOW,
		.reason = FW_REASON_DEFAULT,
		.proto = 6,
		.ip_version = 6,
		.comm = "curl",
		.dst = {0x20, 0x01, 0x0d, 0xb8, [15] = 0x35},
	};

	return e;
}

static void samples_make(void)
{
	event_rule_make(&ssh, "ssh", 3, 10, "web.yaml:12", 11);
	event_rule_make(&admins, "admins", 6, 5, "new.yaml:7", 10);
	label_make(&eth0, "eth0", 4);
	label_make(&sshd, "/system.slice/ssh.service", 25);
}

static void samples_free(void)
{
	event_rule_free(&ssh);
	event_rule_free(&admins);
	label_free(&eth0);
	label_free(&sshd);
}

#endif
