/* SPDX-License-Identifier: GPL-2.0-only */
/* Writing a file as a whole: it has its old contents or its new ones, never a part. */
#ifndef FW_SAVE_FILE_H
#define FW_SAVE_FILE_H

#include <stdio.h>

struct save_file {
	FILE *f;    /* write here */
	char *path; /* what it will be; symbolic links resolved */
	char *temp; /* its name until then; NULL: ${path} is no regular file (a pipe, /dev/null) and written
		       directly */
};

/* save_open(s, path): 0, or -1 with errno. Keeps the mode of a file that exists. */
int save_open(struct save_file *s, const char *path);

/* save_commit(s): flush, fsync, rename. 0, or -1 with errno; then the old file is untouched. Ends ${s} either
 * way. */
int save_commit(struct save_file *s);

/* save_abort(s): remove the temporary file. Fine after the other two. */
void save_abort(struct save_file *s);

#endif
