/* SPDX-License-Identifier: GPL-2.0-only */
/* Lowering: a policy, with its names resolved, to the bytes that the classifier reads (bpf/tables_abi.h). Pure:
 * no system calls, nothing of the kernel. Running out of memory ends the program (die()). */
#ifndef FW_TABLES_H
#define FW_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "bpf/tables_abi.h"
#include "policy.h"

/* A cgroup of the policy. */
struct res_cgroup {
	const char *path; /* as in the policy */
	uint64_t id;	  /* 0: does not exist now */
	uint32_t level;	  /* depth below the cgroup v2 root */
};

/* Any other cgroup that there was when the policy was loaded. Those that come later are known to the tables only by
 * their ancestors; of those that have gone nothing is known. */
#define RES_OUTSIDE UINT32_MAX
struct res_member {
	uint64_t id;	 /* of none of the policy's cgroups, and once */
	uint32_t cgroup; /* its deepest ancestor in the policy: index into resolved.cgroups, which exists; or RES_OUTSIDE */
};

struct res_user {
	const char *name; /* as in the policy */
	uint32_t uid;
};

struct res_iface {
	const char *name;
	uint32_t ifindex;
	uint16_t type;	   /* ARPHRD_* of linux/if_arp.h */
	uint8_t physical;  /* a device on a bus */
	int ingress_owned; /* XDP or TC ingress of this instance judges its packets */
	uint32_t hooks;	   /* FW_IFACE_HOOK of those attached to it */
};

/* What the policy's names mean on this host, and what belongs to the load and not to the policy. */
struct resolved {
	struct res_iface *ifaces; /* every interface of the network namespace */
	size_t n_ifaces;
	struct res_user *users;
	size_t n_users;
	struct res_cgroup *cgroups;
	size_t n_cgroups;
	struct res_member *members;
	size_t n_members;
	uint32_t hz;		/* jiffies per second */
	uint32_t netns;		/* inode of the network namespace */
	uint64_t cgroup_id;	/* where the cgroup hooks are attached; 0: nowhere */
	uint32_t cgroup_level;
	const uint32_t *ids;	/* counter id of each rule of the policy, in its order */
	uint32_t generation;
	uint8_t digest[32];
};

struct image {
	uint8_t *data;
	size_t size; /* bytes in use, at most FW_ARENA_MAX */
	size_t room;
};

/* tables_lower(p, r, out): ${out->data} is the caller's to free (image_free). Returns NULL, or a static text
 * saying which limit the policy exceeds. */
const char *tables_lower(const struct policy *p, const struct resolved *r, struct image *out);

void image_free(struct image *im);

/* image_class(size): the size class, a power of two from FW_ARENA_MIN on, that holds ${size} bytes. */
size_t image_class(size_t size);

#endif
