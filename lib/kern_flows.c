/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow table's maps: seeds and size, resizing. */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "diag.h"
#include "kern_flow_map.h"
#include "kern_load.h"

int kern_flows_open(struct kern *k)
{
	__u32 zero = 0;

	if (!bpf_map_lookup_elem(k->maps[KM_FLOW_HEAD], &zero, &k->flow_head))
		return 0;
	complain("cannot read the head of the flow table of instance %s: %s", k->in->name, strerror(errno));
	return EXIT_SYSTEM;
}

bool kern_flows_resize(struct kern *k, __u32 max_flows)
{
	if (k->maps[KM_FLOWS] >= 0 && k->flow_head.max_flows == max_flows)
		return false;
	k->old_flow_head = k->flow_head;
	/* without randomness somebody could aim at a bucket: the worst of it is that bucket being full */
	if (getrandom(k->flow_head.seed, sizeof(k->flow_head.seed), 0) != sizeof(k->flow_head.seed))
		for (int i = 0; i < FW_FLOW_SEEDS; i++)
			k->flow_head.seed[i] = 0x9e3779b97f4a7c15ULL * (i + 1) + getpid();
	k->flow_head.max_flows = max_flows;
	k->flow_head.n_buckets = flow_buckets_for(max_flows);
	return true;
}

int kern_flows_head(struct kern *k)
{
	__u32 zero = 0;

	if (!bpf_map_update_elem(k->maps[KM_FLOW_HEAD], &zero, &k->flow_head, 0))
		return 0;
	complain("cannot write the head of the flow table: %s", strerror(errno));
	return EXIT_SYSTEM;
}

static int map_table(int fd, const struct fw_flow_head *head, struct flow_set *s)
{
	if (flow_map(s, fd, head->n_buckets, true)) {
		complain("cannot map the flow table (%zu bytes): %s", head->n_buckets * sizeof(struct fw_flow_bucket),
			 strerror(errno));
		return EXIT_SYSTEM;
	}
	s->head = *head;
	return 0;
}

/* Before the first load nothing can have expired. */
static const uint32_t no_timeouts[FW_FLOW_STATE_ROOM] = { [0 ... FW_FLOW_STATE_ROOM - 1] = ~0u };

int kern_flows_map(const struct kern *k, struct flow_set *set)
{
	int err = map_table(k->maps[KM_FLOWS], &k->flow_head, set);

	if (err)
		return err;
	set->tmo = k->active ? k->active->tmo : no_timeouts;
	if (!flow_clock(k->progs[KP_CLOCK], &set->now))
		return 0;
	complain("cannot ask the clock of flows (progs/clock of instance %s): %s", k->in->name, strerror(errno));
	flow_set_close(set);
	return EXIT_SYSTEM;
}

int kern_flows_move(struct kern *k, size_t *left)
{
	struct flow_entry e, there;
	struct flow_set from, to;
	size_t at = 0;
	int err;

	if (k->old_flows < 0 || !k->fresh_maps[KM_FLOWS])
		return 0;
	err = kern_flows_map(k, &to);
	if (err)
		return err;
	err = map_table(k->old_flows, &k->old_flow_head, &from);
	if (err) {
		flow_set_close(&to);
		return err;
	}
	from.now = to.now;
	from.tmo = to.tmo;
	while (flow_set_next(&from, &at, &e)) {
		if (e.expired || FW_FLOW_STATE(e.word) == FW_FLOW_FRAGMENT)
			continue;
		/* the second time: what has changed since the first */
		if (flow_set_find(&to, &e.key, &there) && !there.expired) {
			if (there.idle > e.idle)
				flow_set_update(&to, &there, e.word);
		} else if (flow_set_add(&to, &e) < 0) {
			++*left;
		}
	}
	flow_set_close(&from);
	flow_set_close(&to);
	return 0;
}
