/* SPDX-License-Identifier: GPL-2.0-only */
#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cgroup_path.h"
#include "field_value.h"
#include "iface_list.h"
#include "tables_build.h"

int cgroup_open(const char *path)
{
	const char *below = cgroup_below_mount(path);
	int root = cgroup_root();

	if (root < 0) {
		errno = ENODEV;
		return -1;
	}
	below += strspn(below, "/");
	return openat(root, *below ? below : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int cgroup_lookup(const char *path, uint64_t *id, uint32_t *level)
{
	const char *below = cgroup_below_mount(path);
	int fd = cgroup_open(path);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st)) {
		close(fd);
		return -1;
	}
	close(fd);
	*id = st.st_ino; /* kernfs: the inode number is the cgroup's id */
	*level = 0;
	for (const char *s = below; *s; s++)
		if (*s != '/' && (s == below || s[-1] == '/'))
			++*level;
	return 0;
}

static void resolve_user(struct diag *d, const struct rule *rule, const char *name, struct resolved *r)
{
	uint64_t uid;

	for (size_t i = 0; i < r->n_users; i++)
		if (!strcmp(r->users[i].name, name))
			return;
	if (parse_uint(name, UINT32_MAX - 1, &uid)) {
		struct passwd *pw = getpwnam(name);

		if (!pw) {
			diag_error(d, &rule->keys[RK_USERS], rule->name, "user '%s' does not exist on this host", name);
			return;
		}
		uid = pw->pw_uid;
	}
	r->users = realloc(r->users, (r->n_users + 1) * sizeof(*r->users));
	if (!r->users)
		die(EXIT_SYSTEM, "out of memory");
	r->users[r->n_users++] = (struct res_user){ .name = name, .uid = uid };
}

static void resolve_cgroup(struct diag *d, const struct rule *rule, const char *path, struct resolved *r)
{
	struct res_cgroup c = { .path = path };

	for (size_t i = 0; i < r->n_cgroups; i++)
		if (!strcmp(r->cgroups[i].path, path))
			return;
	if (cgroup_lookup(path, &c.id, &c.level))
		diag_warn(d, &rule->keys[RK_CGROUPS], rule->name,
			  "cgroup %s: %s; the rule matches nobody there until the next load", path, strerror(errno));
	else if (c.level >= FW_CGROUP_LEVELS)
		diag_error(d, &rule->keys[RK_CGROUPS], rule->name, "cgroup %s is more than %d levels deep", path,
			   FW_CGROUP_LEVELS - 1);
	r->cgroups = realloc(r->cgroups, (r->n_cgroups + 1) * sizeof(*r->cgroups));
	if (!r->cgroups)
		die(EXIT_SYSTEM, "out of memory");
	r->cgroups[r->n_cgroups++] = c;
}

void resolve(struct diag *d, const struct policy *p, struct resolved *r)
{
	struct timespec tick;
	struct stat st;

	/* a tick of the coarse clock is a jiffy */
	if (!clock_getres(CLOCK_MONOTONIC_COARSE, &tick) && tick.tv_nsec)
		r->hz = 1000000000 / tick.tv_nsec;
	if (!stat("/proc/self/ns/net", &st))
		r->netns = st.st_ino;
	if (iface_list(&r->ifaces, &r->n_ifaces))
		diag_error(d, NULL, NULL, "cannot list the interfaces: %s", strerror(errno));
	for (size_t i = 0; i < p->n_rules; i++) {
		for (size_t k = 0; k < p->rules[i].n_users; k++)
			resolve_user(d, &p->rules[i], p->rules[i].users[k], r);
		for (size_t k = 0; k < p->rules[i].n_cgroups; k++)
			resolve_cgroup(d, &p->rules[i], p->rules[i].cgroups[k], r);
	}
	resolve_members(d, r);
}

struct res_iface *resolve_iface(const struct resolved *r, const char *name)
{
	for (size_t i = 0; i < r->n_ifaces; i++)
		if (!strcmp(r->ifaces[i].name, name))
			return &r->ifaces[i];
	return NULL;
}

void resolved_free(struct resolved *r)
{
	for (size_t i = 0; i < r->n_ifaces; i++)
		free((char *)r->ifaces[i].name);
	free(r->ifaces);
	free(r->users);
	free(r->cgroups);
	free(r->members);
}
