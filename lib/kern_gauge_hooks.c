/* SPDX-License-Identifier: GPL-2.0-only */
#include "kern_gauge.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach.h"
#include "diag.h"
#include "kern_filter.h"
#include "kern_gauge_progs.h"
#include "resolve.h"

static const char *const mode_names[] = {
	[0] = "",
	[FW_MODE_NATIVE] = "native",
	[FW_MODE_GENERIC] = "generic",
	[FW_MODE_TCX] = "tcx",
	[FW_MODE_CLSACT] = "clsact",
};

/* What the kernel says of an attachment. */
struct attached {
	uint32_t prog_id, ifindex;
	uint64_t cgroup_id;
};

static void __attribute__((format(printf, 2, 3))) gone(struct hook_gauge *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(h->detail, sizeof(h->detail), fmt, ap);
	va_end(ap);
	h->up = false;
}

/* ask_link(v, pin, is_cgroup, a): 0, or -1 with errno. */
static int ask_link(const struct view *v, const char *pin, bool is_cgroup, struct attached *a)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = 0); /* links know no read-only */
	struct bpf_link_info info = {};
	uint32_t len = sizeof(info);
	char path[PATH_MAX];
	int fd, err;

	if (strchr(pin, '/')) {
		errno = EINVAL;
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d/links/%s", v->dir, pin);
	fd = bpf_obj_get_opts(path, &opts);
	if (fd < 0)
		return -1;
	err = bpf_obj_get_info_by_fd(fd, &info, &len);
	close(fd);
	if (err)
		return -1;
	a->prog_id = info.prog_id;
	/* A tcx link (6.6) has its ifindex where an XDP link has it. */
	if (is_cgroup)
		a->cgroup_id = info.cgroup.cgroup_id;
	else
		a->ifindex = info.xdp.ifindex;
	return 0;
}

/* ask_filter(v, l, a): the same of a clsact filter, which is no link and goes with its interface. */
static int ask_filter(const struct view *v, const struct fw_meta_link *l, struct attached *a)
{
	const struct target t = {.hook = (enum fw_hook)l->hook, .ifindex = l->ifindex};
	char name[IF_NAMESIZE];

	a->prog_id = filter_prog(v->instance, &t);
	a->ifindex = l->ifindex;
	if (a->prog_id)
		return 0;
	if (if_indextoname(l->ifindex, name)) {
		errno = ENOENT;
		return -1;
	}
	a->ifindex = 0; /* as a link says it whose interface is gone */
	return 0;
}

/* A renamed interface is still protected; a new one that took the name is not. */
static void check_iface(struct hook_gauge *h, const struct fw_meta_link *l, const struct attached *a,
			bool here)
{
	uint32_t named = here ? if_nametoindex(h->target) : 0;
	char name[IF_NAMESIZE];

	if (!a->ifindex && named == l->ifindex)
		gone(h, "somebody detached it");
	else if (!a->ifindex)
		gone(h, "the interface was deleted");
	else if (!here)
		snprintf(h->detail, sizeof(h->detail),
			 "in another network namespace: the name was not checked");
	else if (named && named != a->ifindex)
		gone(h, "another interface has the name now (index %u, attached to %u)", named, a->ifindex);
	else if (!named && if_indextoname(a->ifindex, name))
		snprintf(h->detail, sizeof(h->detail), "the interface is called %s now", name);
	else if (!named)
		gone(h, "the interface left this network namespace");
}

static void check_cgroup(struct hook_gauge *h, const struct fw_meta_link *l, const struct attached *a)
{
	uint32_t level;
	uint64_t id = 0;
	int err = cgroup_lookup(h->target, &id, &level) ? errno : 0;

	if (!a->cgroup_id && id == l->target_id && !err)
		gone(h, "somebody detached it");
	else if (!a->cgroup_id || err == ENOENT)
		gone(h, "the cgroup was removed");
	else if (err)
		gone(h, "cannot open the cgroup: %s", strerror(err));
	else if (id != a->cgroup_id)
		gone(h, "another cgroup has the path now");
}

/* Whose names and numbers are asked for. */
struct asked {
	const struct view *v;
	const struct meta *meta;
	struct gauge_pins pins;
	bool here; /* in the loader's network namespace */
};

static void check_prog(struct hook_gauge *h, const struct asked *q, const struct fw_meta_link *l, uint32_t id)
{
	struct prog_doubt why = prog_check(&q->pins, l, id);

	if (*why.text) {
		gone(h, "%s", why.text);
		return;
	}
	h->before = q->here ? progs_before(l, id) : 0;
	if (h->before && !*h->detail)
		snprintf(h->detail, sizeof(h->detail), "programs of others before it: %u", h->before);
}

static void check_hook(struct hook_gauge *h, const struct asked *q, const struct fw_meta_link *l)
{
	const char *pin = meta_string(q->meta, l->pin);
	struct attached a = {};

	h->up = true;
	if (!pin && !q->here) {
		snprintf(h->detail, sizeof(h->detail), "in another network namespace: not checked");
		h->unchecked = true;
		return;
	}
	if (pin ? ask_link(q->v, pin, !l->ifindex, &a) : ask_filter(q->v, l, &a)) {
		h->unchecked = errno == EACCES;
		if (h->unchecked)
			snprintf(h->detail, sizeof(h->detail), "the link is root's alone");
		else if (errno == ENOENT || errno == ENODEV)
			gone(h, "the %s was removed", pin ? "link's pin" : "filter");
		else
			gone(h, "cannot read the %s: %s", pin ? "link" : "filter", strerror(errno));
		return;
	}
	if (l->ifindex)
		check_iface(h, l, &a, q->here);
	else
		check_cgroup(h, l, &a);
	if (h->up)
		check_prog(h, q, l, a.prog_id);
}

static bool netns_here(const struct meta *m)
{
	struct stat ns;

	return !m->head->netns || stat("/proc/self/ns/net", &ns) || (uint32_t)ns.st_ino == m->head->netns;
}

int gauge_hooks(struct gauges *g, const struct view *v)
{
	uint32_t n = g->meta ? g->meta->head->n_links : 0;
	struct asked q = {.v = v, .meta = g->meta, .here = n && netns_here(g->meta)};

	libbpf_set_print(NULL); /* it has its own words for a filter that is not there */
	pins_maps(&q.pins.maps, v);
	pins_progs(&q.pins.progs, v);
	g->hooks = calloc(n + 1ul, sizeof(*g->hooks));
	if (!g->hooks) {
		complain("out of memory");
		return -1;
	}
	for (; g->n_hooks < n; g->n_hooks++) {
		const struct fw_meta_link *l = &g->meta->links[g->n_hooks];
		struct hook_gauge *h = &g->hooks[g->n_hooks];

		h->hook = l->hook < FW_HOOK_COUNT ? hook_name((enum fw_hook)l->hook) : "unknown";
		h->mode =
			l->mode < sizeof(mode_names) / sizeof(*mode_names) ? mode_names[l->mode] : "unknown";
		h->target = meta_string(g->meta, l->target);
		if (!h->target)
			h->target = "";
		check_hook(h, &q, l);
	}
	return 0;
}
