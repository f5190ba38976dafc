/* SPDX-License-Identifier: GPL-2.0-only */
/* What /proc tells of the processes above us. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session.h"
#include "tables_build.h"

#define NAME "SSH_CONNECTION="
#define ANCESTORS_MAX 64 /* a parent may go and its number come again */

static void add(struct session_clues *c, struct session_clue one)
{
	c->list = xgrow(c->list, &c->room, c->n + 1, sizeof(*c->list));
	c->list[c->n++] = one;
}

static void add_sockets(struct session_clues *c, int process, long pid)
{
	char path[64], to[64];
	struct dirent *e;
	uint32_t inode;
	ssize_t len;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%ld/fd", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		len = readlinkat(dirfd(d), e->d_name, to, sizeof(to) - 1);
		if (len < 0)
			continue;
		to[len] = 0;
		if (sscanf(to, "socket:[%u]", &inode) == 1)
			add(c, (struct session_clue){ .process = process, .inode = inode, .fd = atoi(e->d_name) });
	}
	if (d)
		closedir(d);
}

static void add_environ(struct session_clues *c, int process, long pid)
{
	char path[64], *var = NULL;
	size_t room = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/environ", pid);
	f = fopen(path, "re");
	while (f && getdelim(&var, &room, 0, f) > 0)
		if (!strncmp(var, NAME, strlen(NAME)))
			add(c, (struct session_clue){ .process = process, .text = strdup(var + strlen(NAME)) });
	free(var);
	if (f)
		fclose(f);
}

/* 0 when there is none. */
static long parent_of(long pid)
{
	char path[64], stat[512], *after;
	size_t len = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	f = fopen(path, "re");
	if (f) {
		len = fread(stat, 1, sizeof(stat) - 1, f);
		fclose(f);
	}
	stat[len] = 0;
	/* "PID (NAME) STATE PARENT ...", and the name may have brackets and blanks */
	after = strrchr(stat, ')');
	return after && strlen(after) > 4 ? strtol(after + 4, NULL, 10) : 0;
}

void session_clues(struct session_clues *out)
{
	long pid = getpid();

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < ANCESTORS_MAX && pid > 1; i++) {
		add_sockets(out, i, pid);
		if (i)
			add_environ(out, i, pid);
		pid = parent_of(pid);
	}
}

void session_clues_free(struct session_clues *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->list[i].text);
	free(c->list);
	memset(c, 0, sizeof(*c));
}
