/* SPDX-License-Identifier: GPL-2.0-only */
/* Who besides root may read an instance. What the modes let a member of the group do is in fw-security(7). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "diag.h"
#include "kern_inst.h"

/* Search only: whoever can open the instance's directory can lock it (flock), and loaders would wait for him. Of the others
 * the readers list maps/ and lock maps/ringN. */
#define MODE_PASS 0710
#define MODE_LIST 0750

/* of a pin below the instance's directory ("maps/control") */
static mode_t shared_mode(const char *name)
{
	static const char *const written[] = {
		"maps/readers",	   /* to claim a ring */
		"maps/log_limits", /* the reader's account of what was left out */
		"maps/" "ring",	   /* ring0/events: the consumer's position */
	};

	if (!strcmp(name, "maps/rings") || !strncmp(name, "maps/rings_", 11))
		return 0640;
	for (size_t i = 0; i < sizeof(written) / sizeof(*written); i++)
		if (!strncmp(name, written[i], strlen(written[i])))
			return 0660;
	/* who can open a link can detach it, and who can write any other map decides what passes */
	if (!strncmp(name, "maps/", 5) || !strncmp(name, "progs/clock", 11))
		return 0640;
	return 0600;
}

static mode_t shared_dir_mode(const char *name)
{
	if (!strncmp(name, "maps", 4))
		return MODE_LIST;
	return strcmp(name, "progs") ? 0700 : MODE_PASS;
}

/* give(in, name, mode, to): what is at ${name} below the instance's directory. 0, or EXIT_SYSTEM after complaining. */
static int give(const struct inst *in, const char *name, mode_t mode, gid_t to)
{
	/* taken away before it is given to others, and given last */
	if (!fchmodat(in->dir, name, mode & 0700, 0) && !fchownat(in->dir, name, (uid_t)-1, to, AT_SYMLINK_NOFOLLOW) &&
	    !fchmodat(in->dir, name, mode, 0))
		return 0;
	complain("cannot give %s/%s to group %u: %s%s", in->path, name, to, strerror(errno),
		 errno == EPERM ? " (for a group that fwload doesn't run in, it takes CAP_CHOWN)" : "");
	return EXIT_SYSTEM;
}

int inst_lend(const struct inst *in, const char *pin, bool is_dir)
{
	const char *name = pin + strlen(in->path) + 1;

	if (in->group == INST_NO_GROUP)
		return 0;
	return give(in, name, is_dir ? shared_dir_mode(name) : shared_mode(name), in->group);
}

/* lend_below(in, sub, own): everything in the directory ${sub}, then itself. ${own}: to root alone. */
static int lend_below(const struct inst *in, const char *sub, gid_t group, bool own)
{
	char path[INST_PATH_MAX], name[INST_PATH_MAX];
	DIR *d = inst_opendir(in, inst_pin(in, path, "%s", sub));
	struct dirent *e;
	int err = 0;

	if (!d) {
		complain("cannot list %s: %s", path, strerror(errno));
		return EXIT_SYSTEM;
	}
	while (!err && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%.100s/%.255s", sub, e->d_name);
		if (e->d_type == DT_DIR)
			err = lend_below(in, name, group, own);
		else
			err = give(in, name, own ? 0600 : shared_mode(name), group);
	}
	closedir(d);
	return err ? err : give(in, sub, own ? 0700 : shared_dir_mode(sub), group);
}

/* The directory of all instances can be passed by everyone then, who may know a name and is stopped at its directory:
 * there may be instances of several groups. */
static int open_way(const struct inst *in)
{
	int up = openat(in->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = -1;

	if (up >= 0) {
		err = fchmod(up, 0711);
		close(up);
	}
	if (err)
		complain("cannot change the mode of the directory above %s: %s", in->path, strerror(errno));
	return err ? EXIT_SYSTEM : 0;
}

int inst_share(struct inst *in, gid_t group)
{
	static const char *const subs[] = { "maps", "progs", "links" };
	bool own = group == 0;
	int err = give(in, ".", 0700, group);

	for (size_t i = 0; !err && i < sizeof(subs) / sizeof(*subs); i++)
		err = lend_below(in, subs[i], strcmp(subs[i], "links") ? group : 0, own);
	if (!err && !own)
		err = open_way(in);
	if (!err)
		err = give(in, ".", own ? 0700 : MODE_PASS, group);
	if (!err)
		in->group = own ? INST_NO_GROUP : group;
	return err;
}
