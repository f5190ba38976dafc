/* SPDX-License-Identifier: GPL-2.0-only */
/* Which files a policy is made of. */
#include <string.h>
#include <sys/stat.h>

#include "policy_reader.h"

/* Including can fan out exponentially before a duplicate name is noticed. */
#define FILES_MAX 1000

/* A file whose includes are being followed, and who included it. */
struct opened {
	const struct opened *by;
	const char *path;
	bool known; /* a file with an identity: not standard input */
	dev_t dev;
	ino_t ino;
	unsigned int depth;
};

/* Relative to the file that names it, not to where fwc runs: a policy can be moved as a folder. */
char *path_beside(struct arena *a, const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');

	if (path[0] == '/' || !slash)
		return arena_strndup(a, path, strlen(path));
	return arena_printf(a, "%.*s%s", (int)(slash + 1 - file), file, path);
}

/* Device and inode, because one file has many paths. */
static void identify(struct opened *o, const char *path, const struct opened *by)
{
	struct stat st;

	*o = (struct opened){.by = by, .path = path, .depth = by ? by->depth + 1 : 0};
	if (stat(path, &st) < 0)
		return;
	o->known = true;
	o->dev = st.st_dev;
	o->ino = st.st_ino;
}

static void follow(struct reader *r, const struct opened *self, const struct node *root, bool main);

static void include(struct reader *r, const struct opened *by, const char *path, const struct where *where)
{
	const struct node *root;
	struct opened self;

	identify(&self, path, by);
	for (const struct opened *o = by; o && self.known; o = o->by) {
		if (o->known && o->dev == self.dev && o->ino == self.ino) {
			reader_error(r, where, "\"%s\" includes itself%s%s", path, o == by ? "" : " through ",
				     o == by ? "" : by->path);
			return;
		}
	}
	if (r->n_files >= FILES_MAX || self.depth > 64) {
		reader_error(r, where, "too many files: at most %d, included at most 64 levels deep",
			     FILES_MAX);
		return;
	}
	root = r->in->load(r->a, r->d, path, where);
	if (root)
		follow(r, &self, root, false);
}

static void follow_list(struct reader *r, const struct opened *self, const struct member *m)
{
	const struct node *list = read_list(r, m);

	for (size_t i = 0; list && i < list->count; i++) {
		const struct node *n = list->items[i];
		const char *path = read_entry(r, "include", n);

		if (path && !*path)
			reader_error(r, &n->where,
				     "an entry of \"include\" is empty: it must be the path of a file");
		else if (path)
			include(r, self, path_beside(r->a, self->path, path), &n->where);
	}
}

/* Included files come before the one that includes them: at equal priority their rules are first. */
static void follow(struct reader *r, const struct opened *self, const struct node *root, bool main)
{
	const struct where nowhere = {0};

	for (size_t i = 0; root->kind == NODE_MAP && !r->ir && i < root->count; i++)
		if (!strcmp(root->members[i].key, "include"))
			follow_list(r, self, &root->members[i]);
	for (size_t i = 0; main && i < r->in->n_more; i++)
		include(r, self, r->in->more[i], &nowhere);
	if (r->n_files == r->files_room) {
		r->files_room = r->files_room ? r->files_room * 2 : 8;
		r->files = arena_resize(r->a, r->files, r->files_room * sizeof(*r->files));
	}
	r->files[r->n_files++] = root;
}

void collect_files(struct reader *r)
{
	struct opened self;

	identify(&self, r->in->file, NULL);
	follow(r, &self, r->in->root, true);
}
