/* SPDX-License-Identifier: GPL-2.0-only */
/* From the numbers of an event to its names: rules through the meta of the generation that decided,
 * interfaces, cgroup paths, and wall-clock time. Everything is cached, since it happens for every event. */
#ifndef FW_EVENT_NAMES_H
#define FW_EVENT_NAMES_H

#include "event.h"
#include "meta.h"

struct event_names;

/* event_names_new(): NULL without memory. */
struct event_names *event_names_new(void);
void event_names_free(struct event_names *n); /* NULL is fine */

/* event_names_meta(n, m): ${m} is what decides from now on; those before it are kept for events that are still on their way,
 * as many as can be resident at once. Takes ${m} over. 0, or -1 without memory. */
int event_names_meta(struct event_names *n, struct meta *m);

/* event_names_add(n, m): ${m} is known as well, and does not decide. Takes ${m} over. 0, or -1 without memory. */
int event_names_add(struct event_names *n, struct meta *m);

/* event_names_knows(n, generation): whether the rules of this generation are known. */
bool event_names_knows(const struct event_names *n, uint32_t generation);

/* event_names_tick(n): look at the clocks. Call at least once a second, and before the first event. Interface
 * names are looked up again after a second. */
void event_names_tick(struct event_names *n);

/* event_names_now(n): CLOCK_REALTIME of the last tick, ns. */
uint64_t event_names_now(const struct event_names *n);

/* event_names_fill(n, e, ev): ${ev} for the record ${e}; its pointers hold until the next call. */
void event_names_fill(struct event_names *n, const struct fw_event *e, struct event *ev);

/* event_names_count(n, type, id, count): an event of this type that counts events of counter id ${id}, now; its pointers
 * hold until the next call. */
struct event event_names_count(struct event_names *n, enum event_type type, uint32_t id, uint64_t count);

#endif
