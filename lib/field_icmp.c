/* SPDX-License-Identifier: GPL-2.0-only */
/* ICMP and ICMPv6 types by name. Source: the IANA registries "ICMP Parameters" and "ICMPv6 Parameters" (types
 * that are assigned and not experimental), the registered words in lower case joined by "-". Where the
 * registry has just a noun for what is a request ("Echo", "Timestamp"), the name says request, as RFC 792's
 * replies do. */
#include <string.h>

#include "field_value.h"
#include "names.h"

static const struct icmp_type types[] = {
	/* both families */
	{"echo-request", 8, 128},
	{"echo-reply", 0, 129},
	{"destination-unreachable", 3, 1},
	{"time-exceeded", 11, 3},
	{"parameter-problem", 12, 4},
	{"router-advertisement", 9, 134},
	{"router-solicitation", 10, 133},
	{"redirect", 5, 137},
	{"extended-echo-request", 42, 160},
	{"extended-echo-reply", 43, 161},
	/* ICMP */
	{"source-quench", 4, -1},
	{"alternate-host-address", 6, -1},
	{"timestamp-request", 13, -1},
	{"timestamp-reply", 14, -1},
	{"information-request", 15, -1},
	{"information-reply", 16, -1},
	{"address-mask-request", 17, -1},
	{"address-mask-reply", 18, -1},
	{"traceroute", 30, -1},
	{"datagram-conversion-error", 31, -1},
	{"mobile-host-redirect", 32, -1},
	{"ipv6-where-are-you", 33, -1},
	{"ipv6-i-am-here", 34, -1},
	{"mobile-registration-request", 35, -1},
	{"mobile-registration-reply", 36, -1},
	{"domain-name-request", 37, -1},
	{"domain-name-reply", 38, -1},
	{"skip", 39, -1},
	{"photuris", 40, -1},
	/* ICMPv6 */
	{"packet-too-big", -1, 2},
	{"multicast-listener-query", -1, 130},
	{"multicast-listener-report", -1, 131},
	{"multicast-listener-done", -1, 132},
	{"neighbor-solicitation", -1, 135},
	{"neighbor-advertisement", -1, 136},
	{"router-renumbering", -1, 138},
	{"node-information-query", -1, 139},
	{"node-information-response", -1, 140},
	{"inverse-neighbor-discovery-solicitation", -1, 141},
	{"inverse-neighbor-discovery-advertisement", -1, 142},
	{"multicast-listener-report-v2", -1, 143},
	{"home-agent-address-discovery-request", -1, 144},
	{"home-agent-address-discovery-reply", -1, 145},
	{"mobile-prefix-solicitation", -1, 146},
	{"mobile-prefix-advertisement", -1, 147},
	{"certification-path-solicitation", -1, 148},
	{"certification-path-advertisement", -1, 149},
	{"multicast-router-advertisement", -1, 151},
	{"multicast-router-solicitation", -1, 152},
	{"multicast-router-termination", -1, 153},
	{"fmipv6", -1, 154},
	{"rpl-control", -1, 155},
	{"duplicate-address-request", -1, 157},
	{"duplicate-address-confirmation", -1, 158},
	{"mpl-control", -1, 159},
};
#define N_TYPES (sizeof(types) / sizeof(types[0]))

const char *parse_icmp_type(const char *s, struct icmp_type *t)
{
	uint64_t v;

	for (size_t i = 0; i < N_TYPES; i++) {
		if (!strcmp(s, types[i].name)) {
			*t = types[i];
			return NULL;
		}
	}
	if (parse_uint(s, 255, &v))
		return "not an ICMP type: a number from 0 to 255 or an IANA name like echo-request";
	*t = (struct icmp_type){NULL, v, v};
	return NULL;
}

const char *icmp_type_nearest(const char *s)
{
	unsigned int best = near_limit(s) + 1;
	const char *found = NULL;

	for (size_t i = 0; i < N_TYPES; i++) {
		unsigned int distance = near_distance(s, types[i].name);

		if (distance < best) {
			best = distance;
			found = types[i].name;
		}
	}
	return found;
}
