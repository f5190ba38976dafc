/* SPDX-License-Identifier: GPL-2.0-only */
/* Capabilities (capabilities(7)) of this process. What each program needs, and for what, is in fw-security(7). */
#ifndef FW_CAPS_H
#define FW_CAPS_H

/* caps_to_load(): the name of a capability that loading a policy needs and that is not effective, "CAP_BPF" for one; NULL:
 * nothing lacks, or the kernel doesn't say. */
const char *caps_to_load(void);

#endif
