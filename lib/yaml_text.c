/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"
#include "yaml_text.h"
#include "yaml_tree.h"

/* All of ${f} up to one byte more than allowed, so that the caller sees whether there was more. */
static char *read_all(FILE *f, size_t *len)
{
	size_t room = 64 << 10, used = 0;
	char *text = NULL;

	for (;;) {
		char *bigger = realloc(text, room);
		size_t n;

		if (!bigger)
			die(EXIT_SYSTEM, "out of memory");
		text = bigger;
		n = fread(text + used, 1, room - used, f);
		used += n;
		if (used < room || used > YAML_MAX_BYTES)
			break;
		room *= 2;
	}
	*len = used;
	return text;
}

/* Eight bytes of printable ASCII at once: most of a policy. */
static int plain8(const char *s)
{
	uint64_t w;

	memcpy(&w, s, 8);
	/* below 0x20: the subtraction borrows into the top bit; 0x7f: adding one carries into it */
	return !((w | (w - 0x2020202020202020u) | (w + 0x0101010101010101u)) & 0x8080808080808080u);
}

/* What YAML 1.2 section 5.1 calls c-printable. */
static int allowed(uint32_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0x7e) || c == 0x85 ||
	       (c >= 0xa0 && c != 0xfeff && c != 0xfffe && c != 0xffff);
}

static const char *check(const char *s, size_t len, struct where *w)
{
	w->line = 1;
	w->col = 1;
	for (size_t i = 0; i < len;) {
		uint32_t c = 0;
		size_t n;

		if (len - i >= 8 && plain8(s + i)) {
			i += 8;
			w->col += 8;
			continue;
		}
		n = utf8_decode(s + i, len - i, &c);
		if (!n)
			return "not UTF-8 text";
		if (!c)
			return "a NUL byte: this is not text";
		if (!allowed(c))
			return "a control character: YAML does not allow it";
		i += n;
		w->col++;
		if (c == '\n') {
			w->line++;
			w->col = 1;
		}
	}
	return NULL;
}

char *yaml_text(struct diag *d, FILE *f, const char *name, size_t *len)
{
	struct where w = {.file = name};
	char *text = read_all(f, len);
	const char *wrong = NULL;

	if (ferror(f)) {
		diag_error(d, &w, NULL, "can't read: %s", strerror(errno));
		d->io = true;
		goto fail;
	}
	if (*len > YAML_MAX_BYTES) {
		diag_error(d, &w, NULL,
			   "larger than %u MiB: put big lists of addresses into set files (sets: {name: "
			   "{file: PATH}})",
			   YAML_MAX_BYTES >> 20);
		goto fail;
	}
	if (*len >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2))) {
		diag_error(d, &w, NULL, "UTF-16 text: save it as UTF-8");
		goto fail;
	}
	if (*len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		*len -= 3;
		memmove(text, text + 3, *len);
	}
	wrong = check(text, *len, &w);
	if (!wrong)
		return text;
	diag_error(d, &w, NULL, "%s", wrong);
fail:
	free(text);
	return NULL;
}
