/* SPDX-License-Identifier: GPL-2.0-only */
/* libFuzzer: any bytes as IR. What is refused has a message; what is accepted is a fixed point once written.
 *   clang -g -O1 -std=gnu11 -D_GNU_SOURCE -I. -fsanitize=fuzzer,address,undefined tests/fuzz_ir.c lib/... -o
 * fuzz_ir
 *   ./fuzz_ir -max_len=4096 corpus tests/ir */
#include "lib/ir.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *rewrite(const char *text, size_t len, size_t *written)
{
	FILE *f = fmemopen((void *)text, len, "r"), *out;
	char *messages = NULL, *ir = NULL;
	size_t said = 0;
	struct policy *p;
	struct sha256 s;
	struct diag d;

	diag_init(&d, "fuzz_ir");
	d.out = open_memstream(&messages, &said);
	p = ir_read(&d, f, "x");
	fclose(f);
	fclose(d.out);
	free(messages);
	if (!p) {
		if (!said)
			abort(); /* refused in silence */
		return NULL;
	}
	out = open_memstream(&ir, written);
	if (ir_write(p, IR_ALL, out))
		abort();
	fclose(out);
	sha256_init(&s);
	ir_digest(p, &s);
	policy_free(p);
	return ir;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *one, *two = NULL;
	size_t n, m = 0;

	if (!size) /* fmemopen refuses it */
		return 0;
	one = rewrite((const char *)data, size, &n);
	if (!one)
		return 0;
	two = rewrite(one, n, &m);
	if (!two || n != m || memcmp(one, two, n))
		abort();
	free(one);
	free(two);
	return 0;
}
