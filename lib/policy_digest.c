/* SPDX-License-Identifier: GPL-2.0-only */
#include "policy_digest.h"

#include "ir.h"

void policy_digests(const struct policy *p, uint8_t policy[32], uint8_t attached[32])
{
	struct policy bare = *p, only = {.attach = p->attach};
	struct sha256 s;

	bare.attach.given = false;
	sha256_init(&s);
	ir_digest(&bare, &s);
	sha256_end(&s, policy);
	/* a policy may have millions of addresses: they are gone through once */
	sha256_init(&s);
	sha256_add(&s, policy, 32);
	ir_digest(&only, &s);
	sha256_end(&s, attached);
}
