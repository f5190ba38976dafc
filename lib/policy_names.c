/* SPDX-License-Identifier: GPL-2.0-only */
/* Words and defaults of the policy language. */
#include "policy.h"

const char *const timeout_names[TMO_COUNT] = {
	[TMO_TCP_SYN_SENT] = "tcp_syn_sent",
	[TMO_TCP_SYN_RECV] = "tcp_syn_recv",
	[TMO_TCP_ESTABLISHED] = "tcp_established",
	[TMO_TCP_FIN_WAIT] = "tcp_fin_wait",
	[TMO_TCP_CLOSE_WAIT] = "tcp_close_wait",
	[TMO_TCP_LAST_ACK] = "tcp_last_ack",
	[TMO_TCP_TIME_WAIT] = "tcp_time_wait",
	[TMO_TCP_CLOSE] = "tcp_close",
	[TMO_UDP] = "udp",
	[TMO_UDP_STREAM] = "udp_stream",
	[TMO_ICMP] = "icmp",
	[TMO_GENERIC] = "generic",
	[TMO_FRAGMENT] = "fragment",
};

const uint32_t timeout_defaults[TMO_COUNT] = {
	[TMO_TCP_SYN_SENT] = 120,  [TMO_TCP_SYN_RECV] = 60,   [TMO_TCP_ESTABLISHED] = 5 * 86400,
	[TMO_TCP_FIN_WAIT] = 120,  [TMO_TCP_CLOSE_WAIT] = 60, [TMO_TCP_LAST_ACK] = 30,
	[TMO_TCP_TIME_WAIT] = 120, [TMO_TCP_CLOSE] = 10,      [TMO_UDP] = 30,
	[TMO_UDP_STREAM] = 120,	   [TMO_ICMP] = 30,	      [TMO_GENERIC] = 600,
	[TMO_FRAGMENT] = 30,
};

const char *action_name(enum fw_action a)
{
	static const char *const names[] = {
		[ACTION_DENY] = "deny",
		[ACTION_ALLOW] = "allow",
		[ACTION_REJECT] = "reject",
		[ACTION_RATE_LIMIT] = "rate_limit",
	};

	return names[a];
}

const char *direction_name(unsigned int bits)
{
	return bits == DIR_BOTH ? "both" : bits == DIR_BIT(DIR_EGRESS) ? "egress" : "ingress";
}

const char *rate_by_name(enum fw_rate_by by)
{
	static const char *const names[] = {
		[RATE_BY_SOURCE] = "source",
		[RATE_BY_DESTINATION] = "destination",
		[RATE_BY_RULE] = "rule",
	};

	return names[by];
}

const char *xdp_mode_name(enum fw_xdp_mode m)
{
	static const char *const names[] = {
		[XDP_MODE_AUTO] = "auto",
		[XDP_MODE_NATIVE] = "native",
		[XDP_MODE_GENERIC] = "generic",
		[XDP_MODE_OFF] = "off",
	};

	return names[m];
}

const char *on_full_name(enum fw_on_full f)
{
	return f == ON_FULL_DENY ? "deny" : "allow_stateless";
}
