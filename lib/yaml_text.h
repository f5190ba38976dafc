/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the yaml_* files. */
#ifndef FW_YAML_TEXT_H
#define FW_YAML_TEXT_H

#include <yaml.h>

#include "node.h"

/* yaml_text(d, f, name, len): all of ${f}, checked to be UTF-8 text as YAML allows it, without the byte order
 * mark, to be free()d; its length in ${*len}. NULL after reporting to ${d}. */
char *yaml_text(struct diag *d, FILE *f, const char *name, size_t *len);

/* yaml_place(name, mark): libyaml counts lines and characters from 0. */
struct where yaml_place(const char *name, const yaml_mark_t *mark);

/* yaml_complain(d, name, parser, text, len): report why ${parser} gave up on ${text}. */
void yaml_complain(struct diag *d, const char *name, const yaml_parser_t *parser, const char *text,
		   size_t len);

#endif
