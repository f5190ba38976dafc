/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "diag.h"
#include "utf8.h"

/* Longer texts are cut: a scalar of a megabyte must not become a message of a megabyte. */
#define TEXT_MAX 600

void diag_init(struct diag *d, const char *prog)
{
	*d = (struct diag){.prog = prog, .out = stderr};
}

/* Characters that could move the cursor, change colours or reverse the order of what a terminal shows. */
static bool harmful(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* ${s} on ${f}, harmful characters and bytes that are not UTF-8 as \xNN, at most ${max} bytes of it. */
static void put_escaped(FILE *f, const char *s, size_t max)
{
	size_t n = strlen(s), used = 0;

	while (used < n) {
		uint32_t c = 0;
		size_t len = utf8_decode(s + used, n - used, &c);

		if (used + len > max) {
			fputs("...", f);
			return;
		}
		if (len && !harmful(c)) {
			fwrite(s + used, 1, len, f);
		} else {
			len = len ? len : 1;
			for (size_t i = 0; i < len; i++)
				fprintf(f, "\\x%02x", (unsigned char)s[used + i]);
		}
		used += len;
	}
}

static void put_where(FILE *f, const struct diag *d, const struct where *w)
{
	if (!w || !w->file) {
		fprintf(f, "%s: ", d->prog);
		return;
	}
	put_escaped(f, w->file, TEXT_MAX);
	if (w->path) {
		fputs(": ", f);
		put_escaped(f, w->path, TEXT_MAX);
	} else if (w->line) {
		fprintf(f, ":%u:%u", w->line, w->col);
	}
	fputs(": ", f);
}

void diag_at(struct diag *d, enum diag_level level, const struct where *where, const char *rule,
	     const char *fmt, ...)
{
	char *line = NULL, *text = NULL;
	unsigned int n = level == DIAG_ERROR ? ++d->errors : ++d->warnings;
	size_t size = 0;
	va_list ap;
	FILE *f;
	int len;

	if (level == DIAG_WARNING && d->quiet && !d->werror)
		return;
	if (n > DIAG_MAX) {
		d->left_out++;
		return;
	}
	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	f = len < 0 ? NULL : open_memstream(&line, &size);
	if (!f)
		die(EXIT_SYSTEM, "out of memory");
	put_where(f, d, where);
	fputs(level == DIAG_ERROR ? "error: " : "warning: ", f);
	put_escaped(f, text, TEXT_MAX);
	if (rule) {
		fputs(" [rule ", f);
		put_escaped(f, rule, TEXT_MAX);
		fputc(']', f);
	}
	fputc('\n', f);
	fclose(f);
	fwrite(line, 1, size, d->out); /* one write, so that lines of several programs don't mix */
	free(line);
	free(text);
}

bool diag_failed(const struct diag *d)
{
	return d->errors || d->io || (d->werror && d->warnings);
}

int diag_status(const struct diag *d)
{
	if (d->io)
		return EXIT_SYSTEM;
	return diag_failed(d) ? EXIT_JUDGED : EXIT_DONE;
}

void diag_finish(struct diag *d)
{
	if (d->left_out)
		fprintf(d->out, "%s: %u more messages not shown (%u errors, %u warnings in all)\n", d->prog,
			d->left_out, d->errors, d->warnings);
	else if (d->werror && d->warnings && !d->errors)
		fprintf(d->out, "%s: warnings are errors here (-W)\n", d->prog);
}

static void vcomplain(const char *fmt, va_list ap)
{
	char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	fprintf(stderr, "%s: ", program_invocation_short_name);
	put_escaped(stderr, text ? text : "out of memory", SIZE_MAX);
	fputc('\n', stderr);
	free(text);
}

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
}

void die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
	exit(status);
}
