/* SPDX-License-Identifier: GPL-2.0-only */
/* Gauges as text: one printer per format of fwstat. */
#ifndef FW_OUT_STAT_H
#define FW_OUT_STAT_H

#include <stdbool.h>
#include <stdio.h>

#include "stat_gauge.h"

struct out_style {
	unsigned int width; /* columns of the terminal; 0: no terminal, as wide as it gets */
	bool colour;
	bool verbose; /* more columns for people; machine formats don't change */
};

struct out_format {
	const char *name; /* NULL ends the list */
	void (*print)(FILE *f, const struct gauges *g, const struct out_style *style);
};
extern const struct out_format out_formats[];

/* The printers. Errors of ${f} are the caller's to find (ferror). */
void out_stat_table(FILE *f, const struct gauges *g, const struct out_style *style);
void out_stat_json(FILE *f, const struct gauges *g, const struct out_style *style); /* one line */
void out_stat_prometheus(FILE *f, const struct gauges *g,
			 const struct out_style *style); /* text format 0.0.4 */

/* out_safe(f, s): ${s} as the inside of a JSON string that is harmless on a terminal, too (put_safe()). */
void out_safe(FILE *f, const char *s);

#endif
