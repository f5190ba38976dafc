/* SPDX-License-Identifier: GPL-2.0-only */
#include "load_report.h"
#include "load_trial.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tables_build.h"

/* Rules of the new policy that the last one doesn't have, and the other way round, by name. */
static void count_rules(const struct load *l, size_t *added, size_t *removed)
{
	const struct meta *m = l->kern.meta;
	size_t kept = 0;

	/* a rule keeps its id with its name */
	for (size_t i = 0; m && i < l->p->n_rules; i++)
		kept += meta_rule(m, l->ids[i]) != NULL;
	*added = l->p->n_rules - kept;
	*removed = m ? m->head->n_rules - kept : 0;
}

static const char *target_word(const struct placed *p)
{
	if (p->fd < 0 && p->mode != FW_MODE_CLSACT)
		return "attach";
	return p->stale ? "update" : "keep";
}

static void print_size(const char *what, size_t bytes)
{
	printf("%-12s %.1f MiB\n", what, bytes / 1048576.0);
}

void report_plan(const struct load *l)
{
	size_t added, removed;
	unsigned int slots = l->kern.slot ? 2 : 1;

	count_rules(l, &added, &removed);
	printf("%-12s %s\n", "instance", l->o->instance);
	printf("%-12s %u (now %u)\n", "generation", l->resolved.generation,
	       l->kern.active ? l->kern.active->generation : 0);
	printf("%-12s %zu, +%zu -%zu\n", "rules", l->p->n_rules, added, removed);
	print_size("tables", l->image.size);
	printf("%-12s %u x %.0f MiB\n", "slots", slots, l->sizes.arena_bytes / 1048576.0);
	printf("%-12s %u, %.1f MiB\n", "max flows", l->kern.flow_head.max_flows,
	       l->kern.flow_head.n_buckets * sizeof(struct fw_flow_bucket) / 1048576.0);
	print_size("memory", slots * l->sizes.arena_bytes + kern_state_memory(&l->kern));
	printf("%-12s %s\n", "programs", l->programs ? "load and verify (done: accepted)" : "resident");
	for (size_t i = 0; i < l->targets.n; i++)
		printf("%-12s %-7s %s %s\n", "hook", target_word(&l->placing.list[i]),
		       hook_name(l->targets.list[i].hook), l->targets.list[i].name);
}

void report_done(const struct load *l)
{
	if (l->o->verbose)
		complain("generation %u: %zu rules, %zu hooks", l->resolved.generation, l->p->n_rules, l->targets.n);
	if (l->o->confirm_ms && !l->o->quiet)
		complain("generation %u is on trial for %u s: fwload --commit%s keeps it, otherwise %s", l->resolved.generation,
			 l->o->confirm_ms / 1000, l->o->confirm_from ? " or a new connection from there" : "",
			 l->kern.active ? "the one before returns" : "filtering ends");
	if (l->o->audit && !l->o->quiet)
		complain("generation %u is being compared with %u, which decides; fwmon shows where they disagree",
			 l->resolved.generation, l->kern.active->generation);
	if (l->default_attach && !l->o->quiet && !l->kern.meta)
		complain("attached to the cgroup v2 root: sockets of this host and of its containers are filtered; ping "
			 "to the host, closed ports and forwarded packets are not seen there (attach interfaces for "
			 "those: -i IFACE, or attach: {host: true})");
}

void report_flows(const struct load *l, size_t left)
{
	if (l->kern.old_flows < 0)
		return;
	if (left)
		complain("max_flows: from %u to %u; %zu flows found no room in the new table", l->kern.old_flow_head.max_flows,
			 l->kern.flow_head.max_flows, left);
	else if (!l->o->quiet)
		complain("max_flows: from %u to %u; all flows kept", l->kern.old_flow_head.max_flows,
			 l->kern.flow_head.max_flows);
}

/* RFC 3339, seconds, UTC. */
static void print_time(uint64_t ns)
{
	time_t t = ns / 1000000000;
	struct tm tm;
	char text[32];

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("%-12s %s\n", "loaded", text);
}

static const char *mode_word(__u32 mode)
{
	static const char *const words[] = { "", " native", " generic", " tcx", " clsact" };

	return mode < sizeof(words) / sizeof(*words) ? words[mode] : "";
}

/* That a trial is on, or how the last one ended. */
static void print_trial(const struct kern *k)
{
	char when[32];

	if (!k->control)
		return;
	if (k->trial_ms)
		printf("%-12s pending, %u s left\n", "trial", (k->trial_ms + 999) / 1000);
	else if (k->trial_over)
		printf("%-12s generation %u reverted at %s\n", "trial", kern_generation(k, FW_WORD_ACTIVE(k->word)),
		       print_when(FW_WORD_DEADLINE(k->word), when));
	else if (k->control->reverted_at)
		printf("%-12s generation %u, at %s\n", "given up", k->control->reverted,
		       print_when(k->control->reverted_at, when));
}

/* The other generations that are resident. */
static void print_others(const struct kern *k)
{
	__u32 before = kern_generation(k, FW_WORD_FALLBACK(k->word)), candidate = kern_generation(k, FW_WORD_CANDIDATE(k->word));

	if (before && before != k->active->generation)
		printf("%-12s %u%s\n", "previous", before, k->trial_ms ? " (decides again after the trial)" : "");
	if (candidate)
		printf("%-12s %u is the candidate\n", "audit", candidate);
}

static int status_of(struct kern *k)
{
	const struct meta *m = k->meta;

	printf("%-12s %s\n", "instance", k->in->name);
	print_trial(k);
	if (!k->active || !m) {
		printf("%-12s nothing is enforced\n", "policy");
		return EXIT_JUDGED;
	}
	printf("%-12s %u\n", "generation", k->active->generation);
	print_others(k);
	print_time(m->head->loaded_at);
	printf("%-12s ", "digest");
	for (int i = 0; i < 32; i++)
		printf("%02x", k->active->digest[i]);
	printf("\n%-12s %u\n", "rules", m->head->n_rules);
	print_size("slot size", k->arena_bytes);
	for (__u32 i = 0; i < m->head->n_links; i++) {
		const char *name = meta_string(m, m->links[i].target);
		bool ok = m->links[i].hook < FW_HOOK_COUNT && link_protects(k, &m->links[i]);

		printf("%-12s %s %s%s%s\n", "hook",
		       m->links[i].hook < FW_HOOK_COUNT ? hook_name(m->links[i].hook) : "?", name ? name : "?",
		       mode_word(m->links[i].mode), ok ? "" : "  GONE: load again");
	}
	return EXIT_DONE;
}

int load_status(const struct load_options *o)
{
	struct inst in = INST_NONE;
	struct kern k;
	int err = inst_open(&in, o->instance, false);

	if (err == EXIT_JUDGED) {
		printf("%-12s %s\n%-12s not loaded\n", "instance", o->instance, "policy");
		return err;
	}
	kern_init(&k, &in);
	if (!err)
		err = kern_open(&k);
	if (!err)
		err = status_of(&k);
	kern_close(&k);
	inst_close(&in);
	return err;
}
