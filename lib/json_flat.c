/* SPDX-License-Identifier: GPL-2.0-only */
#include "json_flat.h"

#include <string.h>

#include "utf8.h"

#define DEPTH_MAX 32

void flat_begin(struct flat *f, char *text, size_t len)
{
	*f = (struct flat){.p = text, .end = text + len};
}

static bool fail(struct flat *f, const char *why)
{
	f->why = why;
	return false;
}

/* peek(f): the next character that isn't white space, 0 at the end (a NUL in the text is an error anyway). */
static char peek(struct flat *f)
{
	while (f->p < f->end && (*f->p == ' ' || *f->p == '\t' || *f->p == '\r' || *f->p == '\n'))
		f->p++;
	return f->p < f->end ? *f->p : 0;
}

static bool hex4(struct flat *f, uint32_t *c)
{
	*c = 0;
	if (f->end - f->p < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		static const char hex[] = "0123456789abcdef0123456789ABCDEF";
		const char *d = *f->p ? strchr(hex, *f->p) : NULL;

		if (!d)
			return false;
		*c = *c << 4 | (uint32_t)((d - hex) & 15);
		f->p++;
	}
	return true;
}

static char *put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		*out++ = (char)c;
	} else if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
		*out++ = (char)(0x80 | (c & 63));
	} else {
		if (c < 0x10000) {
			*out++ = (char)(0xe0 | c >> 12);
		} else {
			*out++ = (char)(0xf0 | c >> 18);
			*out++ = (char)(0x80 | (c >> 12 & 63));
		}
		*out++ = (char)(0x80 | (c >> 6 & 63));
		*out++ = (char)(0x80 | (c & 63));
	}
	return out;
}

/* escape(f, out): what follows a backslash. NULL when it is no escape. */
static char *escape(struct flat *f, char *out)
{
	static const char plain[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
	const char *at = f->p < f->end && *f->p ? strchr(plain, *f->p) : NULL;
	uint32_t c, low;

	if (at) {
		f->p++;
		*out++ = means[at - plain];
		return out;
	}
	if (f->p >= f->end || *f->p++ != 'u' || !hex4(f, &c))
		return NULL;
	if (c >= 0xd800 && c < 0xe000) {
		if (c >= 0xdc00 || f->end - f->p < 6 || *f->p++ != '\\' || *f->p++ != 'u' || !hex4(f, &low) ||
		    low < 0xdc00 || low >= 0xe000)
			return NULL;
		c = 0x10000 + ((c & 0x3ff) << 10) + (low & 0x3ff);
	}
	return put_utf8(out, c);
}

static bool string(struct flat *f, const char **s, size_t *len)
{
	char *start = ++f->p, *out = start;

	while (f->p < f->end) {
		uint32_t c = (unsigned char)*f->p;
		size_t n = 1;

		if (c == '"') {
			f->p++;
			*out = 0; /* at the latest where the quote was */
			*s = start;
			*len = (size_t)(out - start);
			return true;
		}
		if (c < 0x20)
			return fail(f, "control character in a string");
		if (c == '\\') {
			f->p++;
			out = escape(f, out);
			if (!out)
				return fail(f, "bad escape in a string");
			continue;
		}
		if (c >= 0x80 && !(n = utf8_decode(f->p, (size_t)(f->end - f->p), &c)))
			return fail(f, "not UTF-8");
		memmove(out, f->p, n);
		out += n;
		f->p += n;
	}
	return fail(f, "unterminated string");
}

static bool digits(struct flat *f)
{
	char *start = f->p;

	while (f->p < f->end && *f->p >= '0' && *f->p <= '9')
		f->p++;
	return f->p > start;
}

static bool number(struct flat *f, struct flat_value *v)
{
	char *start = f->p;
	bool whole = true;

	v->kind = FLAT_UINT;
	v->n = 0;
	if (*f->p == '-') {
		whole = false;
		f->p++;
	}
	if (f->p < f->end && *f->p == '0')
		f->p++;
	else if (!digits(f))
		return fail(f, "not a JSON value");
	for (char *d = start; whole && d < f->p; d++)
		if (__builtin_mul_overflow(v->n, 10u, &v->n) ||
		    __builtin_add_overflow(v->n, (uint64_t)(*d - '0'), &v->n))
			whole = false;
	if (f->p < f->end && *f->p == '.') {
		whole = false;
		f->p++;
		if (!digits(f))
			return fail(f, "not a number");
	}
	if (f->p < f->end && (*f->p == 'e' || *f->p == 'E')) {
		whole = false;
		f->p++;
		if (f->p < f->end && (*f->p == '+' || *f->p == '-'))
			f->p++;
		if (!digits(f))
			return fail(f, "not a number");
	}
	if (!whole)
		v->kind = FLAT_OTHER;
	return true;
}

static bool value(struct flat *f, struct flat_value *v, int depth);

/* nested(f, close, depth): an object or a list, checked and forgotten. */
static bool nested(struct flat *f, char close, int depth)
{
	struct flat_value inner;
	const char *key;
	size_t len;

	if (depth >= DEPTH_MAX)
		return fail(f, "nested too deep");
	f->p++;
	if (peek(f) == close) {
		f->p++;
		return true;
	}
	for (;;) {
		if (close == '}') {
			if (peek(f) != '"')
				return fail(f, "expected a key");
			if (!string(f, &key, &len))
				return false;
			if (peek(f) != ':')
				return fail(f, "expected ':'");
			f->p++;
		}
		if (!value(f, &inner, depth + 1))
			return false;
		if (peek(f) == close)
			break;
		if (peek(f) != ',')
			return fail(f, "expected ',' or the end of the value");
		f->p++;
	}
	f->p++;
	return true;
}

static bool value(struct flat *f, struct flat_value *v, int depth)
{
	static const char *const words[] = {"true", "false", "null"};
	char c = peek(f);

	*v = (struct flat_value){.kind = FLAT_OTHER};
	if (c == '"') {
		v->kind = FLAT_STRING;
		return string(f, &v->s, &v->len);
	}
	if (c == '{' || c == '[')
		return nested(f, c == '{' ? '}' : ']', depth);
	if (c == '-' || (c >= '0' && c <= '9'))
		return number(f, v);
	for (int i = 0; i < 3; i++) {
		size_t n = strlen(words[i]);

		if ((size_t)(f->end - f->p) >= n && !memcmp(f->p, words[i], n)) {
			f->p += n;
			return true;
		}
	}
	return fail(f, "not a JSON value");
}

bool flat_next(struct flat *f, const char **key, struct flat_value *v)
{
	size_t len;
	char c = peek(f);

	if (f->why)
		return false;
	if (!f->started) {
		if (c != '{')
			return fail(f, "not a JSON object");
		f->p++;
		c = peek(f);
	}
	if (c == '}') {
		f->p++;
		peek(f);
		return f->p < f->end ? fail(f, "text after the object") : false;
	}
	if (f->started) {
		if (c != ',')
			return fail(f, "expected ',' or '}'");
		f->p++;
	}
	f->started = true;
	if (peek(f) != '"')
		return fail(f, "expected a key");
	if (!string(f, key, &len))
		return false;
	if (strlen(*key) != len)
		return fail(f, "NUL in a key");
	if (peek(f) != ':')
		return fail(f, "expected ':'");
	f->p++;
	return value(f, v, 0);
}
