/* SPDX-License-Identifier: GPL-2.0-only */
#include "flow_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE FILTER_KINDS
#define FILTERS(X)                                                                                          \
	X(rule, FILTER_RULE)                                                                                 \
	X(proto, FILTER_PROTO)                                                                               \
	X(src, FILTER_SRC)                                                                                   \
	X(dst, FILTER_DST)                                                                                   \
	X(port, FILTER_PORT)                                                                                 \
	X(direction, FILTER_DIRECTION)                                                                       \
	X(interface, FILTER_INTERFACE)                                                                       \
	X(cgroup, FILTER_CGROUP)                                                                             \
	X(state, STATE)
#define KEY(key, kind) #key,
#define KIND(key, kind) kind,
#define LISTED(key, kind) " " #key
const char *const flow_filter_keys[] = {FILTERS(KEY) NULL};
static const enum filter_kind kinds[] = {FILTERS(KIND)};

/* Several states have one name, and all of them are meant. Fragments are no flows. */
static const char *add_state(struct flow_filter *f, const char *value)
{
	uint32_t bits = 0;

	for (int s = FW_FLOW_BUSY + 1; s < FW_FLOW_FRAGMENT; s++)
		if (!strcmp(flow_state_names[s], value))
			bits |= 1u << s;
	f->states |= bits;
	return bits ? NULL
		    : "expected one of: syn_sent syn_both syn_recv picked_up established fin_wait close_wait last_ack "
		      "time_wait close udp_new udp_replied udp_stream icmp_new icmp_replied new replied";
}

const char *flow_filter_add(struct flow_filter *f, const char *key, const char *value)
{
	for (size_t i = 0; flow_filter_keys[i]; i++)
		if (!strcmp(flow_filter_keys[i], key))
			return kinds[i] == STATE ? add_state(f, value) : filter_add(&f->event, kinds[i], value);
	return "no such filter; there are:" FILTERS(LISTED);
}

static int parse_word(struct flow_filter *f, char *word, char *why, size_t size)
{
	char *value = strchr(word, '=');
	const char *wrong = "expected KEY=VALUE, or 'all' alone; keys:" FILTERS(LISTED);

	if (value) {
		*value++ = 0;
		wrong = flow_filter_add(f, word, value);
		if (!wrong)
			return 0;
	}
	snprintf(why, size, "%s%s%s: %s", word, value ? "=" : "", value ? value : "", wrong);
	return -1;
}

int flow_filter_parse(struct flow_filter *f, const char *text, char *why, size_t size)
{
	static const char separators[] = ", \t\n";
	char *copy = strdup(text), *rest = copy, *word;
	int err = copy ? 0 : -1, n = 0;
	bool all = false;

	if (!copy)
		snprintf(why, size, "out of memory");
	while (!err && (word = strtok_r(NULL, separators, &rest))) {
		n++;
		if (!strcmp(word, "all"))
			all = true;
		else
			err = parse_word(f, word, why, size);
	}
	/* a variable that turned out empty must not mean everything */
	if (!err && (!n || (all && n > 1))) {
		snprintf(why, size, n ? "'all' stands alone" : "empty; 'all' stands for every flow");
		err = -1;
	}
	free(copy);
	return err;
}

void flow_filter_free(struct flow_filter *f)
{
	filter_free(&f->event);
	*f = (struct flow_filter){};
}
