/* SPDX-License-Identifier: GPL-2.0-only */
#include <string.h>

#include "utf8.h"
#include "yaml_text.h"

struct where yaml_place(const char *name, const yaml_mark_t *mark)
{
	return (struct where){.file = name, .line = mark->line + 1, .col = mark->column + 1};
}

/* libyaml's marks count characters, so the byte has to be looked for: an error happens once. */
static char byte_at(const yaml_mark_t *mark, const char *text, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < mark->index && at < len; i++) {
		uint32_t c;
		size_t n = utf8_decode(text + at, len - at, &c);

		at += n ? n : 1;
	}
	return at < len ? text[at] : '\0';
}

/* What people trip over; NULL when libyaml's own words must do. */
static const char *hint(const yaml_parser_t *p, char c)
{
	const char *context = p->context ? p->context : "", *problem = p->problem;

	if (strstr(context, "anchor") || strstr(context, "alias"))
		return "\"&\" and \"*\" begin an anchor or an alias in YAML: quote the text, like \"*\"";
	if (strstr(context, "tag") || strstr(problem, "tag"))
		return "\"!\" begins a tag in YAML: quote the text, like \"!10.0.0.0/8\"";
	/* [::1] is a missing key before a colon to YAML, while - ::1 is text */
	if (c == ':' && strstr(problem, "expected node content"))
		return "\":\" can't begin text between brackets in YAML: quote it, like \"::1\"";
	if (!strstr(problem, "cannot start any token"))
		return NULL;
	switch (c) {
	case '@':
		return "\"@\" can't begin text in YAML: quote it, like \"@name\"";
	case '`':
	case '%':
		return "text can't begin with this character in YAML: quote it";
	case '\t':
		return "a tab can't indent in YAML: use spaces";
	}
	return NULL;
}

void yaml_complain(struct diag *d, const char *name, const yaml_parser_t *p, const char *text, size_t len)
{
	struct where w = yaml_place(name, &p->problem_mark);
	const char *problem = p->problem ? p->problem : "unreadable", *said;

	if (p->error == YAML_MEMORY_ERROR)
		die(EXIT_SYSTEM, "out of memory");
	said = p->problem ? hint(p, byte_at(&p->problem_mark, text, len)) : NULL;
	/* of a tag, an anchor or an alias: where it begins, not where it stopped making sense */
	if (said && p->context && p->context_mark.line == p->problem_mark.line &&
	    (said[1] == '&' || said[1] == '!'))
		w = yaml_place(name, &p->context_mark);
	if (said)
		diag_error(d, &w, NULL, "%s", said);
	else if (p->context && p->context_mark.line != p->problem_mark.line)
		diag_error(d, &w, NULL, "not YAML: %s, %s that begins in line %zu", problem, p->context,
			   p->context_mark.line + 1);
	else if (p->context)
		diag_error(d, &w, NULL, "not YAML: %s, %s", problem, p->context);
	else
		diag_error(d, &w, NULL, "not YAML: %s", problem);
}
