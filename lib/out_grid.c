/* SPDX-License-Identifier: GPL-2.0-only */
#include "out_grid.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "diag.h"

#define GAP 2 /* blanks between columns */

void grid_init(struct grid *g, const struct grid_column *columns)
{
	*g = (struct grid){.columns = columns};
	while (columns[g->n_columns].title)
		g->n_columns++;
}

void grid_add(struct grid *g, const char *fmt, ...)
{
	va_list ap;
	int err;

	if (!(g->n_cells & (g->n_cells - 1))) /* full at powers of two */
		g->cells = realloc(g->cells, (g->n_cells ? 2 * g->n_cells : 1) * sizeof(*g->cells));
	if (!g->cells)
		die(EXIT_SYSTEM, "out of memory");
	va_start(ap, fmt);
	err = vasprintf(&g->cells[g->n_cells++], fmt, ap);
	va_end(ap);
	if (err < 0)
		die(EXIT_SYSTEM, "out of memory");
}

/* Characters, not bytes. What is wide or combining is not known here and goes out of line. */
static size_t columns_of(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

/* measure(g, widths): 0 for a column that is empty. */
static void measure(const struct grid *g, size_t *widths)
{
	for (size_t c = 0; c < g->n_columns; c++)
		widths[c] = 0;
	for (size_t i = 0; i < g->n_cells; i++) {
		size_t n = columns_of(g->cells[i]);

		if (n > widths[i % g->n_columns])
			widths[i % g->n_columns] = n;
	}
	for (size_t c = 0; c < g->n_columns; c++) {
		size_t n = columns_of(g->columns[c].title);

		if (widths[c] && widths[c] < n)
			widths[c] = n;
	}
}

static size_t total_of(const struct grid *g, const size_t *widths)
{
	size_t total = 0;

	for (size_t c = 0; c < g->n_columns; c++)
		total += widths[c] ? widths[c] + (total ? GAP : 0) : 0;
	return total;
}

/* The widest column that may lose characters; NULL if there is none. */
static size_t *widest(const struct grid *g, size_t *widths)
{
	size_t *w = NULL;

	for (size_t c = 0; c < g->n_columns; c++)
		if (g->columns[c].kind == GRID_SHRINK && widths[c] > GRID_SHRUNK && (!w || widths[c] > *w))
			w = &widths[c];
	return w;
}

static void fit(const struct grid *g, size_t *widths, unsigned int width)
{
	size_t *w;

	while (total_of(g, widths) > width && (w = widest(g, widths)))
		--*w;
	for (unsigned int drop = 1; total_of(g, widths) > width && drop <= GRID_DROP_MAX; drop++)
		for (size_t c = 0; c < g->n_columns; c++)
			if (g->columns[c].drop == drop)
				widths[c] = 0;
}

/* cell(f, s, width, right, last): cut with a '~' at the end when it is too long. */
static void cell(FILE *f, const char *s, size_t width, bool right, bool last)
{
	size_t n = columns_of(s), keep = n > width ? width - 1 : n, used = 0;

	for (size_t pad = n; right && pad < width; pad++)
		fputc(' ', f);
	for (; *s; s++) {
		used += (*s & 0xc0) != 0x80;
		if (used > keep)
			break;
		fputc(*s, f);
	}
	if (keep < n)
		fputc('~', f);
	for (size_t pad = n; !right && !last && pad < width; pad++)
		fputc(' ', f);
}

static const char *text_of(const struct grid *g, char *const *cells, size_t c)
{
	return cells ? cells[c] : g->columns[c].title;
}

/* row(g, f, cells, widths): of titles if ${cells} is NULL; no blanks at its end. */
static void row(const struct grid *g, FILE *f, char *const *cells, const size_t *widths)
{
	size_t last = g->n_columns;
	bool first = true;

	while (last && (!widths[last - 1] || !*text_of(g, cells, last - 1)))
		last--;
	for (size_t c = 0; c < last; c++) {
		if (!widths[c])
			continue;
		if (!first)
			fprintf(f, "%*s", GAP, "");
		first = false;
		cell(f, text_of(g, cells, c), widths[c], g->columns[c].kind == GRID_RIGHT, c + 1 == last);
	}
	fputc('\n', f);
}

void grid_print(struct grid *g, FILE *f, unsigned int width)
{
	size_t widths[GRID_COLUMNS_MAX];

	if (!g->n_cells) {
		fputs("none\n", f);
		return;
	}
	measure(g, widths);
	if (width)
		fit(g, widths, width);
	row(g, f, NULL, widths);
	for (size_t i = 0; i + g->n_columns <= g->n_cells; i += g->n_columns)
		row(g, f, g->cells + i, widths);
	for (size_t i = 0; i < g->n_cells; i++)
		free(g->cells[i]);
	free(g->cells);
	*g = (struct grid){};
}
