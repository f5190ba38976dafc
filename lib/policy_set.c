/* SPDX-License-Identifier: GPL-2.0-only */
#include "field_value.h"
#include "policy_set.h"

const char *set_append(struct arena *a, struct set_input *s, const char *text, size_t len, bool *masked)
{
	const char *wrong;

	if (s->n == s->room) {
		s->room = s->room ? s->room * 2 : 16;
		s->cidrs = arena_resize(a, s->cidrs, s->room * sizeof(*s->cidrs));
	}
	if (len && (text[0] == '@' || text[0] == '!'))
		return text[0] == '@' ? "a set can't contain a set: list both in the rule"
				      : "exclusions belong into rules: \"!@NAME\" there excludes a set";
	wrong = parse_cidr(text, len, &s->cidrs[s->n], masked);
	s->n += !wrong;
	return wrong;
}

void set_complain(struct diag *d, const struct where *where, const char *text, size_t len, const char *wrong,
		  const struct cidr *c)
{
	int shown = len < 100 ? (int)len : 100;
	char buf[CIDR_TEXT_MAX];

	if (wrong) {
		diag_error(d, where, NULL, "\"%.*s\": %s", shown, text, wrong);
		return;
	}
	if (!c)
		return;
	format_cidr(c, buf);
	diag_warn(d, where, NULL, "\"%.*s\" has host bits: taken as %s", shown, text, buf);
}
