/* SPDX-License-Identifier: GPL-2.0-only */
#include "rfc3339.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "put.h"

#define SECOND 1000000000ull
#define PREFIX_LEN 20 /* "2026-11-22T13:18:47." */

char *rfc3339_put(char *p, uint64_t ns, int digits)
{
	static _Thread_local char prefix[PREFIX_LEN];
	static _Thread_local uint64_t known = UINT64_MAX;
	static const uint32_t scale[10] = {1000000000, 100000000, 10000000, 1000000, 100000,
					   10000,      1000,	  100,	    10,	     1};
	uint64_t sec = ns / SECOND;

	if (sec != known) {
		time_t t = (time_t)sec;
		struct tm tm;
		char *q = prefix;

		gmtime_r(&t, &tm); /* 64 bits of ns end in 2554: the year has four digits */
		q = put_digits(q, (uint32_t)tm.tm_year + 1900, 4);
		*q++ = '-';
		q = put_digits(q, (uint32_t)tm.tm_mon + 1, 2);
		*q++ = '-';
		q = put_digits(q, (uint32_t)tm.tm_mday, 2);
		*q++ = 'T';
		q = put_digits(q, (uint32_t)tm.tm_hour, 2);
		*q++ = ':';
		q = put_digits(q, (uint32_t)tm.tm_min, 2);
		*q++ = ':';
		q = put_digits(q, (uint32_t)tm.tm_sec, 2);
		*q = '.';
		known = sec;
	}
	p = put_mem(p, prefix, PREFIX_LEN);
	p = digits ? put_digits(p, (uint32_t)(ns % SECOND) / scale[digits], digits) : p - 1;
	*p++ = 'Z';
	return p;
}

/* number(s, n, v): exactly ${n} digits. */
static bool number(const char *s, int n, int *v)
{
	*v = 0;
	for (int i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		*v = *v * 10 + (s[i] - '0');
	}
	return true;
}

int rfc3339_parse(const char *s, size_t len, uint64_t *ns)
{
	struct tm tm = {}, back;
	int frac = 0, digits = 0;
	time_t t;

	if (len < 20 || len > RFC3339_MAX || s[len - 1] != 'Z' || s[4] != '-' || s[7] != '-' ||
	    s[10] != 'T' || s[13] != ':' || s[16] != ':')
		return -1;
	if (!number(s, 4, &tm.tm_year) || !number(s + 5, 2, &tm.tm_mon) || !number(s + 8, 2, &tm.tm_mday) ||
	    !number(s + 11, 2, &tm.tm_hour) || !number(s + 14, 2, &tm.tm_min) ||
	    !number(s + 17, 2, &tm.tm_sec))
		return -1;
	if (len > 20) {
		digits = (int)len - 21;
		if (s[19] != '.' || digits < 1 || !number(s + 20, digits, &frac))
			return -1;
	}
	if (tm.tm_year < 1970 || tm.tm_year > 2553)
		return -1;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	back = tm;
	t = timegm(&back); /* which normalises: a date that doesn't exist comes back as another one */
	if (back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday || back.tm_hour != tm.tm_hour ||
	    back.tm_min != tm.tm_min || back.tm_sec != tm.tm_sec)
		return -1;
	for (; digits < 9; digits++)
		frac *= 10;
	*ns = (uint64_t)t * SECOND + (uint64_t)frac;
	return 0;
}
