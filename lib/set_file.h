/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FW_SET_FILE_H
#define FW_SET_FILE_H

#include "policy_set.h"

/* set_file_read(d, a, s, path, named): append the CIDRs of the file ${path} to ${s}: one CIDR or address a
 * line, "#" begins a comment, empty lines are fine, any size. What is wrong is reported with the line and
 * column in
 * ${path}; a file that can't be read at ${named}, the place that names it. ${path} must live as long as
 * ${d}'s other places. */
void set_file_read(struct diag *d, struct arena *a, struct set_input *s, const char *path,
		   const struct where *named);

#endif
