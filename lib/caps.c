/* SPDX-License-Identifier: GPL-2.0-only */
#include "caps.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has(const struct __user_cap_data_struct *data, unsigned int cap)
{
	return data[cap / 32].effective >> cap % 32 & 1;
}

const char *caps_to_load(void)
{
	static const struct {
		unsigned int cap;
		const char *name;
	} needed[] = {
		{ CAP_BPF, "CAP_BPF" },		    /* maps and programs */
		{ CAP_PERFMON, "CAP_PERFMON" },	    /* the verifier: pointers compared, bounds it would not trust others with */
		{ CAP_NET_ADMIN, "CAP_NET_ADMIN" }, /* programs that see packets, and their places */
	};
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &head, data) || has(data, CAP_SYS_ADMIN)) /* which is all of them for bpf(2) */
		return NULL;
	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++)
		if (!has(data, needed[i].cap))
			return needed[i].name;
	return NULL;
}
