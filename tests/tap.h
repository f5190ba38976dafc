/* SPDX-License-Identifier: GPL-2.0-only */
/* Test Anything Protocol for the C tests: one program is one file of results on standard output. */
#ifndef FW_TAP_H
#define FW_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int tests, failed;

/* ok(good, fmt, ...): one result; returns ${good}. */
static bool ok(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool ok(bool good, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("%sok %d - ", good ? "" : "not ", ++tests);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	failed += !good;
	return good;
}

/* same(got, want, what): one result; shows both texts when they differ. */
static inline void same(const char *got, const char *want, const char *what)
{
	if (!ok(!strcmp(got, want), "%s", what))
		printf("# got:  %s\n# want: %s\n", got, want);
}

/* done(): the plan; the exit status. */
static inline int done(void)
{
	printf("1..%d\n", tests);
	return failed ? 1 : 0;
}

/* xorshift, Marsaglia 2003: the same numbers every run */
static inline uint64_t random64(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

#endif
