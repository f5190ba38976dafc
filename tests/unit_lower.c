/* SPDX-License-Identifier: GPL-2.0-only */
/* The lowering and the classifier against a linear scan over the rules: random policies, random packets near
 * their edges, every kind of hook, known and unknown fields. SEED=N repeats a run, POLICIES=N does more. TAP. */
#include <stdlib.h>
#include <time.h>

/* classify.h speaks to clang */
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#include "lib/ir.h"
#include "tests/lower_gen.h"
#include "tests/lower_packet.h"
#include "tests/lower_scan.h"
#include "tests/tap.h"

/* ---- the classifier, as bpf/context.h calls it ---- */

static void service_records(const struct tables *t, const struct fw_dir *d, const struct seen *s,
			    struct classes *may, struct classes *must)
{
	uint32_t v6 = s->p.ip_version == 6 ? 256 : 0, svc = t_u32(t, d->svc + (v6 + s->p.proto) * 4);
	const struct fw_svc *v = (const struct fw_svc *)(t->base + (svc & (T_MASK(t) & ~63u)));
	uint32_t row_may = v->a_must, row_must = v->a_must, column = v->b_none;

	if (s->p.known & (FW_EV_SPORT | FW_EV_ICMP)) {
		uint64_t key = is_icmp(&s->p) ? s->p.icmp_type + (s->p.favoured ? FW_ICMP_FAVOURED : 0) : s->p.sport;

		row_may = row_must = FW_LEAF_VALUE(t_walk(t, v->a, key));
	} else if (s->view == CALL) {
		row_may = v->a_may;
	}
	if (s->p.known & FW_EV_DPORT)
		column = FW_LEAF_VALUE(t_walk(t, v->b, s->p.dport));
	may->rec[2] = t_u32(t, v->table + (row_may * v->n_b + column) * 4);
	must->rec[2] = t_u32(t, v->table + (row_must * v->n_b + column) * 4);
}

static uint32_t cgroup_column(const struct tables *t, const struct fw_dir *d, const struct home *home)
{
	for (int level = FW_CGROUP_LEVELS - 1; level >= 0; level--) {
		uint64_t id = level < 4 ? home->ids[level] : 0;
		uint32_t v;

		if (!(d->cgroup_levels >> level & 1))
			continue;
		v = FW_LEAF_VALUE(t_walk(t, d->cgroup, T_KEY(id)));
		if (v)
			return v - 1;
	}
	return d->cgroup_must;
}

/* The same by the id alone. */
static uint32_t cgroup_column_of(const struct tables *t, const struct fw_dir *d, uint64_t id)
{
	uint32_t v = FW_LEAF_VALUE(t_walk(t, d->cgroup, T_KEY(id)));

	return v ? v - 1 : d->cgroup_must;
}

static uint64_t leaf_of(const struct home *home)
{
	int level = 3;

	while (!home->ids[level])
		level--;
	return home->ids[level];
}

static void context_records(const struct tables *t, const struct fw_arena *a, const struct seen *s,
			    struct classes *may, struct classes *must)
{
	const struct fw_dir *d = &a->dir[s->direction];
	uint32_t ifindex = s->iface < FW_COUNT(ifaces) ? ifaces[s->iface].ifindex : 12345;
	uint32_t i_may = FW_IFACE_ROW(FW_LEAF_VALUE(t_walk(t, a->iface, ifindex))), i_must = i_may;
	uint32_t u_may = d->user_must, u_must = u_may, g_may = d->cgroup_must, g_must = g_may;

	if (s->view == CALL) {
		i_may = d->iface_may;
		i_must = d->iface_must;
	}
	if (s->view == CALL || s->view == SOCKET) {
		if (d->n_user > 1)
			u_may = u_must = FW_LEAF_VALUE(t_walk(t, d->user, s->uid));
		if (d->n_cgroup > 1)
			g_may = g_must = s->by_id ? cgroup_column_of(t, d, leaf_of(s->home)) :
						    cgroup_column(t, d, s->home);
	} else if (s->view == AFTER_CGROUP) {
		u_may = d->user_may;
		g_may = d->cgroup_may;
	}
	may->rec[3] = t_u32(t, d->ctx + ((i_may * d->n_user + u_may) * d->n_cgroup + g_may) * 4);
	must->rec[3] = t_u32(t, d->ctx + ((i_must * d->n_user + u_must) * d->n_cgroup + g_must) * 4);
}

static uint32_t first_of(const struct tables *t, const struct fw_dir *d, const struct classes *c)
{
	struct search s = {.t = *t, .c = *c, .n_super = d->n_super, .shift = d->shift};

	return t_first(&s);
}

static uint32_t classify(const struct tables *t, const struct fw_arena *a, const struct seen *s)
{
	const struct fw_dir *d = &a->dir[s->direction];
	struct classes may, must;
	uint32_t first;
	int six = !fw_addr_is4(&s->p.dst);

	may.rec[1] = must.rec[1] = t_address(t, d->dst4, d->dst6, &s->p.dst);
	if (s->view == CALL && !(s->p.known & FW_EV_SADDR)) {
		may.rec[0] = d->src_may[six];
		must.rec[0] = d->src_must[six];
	} else {
		may.rec[0] = must.rec[0] = t_address(t, d->src4, d->src6, &s->p.src);
	}
	service_records(t, d, s, &may, &must);
	may.rec[3] = may.rec[2];
	must.rec[3] = must.rec[2];
	if (d->ctx)
		context_records(t, a, s, &may, &must);
	first = first_of(t, d, &may);
	if ((s->view == CALL || s->view == AFTER_CGROUP) && first != first_of(t, d, &must))
		return UNDECIDED;
	return first;
}

/* ---- depth of tries ---- */

static unsigned int depth(const uint8_t *base, uint64_t e)
{
	unsigned int most = 0, n;
	uint64_t cells;

	switch (e & 3) {
	case FW_TRIE_INDEX:
		cells = 1ULL << (e >> 40 & 31);
		for (uint64_t i = 0; i < cells; i++) {
			n = depth(base, *(const uint64_t *)(base + ((uint32_t)e & ~7u) + i * 8));
			most = n > most ? n : most;
		}
		return most + 1;
	case FW_TRIE_INTERVAL:
		for (int i = 0; i < 4; i++) {
			n = depth(base, *(const uint64_t *)(base + ((uint32_t)e & ~7u) + 24 + i * 8));
			most = n > most ? n : most;
		}
		return most + 1;
	case FW_TRIE_NEXT:
		/* a walk of its own */
		for (int i = 0; i < 2; i++)
			if (depth(base, *(const uint64_t *)(base + ((uint32_t)e & ~7u) + i * 8)) > FW_TRIE_DEPTH)
				return 99;
	}
	return 0;
}

static unsigned int deepest(const struct fw_arena *a)
{
	unsigned int most = 0;

	for (int d = 0; d < 2; d++) {
		const struct fw_dir *dir = &a->dir[d];
		const uint64_t roots[] = {dir->src4, dir->dst4, dir->src6[0], dir->src6[1], dir->dst6[0], dir->dst6[1]};

		for (size_t i = 0; i < FW_COUNT(roots); i++) {
			unsigned int n = depth((const uint8_t *)a, roots[i]);

			most = n > most ? n : most;
		}
	}
	return most;
}

/* ---- the comparison ---- */

static void show(const struct seen *s, uint32_t got, uint32_t want)
{
	const struct packet *p = &s->p;

	printf("# view %d direction %d ip %d proto %d sport %d dport %d type %d favoured %d known %x iface %u uid %u %s%s\n",
	       s->view, s->direction, p->ip_version, p->proto, p->sport, p->dport, p->icmp_type, p->favoured,
	       p->known, s->iface, s->uid, s->home->path, s->by_id ? " by id" : "");
	printf("# src ");
	for (int i = 0; i < 16; i++)
		printf("%02x", p->src.b[i]);
	printf(" dst ");
	for (int i = 0; i < 16; i++)
		printf("%02x", p->dst.b[i]);
	printf("\n# classifier %d, scan %d\n", (int)got, (int)want);
}

static unsigned long compared, by_outcome[3]; /* rule, none, undecided */
static uint32_t last_rule;

/* True if all of ${n} packets are judged alike. */
static bool compare(const struct policy *p, const struct tables *t, size_t n)
{
	const struct fw_arena *a = (const struct fw_arena *)t->base;
	struct edges e = {0};
	bool good = true;

	edges_of(p, &e);
	for (size_t i = 0; i < n && good; i++) {
		struct seen s;
		uint32_t got, want;

		random_packet(&e, &s);
		got = classify(t, a, &s);
		want = scan(p, &s);
		good = got == want;
		if (!good)
			show(&s, got, want);
		compared++;
		if (want < UNDECIDED && want > last_rule)
			last_rule = want;
		by_outcome[want == FW_NO_RULE ? 1 : want == UNDECIDED ? 2 : 0]++;
	}
	free(e.cidrs);
	free(e.ports);
	return good;
}

static unsigned int depth_seen;

static const struct resolved world = {
	.ifaces = ifaces, .n_ifaces = FW_COUNT(ifaces), .users = users, .n_users = FW_COUNT(users),
	.cgroups = cgroups, .n_cgroups = FW_COUNT(cgroups), .members = members, .n_members = FW_COUNT(members),
};

/* The policy of the text, lowered to ${im}, which ${t} then is; NULL after saying what is wrong. */
static struct policy *lower_text(const char *text, size_t len, const struct resolved *names, struct image *im,
				 struct tables *t)
{
	FILE *f = fmemopen((void *)text, len, "r");
	struct resolved r = *names;
	const char *wrong;
	struct policy *p;
	uint32_t *ids;
	struct diag d;

	diag_init(&d, "unit_lower");
	d.quiet = true;
	p = ir_read(&d, f, "policy");
	fclose(f);
	if (!p)
		return NULL;
	ids = calloc(p->n_rules + 1, sizeof(*ids));
	for (size_t i = 0; i < p->n_rules; i++)
		ids[i] = FW_RULE_ID_FIRST + i;
	r.ids = ids;
	wrong = tables_lower(p, &r, im);
	free(ids);
	if (wrong) {
		printf("# %s\n", wrong);
		policy_free(p);
		return NULL;
	}
	/* as in the kernel: an array element of a power of two, and reads may touch its last byte */
	t->mask = image_class(im->size) - 8;
	im->data = realloc(im->data, image_class(im->size));
	memset(im->data + im->size, 0xff, image_class(im->size) - im->size);
	t->base = im->data;
	return p;
}

/* Lower the policy of the text and compare; prints what is wrong. */
static bool try_policy(const char *text, size_t len, size_t packets)
{
	struct tables t = {0};
	struct image im = {0};
	struct policy *p = lower_text(text, len, &world, &im, &t);
	unsigned int deep;
	bool good;

	if (!p)
		return false;
	good = compare(p, &t, packets);
	deep = deepest((const struct fw_arena *)im.data);
	if (deep > FW_TRIE_DEPTH) {
		printf("# a trie is %u deep\n", deep);
		good = false;
	}
	depth_seen = deep > depth_seen ? deep : depth_seen;
	image_free(&im);
	policy_free(p);
	return good;
}

/* Ids of members, of the policy's own cgroups, and beside them, looked up: thousands, as a kernel numbers them. */
static void test_members(void)
{
	static const char text[] = "{\"ir_version\":1,\"rules\":[{\"name\":\"r\",\"priority\":1,\"direction\":"
				   "\"egress\",\"cgroups\":[\"/a\",\"/a/b\"]}]}";
	struct res_cgroup named[] = {{"/a", 5000, 1}, {"/gone", 0, 1}, {"/a/b", 6001, 2}};
	static struct res_member many[4000];
	struct resolved r = {.cgroups = named, .n_cgroups = FW_COUNT(named), .members = many};
	static uint32_t want[12000]; /* column + 1 of each id */
	struct image im = {0}, none = {0};
	struct tables t;
	const struct fw_arena *a;
	unsigned int wrong = 0;

	policy_free(lower_text(text, sizeof(text) - 1, &r, &none, &t));
	want[5000] = 2;
	want[6001] = 4;
	while (r.n_members < FW_COUNT(many)) {
		static const uint32_t owners[] = {0, 2, RES_OUTSIDE};
		uint32_t id = 1 + rnd(FW_COUNT(want) - 1), cgroup = owners[rnd(3)];

		if (want[id])
			continue;
		want[id] = cgroup == RES_OUTSIDE ? 1 : cgroup + 2;
		many[r.n_members++] = (struct res_member){id, cgroup};
	}
	policy_free(lower_text(text, sizeof(text) - 1, &r, &im, &t));
	a = (const struct fw_arena *)im.data;
	for (uint32_t id = 0; a && id < FW_COUNT(want); id++)
		wrong += FW_LEAF_VALUE(t_walk(&t, a->dir[DIR_EGRESS].cgroup, id)) != want[id];
	ok(a && !wrong, "ids of %zu cgroups below those of the policy, and others: %u wrong", r.n_members, wrong);
	ok(a && a->dir[DIR_EGRESS].cgroup_levels == 6 && depth(im.data, a->dir[DIR_EGRESS].cgroup) <= FW_TRIE_DEPTH,
	   "levels are those of the policy's own, and the trie is no deeper than a walk");
	printf("# %zu bytes without them, %zu with\n", none.size, im.size);
	image_free(&im);
	image_free(&none);
}

static bool random_policies(const struct shape *shape, size_t n, size_t packets)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = 0;
		char *text = gen_policy(shape, &len);
		bool good = try_policy(text, len, packets);

		if (!good)
			printf("# policy %zu of shape %s:\n# %.*s\n", i, shape->name, len < 20000 ? (int)len : 0, text);
		free(text);
		if (!good)
			return false;
	}
	return true;
}

/* A list may say the same thing more often than 16 bits can count. */
static bool repeated_port(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	bool good;

	fprintf(f, "{\"ir_version\":1,\"rules\":[{\"name\":\"r\",\"priority\":1,\"protocol\":\"tcp\","
		   "\"destination_ports\":[80");
	for (int i = 1; i < 65536; i++)
		fprintf(f, ",80");
	fprintf(f, "]}]}");
	fclose(f);
	good = try_policy(text, len, 3000);
	free(text);
	return good;
}

int main(void)
{
	const char *seed = getenv("SEED"), *policies = getenv("POLICIES");
	size_t scale = policies ? strtoul(policies, NULL, 10) : 400, total = 0;

	rnd_state = seed ? strtoull(seed, NULL, 10) : 20261122;
	printf("# SEED=%llu\n", (unsigned long long)rnd_state);
	for (size_t i = 0; i < FW_COUNT(shapes); i++) {
		const struct shape *s = &shapes[i];
		size_t n = s->share ? (scale * s->share + 99) / 100 : 1;
		time_t begin = time(NULL);

		total += n;
		ok(random_policies(s, n, s->packets), "%s: %zu policies x %u packets", s->name, n, s->packets);
		printf("# %ld s\n", (long)(time(NULL) - begin));
		fflush(stdout);
	}
	ok(repeated_port(), "a port listed 65,536 times");
	test_members();
	printf("# %zu policies, %lu packets: %lu rule, %lu no rule, %lu undecided; deepest trie %u\n", total,
	       compared, by_outcome[0], by_outcome[1], by_outcome[2], depth_seen);
	ok(by_outcome[0] > compared / 10 && by_outcome[1] > compared / 50 && by_outcome[2] > compared / 200,
	   "every outcome is common");
	ok(last_rule > 32768, "rules beyond the first summary word were found, up to %u", last_rule);
	return done();
}
