/* SPDX-License-Identifier: GPL-2.0-only */
/* A table of names with the place where each was given: for finding duplicates and references. */
#ifndef FW_NAMES_H
#define FW_NAMES_H

#include "diag.h"

struct name {
	const char *text; /* not copied; NULL: free slot */
	struct where where;
	size_t value;
};

struct names {
	struct name *slots; /* open addressing */
	size_t n, room;	    /* room: 0 or a power of two */
};

/* names_add(t, text, where, value): NULL when ${text} was new and is now in the table, otherwise the entry
 * that was there before (good until the next names_add). */
struct name *names_add(struct names *t, const char *text, const struct where *where, size_t value);

/* names_find(t, text): the entry, or NULL. */
struct name *names_find(const struct names *t, const char *text);

/* names_nearest(t, text): the name most like ${text}, or NULL when none is close. */
const char *names_nearest(const struct names *t, const char *text);

void names_free(struct names *t); /* the table may be used again, empty */

/* An edit distance for suggestions: insert, delete, replace, swap of neighbours cost 1 each (optimal string
 * alignment, Damerau 1964). near_distance(a, b) is larger than near_limit(a) when they are not alike. */
unsigned int near_distance(const char *a, const char *b);
unsigned int near_limit(const char *text);

#endif
