/* SPDX-License-Identifier: GPL-2.0-only */
/* SHA-256 as FIPS 180-4 has it: names a loaded policy and a build, so that "the same again" can be told. */
#ifndef FW_SHA256_H
#define FW_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN 32

struct sha256 {
	uint32_t state[8];
	uint64_t bytes;	     /* hashed so far */
	uint8_t pending[64]; /* the first bytes % 64 are not yet hashed */
};

/* sha256_init(s), then sha256_add(s, data, len) as often as needed, then sha256_end(s, digest) once.
 * Nothing is allocated and nothing fails; after sha256_end ${s} has to be initialised again. */
void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);
void sha256_end(struct sha256 *s, uint8_t digest[SHA256_LEN]);

#endif
