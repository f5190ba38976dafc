/* SPDX-License-Identifier: GPL-2.0-only */
/* The cgroups below those that the policy names, and all others. A flow remembers its opener's cgroup by the id alone,
 * from which the kernel program can't climb; so the tables know every id there is, and one that they don't know is of
 * a cgroup that has been removed. */
#include "resolve.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tables_build.h"

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* A directory still to be seen, or with name NULL the way back to the one above. */
struct step {
	char *name;
	uint64_t id;
};

/* A walk that holds one descriptor, however deep it goes: who may make cgroups may nest them beyond any limit on
 * descriptors or the length of paths, and must not hide from the tables that way. */
struct walk {
	struct resolved *r;
	uint32_t cgroup;     /* the named one it is below, or RES_OUTSIDE */
	size_t members_room; /* of r->members */
	struct step *steps;
	size_t n, room;
	int error; /* errno of what couldn't be read, apart from cgroups that went away */
};

static void push(struct walk *w, char *name, uint64_t id)
{
	w->steps = xgrow(w->steps, &w->room, w->n + 1, sizeof(*w->steps));
	w->steps[w->n++] = (struct step){ .name = name, .id = id };
}

static bool is_named(const struct resolved *r, uint64_t id)
{
	for (size_t i = 0; i < r->n_cgroups; i++)
		if (r->cgroups[i].id == id)
			return true;
	return false;
}

static void add_member(struct walk *w, uint64_t id)
{
	struct resolved *r = w->r;

	r->members = xgrow(r->members, &w->members_room, r->n_members + 1, sizeof(*r->members));
	r->members[r->n_members++] = (struct res_member){ .id = id, .cgroup = w->cgroup };
}

/* A child of the present directory: a member, and to be seen in turn. A named one has a walk of its own. */
static void add_child(struct walk *w, const char *name, uint64_t id)
{
	char *copy;

	if (is_named(w->r, id))
		return;
	copy = strdup(name);
	if (!copy)
		die(EXIT_SYSTEM, "out of memory");
	add_member(w, id);
	push(w, copy, id);
}

static void failed(struct walk *w, int error)
{
	if (error != ENOENT && error != ENODEV) /* removed meanwhile */
		w->error = error;
}

static void list(struct walk *w, int at)
{
	int fd = openat(at, ".", OPEN_DIR);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		failed(w, errno);
		if (fd >= 0)
			close(fd);
		return;
	}
	/* d_ino is st_ino, but of the cgroup itself even where something is mounted on it */
	while ((errno = 0, e = readdir(dir)))
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			add_child(w, e->d_name, e->d_ino);
	failed(w, errno ? errno : ENOENT);
	closedir(dir);
}

/* Most cgroups have none below them, which the links of a directory tell at a fraction of the price of looking. */
static bool is_leaf(int at, const struct step *s)
{
	struct stat st;

	return s->name && !fstatat(at, s->name, &st, AT_SYMLINK_NOFOLLOW) && st.st_ino == s->id && st.st_nlink == 2;
}

/* The directory of a step, or -1 with errno: ENOENT too when the name means something else by now. */
static int follow(int at, const struct step *s)
{
	int fd = openat(at, s->name ? s->name : "..", OPEN_DIR);
	struct stat st;

	if (fd < 0 || !s->name)
		return fd;
	if (!fstat(fd, &st) && st.st_ino == s->id)
		return fd;
	close(fd);
	errno = ENOENT;
	return -1;
}

static void walk_below(struct walk *w, int at)
{
	list(w, at);
	while (w->n) {
		struct step s = w->steps[--w->n];
		int fd;

		if (is_leaf(at, &s)) {
			free(s.name);
			continue;
		}
		fd = follow(at, &s);
		if (fd >= 0) {
			close(at);
			at = fd;
			if (s.name) {
				push(w, NULL, 0);
				list(w, at);
			}
		} else if (s.name) {
			failed(w, errno);
		} else {
			/* no way back: what is left can't be found */
			w->error = errno;
			while (w->n)
				free(w->steps[--w->n].name);
		}
		free(s.name);
	}
	close(at);
}

/* All below ${path}, which is the named cgroup of this index, or RES_OUTSIDE and the root. */
static void walk_from(struct walk *w, struct diag *d, const char *path, uint32_t cgroup)
{
	int fd = cgroup_open(path);

	w->cgroup = cgroup;
	w->error = 0;
	if (fd >= 0)
		walk_below(w, fd);
	else
		failed(w, errno);
	if (w->error)
		diag_warn(d, NULL, NULL,
			  "cgroup %s: not all below it could be read: %s; running flows from there end unless all cgroups may "
			  "have them",
			  path, strerror(w->error));
}

void resolve_members(struct diag *d, struct resolved *r)
{
	struct walk w = { .r = r };
	uint32_t level;
	uint64_t root;

	for (size_t i = 0; i < r->n_cgroups; i++) {
		size_t same = 0;

		/* two paths can mean one cgroup: the first one's walk is enough */
		while (r->cgroups[same].id != r->cgroups[i].id)
			same++;
		if (r->cgroups[i].id && same == i)
			walk_from(&w, d, r->cgroups[i].path, i);
	}
	if (r->n_cgroups && !cgroup_lookup("/", &root, &level) && !is_named(r, root)) {
		w.cgroup = RES_OUTSIDE;
		add_member(&w, root);
		walk_from(&w, d, "/", RES_OUTSIDE);
	}
	free(w.steps);
}
