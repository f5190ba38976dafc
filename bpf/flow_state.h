/* SPDX-License-Identifier: GPL-2.0-only */
/* What packets make of a flow: events, states, and which of these may give way to a new flow. */
#ifndef FW_FLOW_STATE_H
#define FW_FLOW_STATE_H

#include "packet.h"

enum flow_event { FLOW_SYN, FLOW_SYN_ACK, FLOW_FIN, FLOW_OTHER, FLOW_RST, FLOW_EVENT_COUNT };

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* By FIN, SYN, RST and ACK, as bits 0 to 3; four bits each. Without flags, and so without TCP: other. */
#define FLOW_EVENT_AT(flags, event) ((__u64)FLOW_##event << (flags) * 4)
#define FLOW_EVENTS_OF(ack, syn)                                                                                      \
	(FLOW_EVENT_AT((ack) + 0, OTHER) | FLOW_EVENT_AT((ack) + 1, FIN) | FLOW_EVENT_AT((ack) + 2, syn) |            \
	 FLOW_EVENT_AT((ack) + 3, FIN) | FLOW_EVENT_AT((ack) + 4, RST) | FLOW_EVENT_AT((ack) + 5, RST) |              \
	 FLOW_EVENT_AT((ack) + 6, RST) | FLOW_EVENT_AT((ack) + 7, RST))

FW_INLINE __u32 flow_event(__u8 tcp_flags)
{
	return (FLOW_EVENTS_OF(0, SYN) | FLOW_EVENTS_OF(8, SYN_ACK)) >> ((tcp_flags & 7) | (tcp_flags >> 1 & 8)) * 4 & 7;
}

/* The flow is over and the packet opens another: judge it by the rules. */
#define FLOW_AGAIN 0x80

/* flow_next[state][event * 2 + reply]: RFC 9293 seen from between the ends, without sequence numbers. RST is believed from
 * either end, but a forged one does no harm: whatever else follows shows that the connection lives, and when both
 * ends have been heard again it is established as before. */
#define FLOW_STEP(state, syn_o, syn_r, sa_o, sa_r, fin_o, fin_r, other_o, other_r, rst_o, rst_r)                      \
	[FW_FLOW_##state] = { FW_FLOW_##syn_o, FW_FLOW_##syn_r, FW_FLOW_##sa_o, FW_FLOW_##sa_r, FW_FLOW_##fin_o,      \
			      FW_FLOW_##fin_r, FW_FLOW_##other_o, FW_FLOW_##other_r, FW_FLOW_##rst_o,                 \
			      FW_FLOW_##rst_r }
#define FW_FLOW_AGAIN FLOW_AGAIN
#define AGAIN_ALWAYS                                                                                                  \
	FLOW_AGAIN, FLOW_AGAIN, FLOW_AGAIN, FLOW_AGAIN, FLOW_AGAIN, FLOW_AGAIN, FLOW_AGAIN, FLOW_AGAIN, FLOW_AGAIN, FLOW_AGAIN
#define FLOW_FIXED(state, reply)                                                                                      \
	[FW_FLOW_##state] = { FW_FLOW_##state, FW_FLOW_##reply, FW_FLOW_##state, FW_FLOW_##reply, FW_FLOW_##state,    \
			      FW_FLOW_##reply, FW_FLOW_##state, FW_FLOW_##reply, FW_FLOW_##state, FW_FLOW_##reply }
static const __u8 flow_next[FW_FLOW_STATE_ROOM][16] = {
	/* clang-format off */
	/*        state         SYN: opener, other        SYN-ACK                   FIN                       other                     RST */
	FLOW_STEP(SYN_SENT,     SYN_SENT,     SYN_BOTH,     SYN_SENT,     SYN_RECV,     SYN_SENT,     SYN_SENT,     SYN_SENT,     SYN_SENT,     CLOSE, CLOSE),
	FLOW_STEP(SYN_BOTH,     SYN_BOTH,     SYN_BOTH,     SYN_RECV,     SYN_RECV,     SYN_BOTH,     SYN_BOTH,     SYN_BOTH,     SYN_BOTH,     CLOSE, CLOSE),
	FLOW_STEP(SYN_RECV,     SYN_RECV,     SYN_RECV,     ESTABLISHED,  SYN_RECV,     FIN_WAIT_O,   FIN_WAIT_R,   ESTABLISHED,  SYN_RECV,     CLOSE, CLOSE),
	FLOW_STEP(PICKED_UP,    AGAIN,        AGAIN,        PICKED_UP,    ESTABLISHED,  PICKED_UP,    FIN_WAIT_R,   PICKED_UP,    ESTABLISHED,  CLOSE, CLOSE),
	FLOW_STEP(PICKED_UP_R,  AGAIN,        AGAIN,        ESTABLISHED,  PICKED_UP_R,  FIN_WAIT_O,   PICKED_UP_R,  ESTABLISHED,  PICKED_UP_R,  CLOSE, CLOSE),
	FLOW_STEP(ESTABLISHED,  ESTABLISHED,  ESTABLISHED,  ESTABLISHED,  ESTABLISHED,  FIN_WAIT_O,   FIN_WAIT_R,   ESTABLISHED,  ESTABLISHED,  CLOSE, CLOSE),
	FLOW_STEP(FIN_WAIT_O,   FIN_WAIT_O,   FIN_WAIT_O,   FIN_WAIT_O,   FIN_WAIT_O,   FIN_WAIT_O,   LAST_ACK_R,   FIN_WAIT_O,   CLOSE_WAIT_O, CLOSE, CLOSE),
	FLOW_STEP(FIN_WAIT_R,   FIN_WAIT_R,   FIN_WAIT_R,   FIN_WAIT_R,   FIN_WAIT_R,   LAST_ACK_O,   FIN_WAIT_R,   CLOSE_WAIT_R, FIN_WAIT_R,   CLOSE, CLOSE),
	FLOW_STEP(CLOSE_WAIT_O, CLOSE_WAIT_O, CLOSE_WAIT_O, CLOSE_WAIT_O, CLOSE_WAIT_O, CLOSE_WAIT_O, LAST_ACK_R,   CLOSE_WAIT_O, CLOSE_WAIT_O, CLOSE, CLOSE),
	FLOW_STEP(CLOSE_WAIT_R, CLOSE_WAIT_R, CLOSE_WAIT_R, CLOSE_WAIT_R, CLOSE_WAIT_R, LAST_ACK_O,   CLOSE_WAIT_R, CLOSE_WAIT_R, CLOSE_WAIT_R, CLOSE, CLOSE),
	FLOW_STEP(LAST_ACK_O,   AGAIN,        AGAIN,        LAST_ACK_O,   LAST_ACK_O,   LAST_ACK_O,   LAST_ACK_O,   LAST_ACK_O,   TIME_WAIT,    CLOSE, CLOSE),
	FLOW_STEP(LAST_ACK_R,   AGAIN,        AGAIN,        LAST_ACK_R,   LAST_ACK_R,   LAST_ACK_R,   LAST_ACK_R,   TIME_WAIT,    LAST_ACK_R,   CLOSE, CLOSE),
	FLOW_STEP(TIME_WAIT,    AGAIN,        AGAIN,        TIME_WAIT,    TIME_WAIT,    TIME_WAIT,    TIME_WAIT,    TIME_WAIT,    TIME_WAIT,    CLOSE, CLOSE),
	FLOW_STEP(CLOSE,        AGAIN,        AGAIN,        CLOSE,        CLOSE,        CLOSE,        CLOSE,        PICKED_UP,    PICKED_UP_R,  CLOSE, CLOSE),
	FLOW_FIXED(UDP_NEW, UDP_REPLIED),
	FLOW_STEP(UDP_REPLIED,  UDP_STREAM,   UDP_REPLIED,  UDP_STREAM,   UDP_REPLIED,  UDP_STREAM,   UDP_REPLIED,  UDP_STREAM,   UDP_REPLIED,  UDP_STREAM, UDP_REPLIED),
	FLOW_FIXED(UDP_STREAM, UDP_STREAM),
	FLOW_FIXED(ICMP_NEW, ICMP_REPLIED),
	FLOW_FIXED(ICMP_REPLIED, ICMP_REPLIED),
	FLOW_FIXED(NEW, REPLIED),
	FLOW_FIXED(REPLIED, REPLIED),
	/* A cut flow stays so as long as the other end goes on; a SYN opens another. */
	FLOW_STEP(CUT_TCP,      AGAIN,        AGAIN,        CUT_TCP,      CUT_TCP,      CUT_TCP,      CUT_TCP,      CUT_TCP,      CUT_TCP,      CUT_TCP, CUT_TCP),
	FLOW_FIXED(CUT, CUT),
	/* another first fragment begins anew */
	[FW_FLOW_FRAGMENT] = { AGAIN_ALWAYS },
	/* clang-format on */
};

/* What ${event} makes of ${state}; ${reply}: it came from the other end than the opener. */
FW_INLINE __u32 flow_step(__u32 state, __u32 event, __u32 reply)
{
	__u64 i = state * 16 + event * 2 + reply;

#ifdef __BPF__
	asm volatile("" : "+r"(i)); /* or clang leaves out the mask, without which Linux 6.1 doesn't believe it */
#endif
	return ((const __u8 *)flow_next)[i & (sizeof(flow_next) - 1)];
}

/* The state a flow begins in; FW_FLOW_FREE: the packet makes none (RST, and SYN-ACK, which the opener doesn't send). */
FW_INLINE __u32 flow_first_state(const struct packet *p)
{
	switch (p->proto) {
	case 6:
		switch (flow_event(p->tcp_flags)) {
		case FLOW_SYN:
			return FW_FLOW_SYN_SENT;
		case FLOW_SYN_ACK:
		case FLOW_RST:
			return FW_FLOW_FREE;
		}
		return FW_FLOW_PICKED_UP;
	case 17:
	case 136:
		return FW_FLOW_UDP_NEW;
	case 1:
	case 58:
		return FW_FLOW_ICMP_NEW;
	}
	return FW_FLOW_NEW;
}

/* Bit per state: a new flow may take its place. */
#define FW_EVICTABLE_BIT(id, name, timeout, evictable) (evictable##u << FW_FLOW_##id) |
#define FLOW_EVICTABLE (FW_FLOW_STATES(FW_EVICTABLE_BIT) 0u)

#endif
