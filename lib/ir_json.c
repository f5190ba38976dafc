/* SPDX-License-Identifier: GPL-2.0-only */
#include "ir_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/* Bytes that end the quick part of a string: the quotation mark, the backslash, controls, all but ASCII. */
static const bool special[256] = {
	[0 ... 31] = true,
	['"'] = true,
	['\\'] = true,
	[128 ... 255] = true,
};

static void grow(char **buf, size_t *size, size_t need)
{
	size_t n = *size ? *size : 65536;
	char *p;

	while (n < need)
		n *= 2;
	if (n == *size)
		return;
	p = realloc(*buf, n);
	if (!p)
		die(EXIT_SYSTEM, "out of memory");
	*buf = p;
	*size = n;
}

bool json_error(struct json_in *in, const char *at, const char *fmt, ...)
{
	struct where w = {.file = in->name, .line = 1, .col = 1};
	char text[160];
	const char *p;
	va_list ap;

	for (p = in->text; p < at; p++) {
		if (*p == '\n')
			w.line++, w.col = 1;
		else if ((*p & 0xc0) != 0x80) /* characters, not bytes */
			w.col++;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	diag_error(in->d, &w, NULL, "%s", text);
	return false;
}

bool json_open(struct json_in *in, struct diag *d, FILE *f, const char *name)
{
	size_t size = 0, len = 0, got;
	char *buf = NULL;
	const char *nul;

	*in = (struct json_in){.d = d, .name = name};
	do {
		grow(&buf, &size, len + 65536 + 1);
		got = fread(buf + len, 1, size - len - 1, f);
		len += got;
	} while (got);
	buf[len] = '\0';
	in->text = in->p = buf;
	in->end = buf + len;
	if (ferror(f)) {
		struct where w = {.file = name};

		d->io = true;
		diag_error(d, &w, NULL, "can't read: %s", strerror(errno));
		return false;
	}
	if (len >= 3 && !memcmp(buf, "\xef\xbb\xbf", 3))
		return json_error(in, buf, "byte order mark: JSON is plain UTF-8 without one");
	nul = memchr(buf, '\0', len);
	if (nul)
		return json_error(in, nul, "NUL byte");
	return true;
}

void json_close(struct json_in *in)
{
	free((char *)in->text);
	free(in->scratch);
	*in = (struct json_in){0};
}

char json_next(struct json_in *in)
{
	const char *p = in->p;

	while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')
		p++;
	in->p = p;
	return *p;
}

bool json_take(struct json_in *in, char c)
{
	if (json_next(in) != c)
		return false;
	in->p++;
	return true;
}

static bool hex4(const char *p, unsigned int *v)
{
	int i;

	for (*v = 0, i = 0; i < 4; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			*v = *v << 4 | (unsigned int)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			*v = *v << 4 | (unsigned int)((c | 32) - 'a' + 10);
		else
			return false; /* the NUL at the end, too */
	}
	return true;
}

/* The escape at ${p} (its backslash) as UTF-8 to ${out}: bytes written, 0 if it is none; ${*used} bytes read.
 */
static size_t unescape(const char *p, char *out, size_t *used)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	unsigned int c, low;
	const char *simple;

	*used = 2;
	if (p[1] != 'u') {
		simple = p[1] ? strchr(from, p[1]) : NULL;
		if (!simple)
			return 0;
		*out = to[simple - from];
		return 1;
	}
	*used = 6;
	if (!hex4(p + 2, &c) || (c >= 0xdc00 && c <= 0xdfff))
		return 0;
	if (c >= 0xd800 && c <= 0xdbff) { /* the first half of a pair */
		if (p[6] != '\\' || p[7] != 'u' || !hex4(p + 8, &low) || low < 0xdc00 || low > 0xdfff)
			return 0;
		*used = 12;
		c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
		out[0] = (char)(0xf0 | c >> 18);
		out[1] = (char)(0x80 | (c >> 12 & 63));
		out[2] = (char)(0x80 | (c >> 6 & 63));
		out[3] = (char)(0x80 | (c & 63));
		return 4;
	}
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	out[0] = (char)(0xe0 | c >> 12);
	out[1] = (char)(0x80 | (c >> 6 & 63));
	out[2] = (char)(0x80 | (c & 63));
	return 3;
}

/* The rest of a string from its first escape, ${from} being its first byte. */
static bool escaped_string(struct json_in *in, const char *from, struct json_span *s)
{
	size_t len = (size_t)(in->p - from), used, n;
	uint32_t cp;

	grow(&in->scratch, &in->scratch_size, len + 8);
	memcpy(in->scratch, from, len);
	while (*in->p != '"') {
		unsigned char c = (unsigned char)*in->p;

		grow(&in->scratch, &in->scratch_size, len + 8);
		if (c == '\\') {
			n = unescape(in->p, in->scratch + len, &used);
			if (!n)
				return json_error(in, in->p, "bad escape in a string");
			s->nul |= !in->scratch[len];
		} else if (c < 32) {
			return json_error(in, in->p,
					  in->p == in->end ? "string without end"
							   : "control character in a string");
		} else {
			n = used = utf8_decode(in->p, (size_t)(in->end - in->p), &cp);
			if (!n)
				return json_error(in, in->p, "text is not UTF-8");
			memcpy(in->scratch + len, in->p, n);
		}
		len += n;
		in->p += used;
	}
	in->p++;
	s->s = in->scratch;
	s->len = len;
	return true;
}

bool json_string(struct json_in *in, struct json_span *s)
{
	const char *from = ++in->p;
	uint32_t cp;
	size_t n;

	s->nul = false;
	for (;;) {
		while (!special[(unsigned char)*in->p])
			in->p++;
		if (*in->p == '"')
			break;
		if (*in->p == '\\')
			return escaped_string(in, from, s);
		if ((unsigned char)*in->p < 32)
			return json_error(in, in->p,
					  in->p == in->end ? "string without end"
							   : "control character in a string");
		n = utf8_decode(in->p, (size_t)(in->end - in->p), &cp);
		if (!n)
			return json_error(in, in->p, "text is not UTF-8");
		in->p += n;
	}
	s->s = from;
	s->len = (size_t)(in->p++ - from);
	return true;
}

static bool digits(struct json_in *in)
{
	const char *from = in->p;

	while (*in->p >= '0' && *in->p <= '9')
		in->p++;
	return in->p > from;
}

bool json_number(struct json_in *in, struct json_span *s, bool *integer)
{
	const char *from = in->p;

	*integer = true;
	if (*in->p == '-')
		in->p++;
	if (*in->p == '0')
		in->p++; /* and no further digit: "010" is not JSON */
	else if (!digits(in))
		return json_error(in, in->p, "bad number");
	if (*in->p == '.') {
		in->p++;
		*integer = false;
		if (!digits(in))
			return json_error(in, in->p, "bad number");
	}
	if (*in->p == 'e' || *in->p == 'E') {
		in->p++;
		*integer = false;
		if (*in->p == '+' || *in->p == '-')
			in->p++;
		if (!digits(in))
			return json_error(in, in->p, "bad number");
	}
	if (*in->p >= '0' && *in->p <= '9')
		return json_error(in, in->p, "number with a leading zero");
	*s = (struct json_span){.s = from, .len = (size_t)(in->p - from)};
	return true;
}

bool json_word(struct json_in *in, const char *word)
{
	const char *p = in->p;

	while (*word && *p == *word)
		p++, word++;
	if (*word)
		return false;
	in->p = p;
	return true;
}
