/* SPDX-License-Identifier: GPL-2.0-only */
/* A checksum over policy tables, so that tables that somebody has written into can be told from those that were loaded. It
 * is no secret: who can write there can compute it, too. */
#ifndef FW_IMAGE_SUM_H
#define FW_IMAGE_SUM_H

#include <stddef.h>
#include <stdint.h>

/* image_sum(image, len): of the ${len} bytes at ${image} (aligned to 8), which begin with a struct fw_arena; never 0. The
 * flag FW_ARENA_PARTIAL, which changes while the tables are in use, is left out. */
uint64_t image_sum(const void *image, size_t len);

#endif
