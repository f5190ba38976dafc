/* SPDX-License-Identifier: GPL-2.0-only */
/* From a packet (or call) to the rule that decides, over all dimensions. Compiles for BPF and for user space, so that
 * what user space says of a policy is what the kernel runs. */
#ifndef FW_JUDGE_H
#define FW_JUDGE_H

#include "classify.h"
#include "packet.h"

/* Rows and columns of the context table under "may match" and under "certainly matches". */
struct query {
	__u16 slot;
	__u16 iface_may, iface_must, user_may, user_must, cgroup_may, cgroup_must;
};

/* ---- the service dimension ---- */

FW_INLINE void service_records(const struct tables *t, const struct fw_dir *d, const struct packet *p,
					    int is_call, struct classes *may, struct classes *must)
{
	__u32 v6 = p->ip_version == 6 ? 256 : 0;
	__u32 svc = t_u32(t, d->svc + (v6 + p->proto) * 4);
	const struct fw_svc *s = (const struct fw_svc *)(t->base + (svc & (T_MASK(t) & ~63u)));
	__u32 row_may = s->a_must, row_must = s->a_must, column = s->b_none;
	int icmp = (!v6 && p->proto == 1) || (v6 && p->proto == 58);

	if (p->known & (FW_EV_SPORT | FW_EV_ICMP)) {
		__u64 key = icmp ? p->icmp_type + (p->favoured ? FW_ICMP_FAVOURED : 0) : p->sport;

		row_may = row_must = FW_LEAF_VALUE(t_walk(t, s->a, key));
	} else if (is_call) {
		row_may = s->a_may; /* not chosen yet */
	}
	if (p->known & FW_EV_DPORT)
		column = FW_LEAF_VALUE(t_walk(t, s->b, p->dport));
	may->rec[2] = t_u32(t, s->table + (row_may * s->n_b + column) * 4);
	must->rec[2] = t_u32(t, s->table + (row_must * s->n_b + column) * 4);
}

/* ---- the context dimension ---- */

FW_INLINE __u32 context_record(const struct tables *t, const struct fw_dir *d, __u32 iface, __u32 user,
					    __u32 cgroup)
{
	return t_u32(t, d->ctx + ((iface * d->n_user + user) * d->n_cgroup + cgroup) * 4);
}

/* ---- all of them ---- */

#define UNDECIDED (FW_NO_RULE - 1)

/* The first rule that may match if it certainly matches, FW_NO_RULE, or UNDECIDED. ${q} is needed only where the
 * policy asks for the context. */
FW_INLINE __u32 first_rule(const struct tables *t, const struct fw_dir *d, const struct packet *p,
					const struct query *q, int is_call, int partial)
{
	struct search f = { .t = *t, .n_super = d->n_super, .shift = d->shift };
	struct classes must;
	__u32 first;

	f.c.rec[1] = must.rec[1] = t_address(t, d->dst4, d->dst6, &p->dst);
	if (is_call && !(p->known & FW_EV_SADDR)) {
		int v6 = !fw_addr_is4(&p->dst);

		f.c.rec[0] = d->src_may[v6 & 1];
		must.rec[0] = d->src_must[v6 & 1];
	} else {
		f.c.rec[0] = must.rec[0] = t_address(t, d->src4, d->src6, &p->src);
	}
	service_records(t, d, p, is_call, &f.c, &must);
	f.c.rec[3] = f.c.rec[2];
	must.rec[3] = must.rec[2];
	if (d->ctx) {
		f.c.rec[3] = context_record(t, d, q->iface_may, q->user_may, q->cgroup_may);
		must.rec[3] = context_record(t, d, q->iface_must, q->user_must, q->cgroup_must);
	}
	first = t_first(&f);
	if (!partial)
		return first;
	f.c = must;
	return first == t_first(&f) ? first : UNDECIDED;
}

#endif
