/* SPDX-License-Identifier: GPL-2.0-only */
/* The policy on disk, to be compared with the loaded one. */
#ifndef FW_STAT_EXPECT_H
#define FW_STAT_EXPECT_H

#include <stdbool.h>
#include <stdint.h>

/* What should be loaded. */
struct expected {
	const char *file; /* NULL: nothing in particular */
	bool unread;	  /* it is no policy: nothing that is loaded can be it */
	bool attach;	  /* it says itself where it is to be attached */
	uint8_t policy[32], attached[32]; /* as in struct fw_meta */
};

/* stat_expect(e): the rest, from the IR in ${e->file} ("-": standard input). 0, also when it is no policy; EXIT_SYSTEM when it
 * can't be read; both after complaining. */
int stat_expect(struct expected *e);

#endif
