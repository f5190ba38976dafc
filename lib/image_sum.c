/* SPDX-License-Identifier: GPL-2.0-only */
#include "image_sum.h"

#include <string.h>

#include "bpf/tables_abi.h"

#define LANES 4

struct sum {
	uint64_t lane[LANES];
};

/* Each step is a bijection of the lane, so no change of a single word goes unseen. Lanes of their own, because the
 * multiplications of one would wait for each other (tables can have half a gigabyte). */
static void add(struct sum *s, const uint8_t *p, size_t len)
{
	uint64_t w[LANES];

	for (; len; p += sizeof(w), len -= sizeof(w)) {
		if (len < sizeof(w)) {
			memset(w, 0, sizeof(w));
			memcpy(w, p, len);
			len = sizeof(w);
		} else {
			memcpy(w, p, sizeof(w));
		}
		for (int i = 0; i < LANES; i++) {
			s->lane[i] = (s->lane[i] ^ w[i]) * 0x9e3779b97f4a7c15ull;
			s->lane[i] ^= s->lane[i] >> 32;
		}
	}
}

uint64_t image_sum(const void *image, size_t len)
{
	struct sum s = {{1, 2, 3, 4}};
	struct fw_arena head;
	uint64_t sum = len;

	if (len < sizeof(head))
		return 1;
	memcpy(&head, image, sizeof(head));
	head.flags &= ~(__u32)FW_ARENA_PARTIAL;
	add(&s, (const uint8_t *)&head, sizeof(head));
	add(&s, (const uint8_t *)image + sizeof(head), len - sizeof(head));
	for (int i = 0; i < LANES; i++) {
		sum = (sum ^ s.lane[i]) * 0x9e3779b97f4a7c15ull;
		sum ^= sum >> 32;
	}
	return sum ? sum : 1;
}
