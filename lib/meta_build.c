/* SPDX-License-Identifier: GPL-2.0-only */
#include "meta_build.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ir.h"
#include "tables_build.h"

struct blob {
	uint8_t *data;
	size_t len, room;
};

static __u32 blob_add(struct blob *b, const void *data, size_t len)
{
	size_t off = b->len;

	b->data = xgrow(b->data, &b->room, off + len + 8, 1);
	memcpy(b->data + off, data, len);
	b->len += len;
	return off;
}

static void blob_align(struct blob *b)
{
	static const char zeros[8];

	blob_add(b, zeros, -b->len & 7);
}

static __u32 blob_string(struct blob *b, const char *s)
{
	return s ? blob_add(b, s, strlen(s) + 1) : 0;
}

static void add_rules(struct blob *b, const struct meta_input *in, struct fw_meta *head)
{
	struct fw_meta_rule *rules = xalloc(in->p->n_rules, sizeof(*rules));
	const char *last_file = NULL;
	__u32 file = 0;

	for (size_t i = 0; i < in->p->n_rules; i++) {
		const struct rule *r = &in->p->rules[i];

		/* rules of one file come in a row: store its name once */
		if (r->src_file && (!last_file || strcmp(last_file, r->src_file)))
			file = blob_string(b, r->src_file);
		last_file = r->src_file;
		rules[i] = (struct fw_meta_rule){
			.id = in->ids[i],
			.name = blob_string(b, r->name),
			.file = r->src_file ? file : 0,
			.line = r->src_line,
			.priority = r->priority,
			.action = r->action,
			.directions = r->directions,
		};
	}
	blob_align(b);
	head->rules = blob_add(b, rules, in->p->n_rules * sizeof(*rules));
	head->n_rules = in->p->n_rules;
	free(rules);
}

static void add_links(struct blob *b, const struct meta_input *in, struct fw_meta *head)
{
	struct fw_meta_link *links = xalloc(in->targets->n, sizeof(*links));

	for (size_t i = 0; i < in->targets->n; i++) {
		const struct target *t = &in->targets->list[i];

		links[i] = in->links[i];
		links[i].hook = t->hook;
		links[i].ifindex = t->ifindex;
		links[i].target_id = t->id;
		links[i].target = blob_string(b, t->name);
		links[i].pin = blob_string(b, in->pin_of(in->ctx, i));
	}
	blob_align(b);
	head->links = blob_add(b, links, in->targets->n * sizeof(*links));
	head->n_links = in->targets->n;
	free(links);
}

static void add_ir(struct blob *b, const struct policy *p, struct fw_meta *head)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f || ir_write(p, IR_SNAPSHOT, f) | fclose(f) || !text)
		die(EXIT_SYSTEM, "out of memory");
	head->ir = blob_add(b, text, len);
	head->ir_len = len;
	free(text);
}

void *meta_build(const struct meta_input *in, size_t *len)
{
	struct fw_meta head = { .magic = FW_META_MAGIC, .abi = FW_ABI, .generation = in->generation,
				.netns = in->netns };
	struct blob b = { 0 };
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	head.loaded_at = now.tv_sec * 1000000000ULL + now.tv_nsec;
	memcpy(head.digest, in->digest, sizeof(head.digest));
	memcpy(head.build, in->build, sizeof(head.build));
	memcpy(head.policy, in->policy, sizeof(head.policy));
	memcpy(head.attached, in->attached, sizeof(head.attached));
	head.image_sum = in->image_sum;
	head.arena_bytes = in->arena_bytes;
	blob_add(&b, &head, sizeof(head));
	add_rules(&b, in, &head);
	add_links(&b, in, &head);
	head.version = blob_string(&b, FW_VERSION);
	add_ir(&b, in->p, &head);
	blob_align(&b);
	head.size = b.len;
	memcpy(b.data, &head, sizeof(head));
	*len = b.len;
	return b.data;
}
