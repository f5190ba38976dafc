/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>
#include <string.h>

#include "names.h"

#define NEAR_LEN 64 /* longer names get no suggestion */
#define NEAR_MANY                                                                                            \
	2000 /* nor does anyone get one from more names than this: a message must not take milliseconds */

static size_t hash(const char *s)
{
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	return h ^ h >> 32;
}

/* The slot that holds ${text}, or the free one where it belongs. */
static struct name *slot(const struct names *t, const char *text)
{
	size_t i = hash(text) & (t->room - 1);

	while (t->slots[i].text && strcmp(t->slots[i].text, text))
		i = (i + 1) & (t->room - 1);
	return &t->slots[i];
}

static void grow(struct names *t)
{
	struct names bigger = {.room = t->room ? t->room * 2 : 64};

	bigger.slots = calloc(bigger.room, sizeof(*bigger.slots));
	if (!bigger.slots)
		die(EXIT_SYSTEM, "out of memory");
	for (size_t i = 0; i < t->room; i++)
		if (t->slots[i].text)
			*slot(&bigger, t->slots[i].text) = t->slots[i];
	bigger.n = t->n;
	free(t->slots);
	*t = bigger;
}

struct name *names_add(struct names *t, const char *text, const struct where *where, size_t value)
{
	struct name *s;

	if (t->n * 2 >= t->room)
		grow(t);
	s = slot(t, text);
	if (s->text)
		return s;
	*s = (struct name){.text = text, .where = *where, .value = value};
	t->n++;
	return NULL;
}

struct name *names_find(const struct names *t, const char *text)
{
	struct name *s = t->room ? slot(t, text) : NULL;

	return s && s->text ? s : NULL;
}

const char *names_nearest(const struct names *t, const char *text)
{
	unsigned int best = near_limit(text) + 1;
	const char *found = NULL;

	for (size_t i = 0; i < t->room && t->n <= NEAR_MANY; i++) {
		unsigned int distance;

		if (!t->slots[i].text)
			continue;
		distance = near_distance(text, t->slots[i].text);
		/* the tie is broken by the alphabet, not by the order of the hash */
		if (distance < best || (distance == best && found && strcmp(t->slots[i].text, found) < 0)) {
			best = distance;
			found = t->slots[i].text;
		}
	}
	return found;
}

void names_free(struct names *t)
{
	free(t->slots);
	*t = (struct names){0};
}

unsigned int near_limit(const char *text)
{
	size_t len = strlen(text);

	return len <= 2 ? 0 : len <= 5 ? 1 : len <= 8 ? 2 : 3;
}

unsigned int near_distance(const char *a, const char *b)
{
	unsigned int row[3][NEAR_LEN + 1]; /* this one, the one above, the one above that */
	size_t la = strnlen(a, NEAR_LEN + 1), lb = strnlen(b, NEAR_LEN + 1);

	if (la > NEAR_LEN || lb > NEAR_LEN)
		return NEAR_LEN;
	for (size_t j = 0; j <= lb; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		unsigned int *now = row[i % 3], *above = row[(i + 2) % 3], *above2 = row[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned int best = above[j - 1] + (a[i - 1] != b[j - 1]);

			best = above[j] + 1 < best ? above[j] + 1 : best;
			best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    above2[j - 2] + 1 < best)
				best = above2[j - 2] + 1;
			now[j] = best;
		}
	}
	return row[la % 3][lb];
}
