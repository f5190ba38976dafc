/* SPDX-License-Identifier: GPL-2.0-only */
/* Which policy it is, whatever its names resolve to here: to compare what is loaded with what is on disk. */
#ifndef FW_POLICY_DIGEST_H
#define FW_POLICY_DIGEST_H

#include "policy.h"

/* policy_digests(p, policy, attached): SHA-256 over the judged parts of ${p} without its "attach", and over that digest and
 * its "attach". */
void policy_digests(const struct policy *p, uint8_t policy[32], uint8_t attached[32]);

#endif
