/* SPDX-License-Identifier: GPL-2.0-only */
/* Which cgroups a policy's names cover, on real cgroups that this makes below its own. TAP; needs root. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cgroup_path.h"
#include "lib/ir.h"
#include "lib/resolve.h"
#include "tests/tap.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define DEEP 40

/* Top down; "" is the test's own one, which holds the others. */
static const char *const tree[] = {"", "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/ab", "/x", "/x/y", "/x/y/z"};
static char top[3000]; /* its path from the root, like "/fw-unit-123" */

static const char *below(const char *name)
{
	static char path[4][4096];
	static int turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%s%s", top, name);
	return path[turn];
}

/* From the root, relative to cgroup_root(). */
static const char *rel(const char *name)
{
	return below(name) + 1;
}

static uint64_t id_of(const char *name)
{
	struct stat st;

	return fstatat(cgroup_root(), rel(name), &st, 0) ? 0 : st.st_ino;
}

/* ---- resolving ---- */

/* resolved_by(paths): what a policy that names the paths (separated by blanks, from the root) resolves to; how
 * many warnings that gave in ${warnings}. The policy stays: the result points into it. */
static struct resolved resolved_by(const char *paths, unsigned int *warnings)
{
	static struct policy *p;
	struct resolved r = {0};
	char *text = NULL, *copy = strdup(paths);
	size_t len, n = 0;
	struct diag d;
	FILE *f = open_memstream(&text, &len);

	fprintf(f, "{\"ir_version\":1,\"rules\":[");
	for (char *s = strtok(copy, " "); s; s = strtok(NULL, " "), n++)
		fprintf(f, "%s{\"name\":\"r%zu\",\"priority\":%zu,\"direction\":\"egress\",\"cgroups\":[\"%s\"]}",
			n ? "," : "", n, n + 1, s);
	fprintf(f, "]}");
	fclose(f);
	policy_free(p);
	diag_init(&d, "unit_resolve");
	d.quiet = true;
	f = fmemopen(text, len, "r");
	p = ir_read(&d, f, "policy");
	fclose(f);
	if (!p) {
		printf("Bail out! no policy: %s\n", text);
		exit(1);
	}
	d.warnings = 0;
	resolve(&d, p, &r);
	*warnings = d.warnings;
	free(text);
	free(copy);
	return r;
}

/* The named path that ${id} is a member of; "" if of none, "twice" if it is there more often. */
static const char *owner(const struct resolved *r, uint64_t id)
{
	const char *found = "";

	for (size_t i = 0; i < r->n_members; i++)
		if (r->members[i].id == id && *found)
			found = "twice";
		else if (r->members[i].id == id)
			found = r->members[i].cgroup == RES_OUTSIDE ? "outside" : r->cgroups[r->members[i].cgroup].path;
	return found;
}

/* How many are below the policy's: those outside are the machine's business. */
static size_t inside(const struct resolved *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_members; i++)
		n += r->members[i].cgroup != RES_OUTSIDE;
	return n;
}

/* The owners of the tree, in its order: "-" for none, which the policy's have, "outside", else the path below the test's own
 * cgroup ("." is that). */
static void owners(const struct resolved *r, char *text, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < COUNT(tree); i++) {
		const char *o = owner(r, id_of(tree[i]));

		if (!*o)
			o = "-";
		else if (!strncmp(o, top, strlen(top)))
			o = o[strlen(top)] ? o + strlen(top) : ".";
		n += snprintf(text + n, size - n, "%s%s", i ? " " : "", o);
	}
}

/* ${members}: how many there are in all; -1: nobody knows. */
static void test_owners(const char *paths, const char *want, int members, unsigned int want_warnings,
			const char *what)
{
	unsigned int warnings;
	struct resolved r = resolved_by(paths, &warnings);
	char got[8192];

	owners(&r, got, sizeof(got));
	same(got, want, what);
	if (members >= 0)
		ok(inside(&r) == (size_t)members, "%s: %zu members", what, inside(&r));
	ok(warnings == want_warnings, "%s: %u warnings", what, warnings);
	resolved_free(&r);
}

static const char *list_of(const char *a, const char *b, const char *c)
{
	static char text[16384];

	snprintf(text, sizeof(text), "%s %s %s", a, b, c);
	return text;
}

static void test_nesting(void)
{
	/*              "" /a /a/b /a/b/c /a/b/c/d /ab /x /x/y /x/y/z */
	test_owners(list_of(below("/a"), below("/a/b"), below("/x/y")), "outside - - /a/b /a/b outside outside - /x/y", 3, 0,
		    "the deepest named ancestor");
	test_owners(list_of(below("/a/b/c"), below("/a"), below("")), "- - /a - /a/b/c . . . .", 6, 0,
		    "nested ones, the deepest first");
	test_owners(list_of(below("/a/b/c/d"), below("/gone"), below("/ab")), "outside outside outside outside - - outside outside outside", 0, 1,
		    "leaves, and one that doesn't exist");
	test_owners(list_of("/", below("/a/b"), ""), "/ / - /a/b /a/b / / / /", -1, 0, "everything is below the root");
}

/* A path with the mount point before it and one without. */
static void test_two_paths(void)
{
	char link[40], mount[2048] = "";

	snprintf(link, sizeof(link), "/proc/self/fd/%d", cgroup_root());
	if (readlink(link, mount, sizeof(mount) - 1) < 0)
		ok(false, "readlink");
	strncat(mount, below("/a"), sizeof(mount) - strlen(mount) - 1);
	test_owners(list_of(below("/a"), mount, ""), "outside - /a /a /a outside outside outside outside", 3, 0, "one cgroup by two paths");
}

/* ---- what users that may make cgroups can do ---- */

static rlim_t descriptors(rlim_t n)
{
	struct rlimit l;
	rlim_t before;

	getrlimit(RLIMIT_NOFILE, &l);
	before = l.rlim_cur;
	l.rlim_cur = n;
	setrlimit(RLIMIT_NOFILE, &l);
	return before;
}

static void test_deep(void)
{
	int fds[DEEP + 1] = {openat(cgroup_root(), rel("/x/y/z"), O_RDONLY | O_DIRECTORY)}, depth = 0;
	uint64_t ids[DEEP];
	unsigned int warnings;
	char name[201];
	struct stat st;
	struct resolved r;
	rlim_t before;
	bool all = true;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	while (depth < DEEP && !mkdirat(fds[depth], name, 0755)) {
		fds[depth + 1] = openat(fds[depth], name, O_RDONLY | O_DIRECTORY);
		ids[depth] = fstat(fds[depth + 1], &st) ? 0 : st.st_ino;
		depth++;
	}
	before = descriptors(fds[DEEP] + 5);
	r = resolved_by(list_of(below("/x"), "", ""), &warnings);
	descriptors(before);
	for (int i = 0; i < depth; i++)
		all &= !strcmp(owner(&r, ids[i]), below("/x"));
	ok(depth == DEEP && all && !warnings && inside(&r) == DEEP + 2,
	   "%d deep, longer than a path may be, with hardly a descriptor left (%zu members, %u warnings)", depth,
	   inside(&r), warnings);
	resolved_free(&r);
	while (depth--) {
		close(fds[depth + 1]);
		unlinkat(fds[depth], name, AT_REMOVEDIR);
	}
	close(fds[0]);
}

static void test_unreadable(void)
{
	fchmodat(cgroup_root(), rel("/a/b"), 0700, 0);
	if (seteuid(65534))
		ok(false, "seteuid");
	test_owners(list_of(below("/a"), below("/x"), ""), "outside - /a - - outside - /x /x", 3, 1,
		    "one that may not be read");
	if (seteuid(0))
		ok(false, "seteuid");
	fchmodat(cgroup_root(), rel("/a/b"), 0755, 0);
	test_owners(list_of(below("/a"), below("/x"), ""), "outside - /a /a /a outside - /x /x", 5, 0, "and may again");
}

/* Others come and go all the time: no complaint, and those that stay are found. */
static void test_busy(void)
{
	pid_t child = fork();
	unsigned int warnings = 0, w;
	uint64_t c = id_of("/a/b/c"), z = id_of("/x/y/z");
	size_t fewest = 1000, most = 0;
	bool all = true;

	if (!child) {
		for (int i = 0; getppid() != 1; i++) {
			mkdirat(cgroup_root(), rel("/x/new"), 0755);
			mkdirat(cgroup_root(), rel("/x/new/er"), 0755);
			unlinkat(cgroup_root(), rel("/x/new/er"), AT_REMOVEDIR);
			unlinkat(cgroup_root(), rel("/x/new"), AT_REMOVEDIR);
		}
		_exit(0);
	}
	for (int i = 0; i < 3000 && (i < 300 || fewest == most); i++) {
		struct resolved r = resolved_by(list_of(below("/a"), below("/x"), ""), &w);

		warnings += w;
		fewest = inside(&r) < fewest ? inside(&r) : fewest;
		most = inside(&r) > most ? inside(&r) : most;
		all &= !strcmp(owner(&r, c), below("/a")) && !strcmp(owner(&r, z), below("/x"));
		resolved_free(&r);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	unlinkat(cgroup_root(), rel("/x/new/er"), AT_REMOVEDIR);
	unlinkat(cgroup_root(), rel("/x/new"), AT_REMOVEDIR);
	ok(child > 0 && all && !warnings && most > fewest, "while others come and go: %zu to %zu members, %u warnings",
	   fewest, most, warnings);
}

/* ---- the tree ---- */

static void own_cgroup(void)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[2048], own[2048] = "/";

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "0::", 3))
			sscanf(line, "0::%2047s", own);
	if (f)
		fclose(f);
	snprintf(top, sizeof(top), "%s/fw-unit-%d", strcmp(own, "/") ? own : "", getpid());
}

static void remove_tree(void)
{
	for (size_t i = COUNT(tree); i-- > 0;)
		unlinkat(cgroup_root(), rel(tree[i]), AT_REMOVEDIR);
}

int main(void)
{
	own_cgroup();
	for (size_t i = 0; i < COUNT(tree); i++)
		if (cgroup_root() < 0 || mkdirat(cgroup_root(), rel(tree[i]), 0755)) {
			printf("1..0 # SKIP can't make a cgroup: %s\n", strerror(errno));
			remove_tree();
			return 0;
		}
	test_nesting();
	test_two_paths();
	test_deep();
	test_unreadable();
	test_busy();
	remove_tree();
	return done();
}
