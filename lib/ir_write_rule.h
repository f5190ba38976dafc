/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FW_IR_WRITE_RULE_H
#define FW_IR_WRITE_RULE_H

#include <stdio.h>

#include "policy.h"

/* write_rule(f, p, r, texts): the JSON object of ${r}, a rule of ${p}, on one line without its end.
 * ${texts}: with "description". Errors stay in ${f}. */
void write_rule(FILE *f, const struct policy *p, const struct rule *r, bool texts);

/* write_strings(f, key, list, n): "KEY":["...",...] */
void write_strings(FILE *f, const char *key, char *const *list, size_t n);

#endif
