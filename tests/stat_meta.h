/* SPDX-License-Identifier: GPL-2.0-only */
/* For stat_fixture.c: what the loader wrote down of the two generations. */
#ifndef FW_STAT_META_H
#define FW_STAT_META_H

struct blob {
	struct fw_meta head;
	struct fw_meta_rule rules[4];
	struct fw_meta_link links[2];
	char text[1024];
	uint32_t used;
};

static uint32_t string(struct blob *b, const char *s)
{
	uint32_t at = b->used;

	need(at + strlen(s) < sizeof(b->text), "room for strings");
	strcpy(b->text + at, s);
	b->used += strlen(s) + 1;
	return (uint32_t)(offsetof(struct blob, text) + at);
}

/* make_meta(generation, cgroup): that of slot 8 - ${generation}; hooks only with a ${cgroup}. */
static void make_meta(uint32_t generation, const char *cgroup)
{
	struct fw_arena *a = arena_of(generation);
	char name[32];
	struct blob b = {.head = {.magic = FW_META_MAGIC,
				  .abi = FW_ABI,
				  .loaded_at = 1790000000500000000ull,
				  .generation = generation,
				  .image_sum = image_sum(a, a->size),
				  .n_rules = generation == 6 ? 4 : 3, /* one is gone since */
				  .n_links = cgroup ? 2 : 0,
				  .rules = offsetof(struct blob, rules),
				  .links = offsetof(struct blob, links)}};
	uint32_t file = string(&b, "a \"b\\c\".yaml"), target, pin[2];
	const char *root = cgroup ? strstr(cgroup, "/fwstat-") : NULL;

	b.head.size = offsetof(struct blob, used);
	memcpy(b.head.digest, a->digest, sizeof(b.head.digest));
	free(a);
	b.head.version = string(&b, "0.1.0");
	target = string(&b, root ? root : "/");
	pin[0] = string(&b, "cgroup_ingress-1");
	pin[1] = string(&b, "cgroup_egress-1");
	b.rules[0] = (struct fw_meta_rule){.id = 64,
					   .name = string(&b, "ssh"),
					   .file = file,
					   .line = 3,
					   .priority = 10,
					   .action = 1,
					   .directions = 1};
	b.rules[1] = (struct fw_meta_rule){.id = 65,
					   .name = string(&b, "web"),
					   .file = file,
					   .line = 9,
					   .priority = 20,
					   .action = 3,
					   .directions = 3};
	b.rules[2] = (struct fw_meta_rule){
		.id = 66, .name = string(&b, "block"), .priority = 65535, .action = 0, .directions = 2};
	b.rules[3] = (struct fw_meta_rule){.id = 99, .name = string(&b, "went"), .priority = 5, .action = 1, .directions = 1};
	b.links[0] = (struct fw_meta_link){.hook = FW_HOOK_CGROUP_INGRESS, .target = target, .pin = pin[0]};
	b.links[1] = (struct fw_meta_link){.hook = FW_HOOK_CGROUP_EGRESS, .target = target, .pin = pin[1]};
	if (cgroup) {
		make_link(cgroup, BPF_CGROUP_INET_INGRESS, "/links/cgroup_ingress-1", &b.links[0]);
		make_link(cgroup, BPF_CGROUP_INET_EGRESS, "/links/cgroup_egress-1", &b.links[1]);
	}
	snprintf(name, sizeof(name), "/maps/meta%u", 8 - generation);
	put(make_map(name, BPF_MAP_TYPE_ARRAY, 4, b.head.size, 1, -1), 0, &b);
}

/* change_tag(bits): what is written down of the first hook's program. */
static void change_tag(uint8_t bits)
{
	int fd = open_map("/maps/meta1");
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info), zero = 0;
	struct blob b;

	need(!bpf_obj_get_info_by_fd(fd, &info, &len) && info.value_size <= sizeof(b) && !bpf_map_lookup_elem(fd, &zero, &b), "meta1");
	b.links[0].prog_tag[7] ^= bits;
	put(fd, 0, &b);
}

#endif
