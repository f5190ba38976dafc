/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot_clock.h"

#include <stdio.h>
#include <time.h>

#define NS_PER_S 1000000000ULL

/* What the namespace adds, in ns; two's complement, since it can be less than nothing. */
static uint64_t read_offset(void)
{
	FILE *f = fopen("/proc/self/timens_offsets", "re");
	uint64_t offset = 0;
	long long s, ns;
	char clock[16];

	while (f && fscanf(f, "%15s %lld %lld", clock, &s, &ns) == 3)
		if (clock[0] == 'b' || (clock[0] == '7' && !clock[1])) /* boottime, or its number */
			offset = (uint64_t)s * NS_PER_S + (uint64_t)ns;
	if (f)
		fclose(f);
	return offset;
}

uint64_t boot_ns(void)
{
	static uint64_t offset;
	static int known;
	struct timespec t;

	if (!known) {
		offset = read_offset();
		known = 1;
	}
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec - offset;
}

uint64_t boot_ms(void)
{
	return boot_ns() / 1000000;
}
