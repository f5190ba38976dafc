/* SPDX-License-Identifier: GPL-2.0-only */
/* To be preloaded: after CLOCK_AFTER readings the real-time clock (CLOCK_REALTIME, time(), gettimeofday()) jumps by CLOCK_JUMP
 * seconds, as when somebody sets it. The other clocks go on. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long jump, after = -1, readings;

__attribute__((constructor)) static void begin(void)
{
	const char *by = getenv("CLOCK_JUMP"), *from = getenv("CLOCK_AFTER");

	jump = by ? atol(by) : 0;
	after = from ? atol(from) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
	int err = syscall(SYS_clock_gettime, clock, t);

	if (!err && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && readings++ >= after)
		t->tv_sec += jump;
	return err;
}

time_t time(time_t *where)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (where)
		*where = t.tv_sec;
	return t.tv_sec;
}

int gettimeofday(struct timeval *v, void *zone __attribute__((unused)))
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	v->tv_sec = t.tv_sec;
	v->tv_usec = t.tv_nsec / 1000;
	return 0;
}
