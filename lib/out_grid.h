/* SPDX-License-Identifier: GPL-2.0-only */
/* Aligned columns for people. */
#ifndef FW_OUT_GRID_H
#define FW_OUT_GRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum grid_kind {
	GRID_LEFT,
	GRID_RIGHT,  /* numbers */
	GRID_SHRINK, /* text that may be cut to fit the terminal, to GRID_SHRUNK characters at least */
};
struct grid_column {
	const char *title; /* NULL ends the list */
	enum grid_kind kind;
	unsigned int drop; /* when nothing is left to cut: 1 is left out first, 0 never */
};
#define GRID_SHRUNK 8
#define GRID_COLUMNS_MAX 16
#define GRID_DROP_MAX 4

struct grid {
	const struct grid_column *columns;
	size_t n_columns, n_cells;
	char **cells; /* row by row */
};

/* grid_init(g, columns): ${columns} must outlive ${g}. */
void grid_init(struct grid *g, const struct grid_column *columns);

/* grid_add(g, fmt, ...): the next cell; rows are filled from left to right. The text must be harmless on a
 * terminal. Exits when out of memory. */
void grid_add(struct grid *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* grid_print(g, f, width): titles and rows; ${width} 0 is no limit. Columns that are empty in every row are
 * left out. Ends ${g}. */
void grid_print(struct grid *g, FILE *f, unsigned int width);

#endif
