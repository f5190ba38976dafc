/* SPDX-License-Identifier: GPL-2.0-only */
/* Times as text (RFC 3339), always UTC: "2026-11-22T13:18:47.123456789Z". */
#ifndef FW_RFC3339_H
#define FW_RFC3339_H

#include <stddef.h>
#include <stdint.h>

#define RFC3339_MAX 30 /* with nanoseconds, without NUL */

/* rfc3339_put(p, ns, digits): ${ns} since 1970 with ${digits} (0..9) of the fraction; appended at ${p}, no
 * NUL; returns the end. The date is remembered per second and thread, since events come in order. */
char *rfc3339_put(char *p, uint64_t ns, int digits);

/* rfc3339_parse(s, len, ns): as written above, fraction of 0 to 9 digits or none, zone Z only. 0, or -1 when
 * it is anything else or before 1970. */
int rfc3339_parse(const char *s, size_t len, uint64_t *ns);

#endif
