/* SPDX-License-Identifier: GPL-2.0-only */
/* sha256, the text of the IR, its tree and the round trip. TAP. */
#include "lib/ir.h"

#include <stdlib.h>
#include <string.h>

#include "lib/ir_text.h"

static int n_tests, n_failed;

static void ok(bool good, const char *name)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++n_tests, name);
	n_failed += !good;
}

static void same(const char *got, const char *want, const char *name)
{
	ok(got && !strcmp(got, want), name);
	if (!got || strcmp(got, want))
		printf("# got  %s\n# want %s\n", got ? got : "(null)", want);
}

/* ---- sha256: the examples of FIPS 180-4 (and its CAVP byte vectors' lengths 0 and 56) ---- */

static const char *hash(const char *text, size_t len, size_t piece)
{
	static char hex[2 * SHA256_LEN + 1];
	uint8_t digest[SHA256_LEN];
	struct sha256 s;

	sha256_init(&s);
	for (size_t at = 0; at < len; at += piece)
		sha256_add(&s, text + at, len - at < piece ? len - at : piece);
	sha256_end(&s, digest);
	for (int i = 0; i < SHA256_LEN; i++)
		sprintf(hex + 2 * i, "%02x", digest[i]);
	return hex;
}

static void test_sha256(void)
{
	const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	const char *long_two = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
			       "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
	const char *million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
	char *a = malloc(1000000), whole[2 * SHA256_LEN + 1];
	bool all = true;

	same(hash("abc", 3, 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	     "sha256 abc");
	same(hash(two, 56, 56), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
	     "sha256 two blocks");
	same(hash(long_two, 112, 7), "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
	     "sha256 896 bits in pieces");
	same(hash("", 0, 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	     "sha256 nothing");
	memset(a, 'a', 1000000);
	same(hash(a, 1000000, 1000000), million, "sha256 a million a");
	for (size_t piece = 1; piece < 200; piece += 9) {
		snprintf(whole, sizeof(whole), "%s", hash(a, 1000, 1000));
		all &= !strcmp(hash(a, 1000, piece), whole);
	}
	ok(all, "sha256 is the same however the text is cut");
	free(a);
}

/* ---- text ---- */

static const char *emitted(const char *text)
{
	static char buf[300];
	FILE *f = fmemopen(buf, sizeof(buf), "w");

	emit_string(f, text);
	fclose(f);
	return buf;
}

static void test_text(void)
{
	same(emitted("plain"), "\"plain\"", "plain text");
	same(emitted("a\"b\\c"), "\"a\\\"b\\\\c\"", "quotation mark and backslash");
	same(emitted("\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\xa5"), "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\xa5\"",
	     "UTF-8 as it is");
	ok(!strchr(emitted("\033[31m"), '\033'), "ESC is escaped");
	ok(!strchr(emitted("a\x7f"), '\x7f'), "DEL is escaped");
	same(emitted("\xc2\x9b"), "\"\\u009b\"", "C1 is escaped");
	same(emitted("\xe2\x80\xae"), "\"\\u202e\"", "right-to-left override is escaped");
	same(emitted("x\xff\xc3"), "\"x\\ufffd\\ufffd\"", "bytes that are not UTF-8");
	same(emitted("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"", "a surrogate");
}

static void test_cidr(void)
{
	struct cidr v4 = {.family = 4, .len = 8, .addr = {10, 0, 255}};
	struct cidr v6 = {.family = 6, .len = 128, .addr = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}};
	char buf[100] = "";
	FILE *f = fmemopen(buf, sizeof(buf), "w");

	emit_cidr(f, false, &v4);
	emit_cidr(f, true, &v6);
	fclose(f);
	same(buf, "\"10.0.255.0/8\"\"!2001:db8::1/128\"", "CIDRs");
}

/* ---- tree ---- */

struct result {
	struct arena *a;
	struct node *root;
	struct set_input *sets;
	size_t n_sets;
	char *messages;
};

static struct result tree(const char *json, size_t len)
{
	struct result r = {.a = arena_new()};
	FILE *f = fmemopen((void *)json, len, "r");
	struct diag d;
	size_t size;

	diag_init(&d, "unit_ir");
	d.out = open_memstream(&r.messages, &size);
	r.root = ir_tree(r.a, &d, f, "x", &r.sets, &r.n_sets);
	fclose(d.out);
	fclose(f);
	return r;
}

static void result_free(struct result *r)
{
	arena_free(r->a);
	free(r->messages);
}

static void test_tree(void)
{
	const char *doc =
		"{\"a\":[1,{\"b "
		"c\":\"\\u00e4\\ud83d\\udd25\"}],\"sets\":{\"s\":[\"10.0.0.1\",\"::/0\"],\"t\":[]}}";
	struct result r = tree(doc, strlen(doc));
	struct node *a = r.root ? node_get(r.root, "a") : NULL, *b = NULL;

	ok(a && a->kind == NODE_LIST && a->count == 2 && a->items[0]->style == STYLE_NUMBER, "a list");
	if (a)
		b = node_get(a->items[1], "b c");
	same(b ? b->text : NULL, "\xc3\xa4\xf0\x9f\x94\xa5", "escapes");
	same(b ? b->where.path : NULL, "$.a[1][\"b c\"]", "path");
	ok(r.root && !node_get(r.root, "sets"), "sets are not in the tree");
	ok(r.n_sets == 2 && r.sets[0].n == 2 && r.sets[1].n == 0 && !strcmp(r.sets[0].name, "s"), "but read");
	same(r.messages, "", "no message");
	result_free(&r);

	doc = "{\"a\":1,\"b\":{\"c\":1,\"c\":2},\"a\":3}";
	r = tree(doc, strlen(doc));
	same(r.messages,
	     "x: $.b.c: error: the key \"c\" is here twice\nx: $.a: error: the key \"a\" is here twice\n",
	     "duplicate keys");
	ok(r.root && r.root->count == 2, "are dropped");
	result_free(&r);
}

/* A key of 100 kB above 100,000 values must not take 10 GB of paths. */
static void test_long_path(void)
{
	size_t key = 100000, n = 100000, len = 0;
	char *doc = malloc(key + 2 * n + 100);
	struct result r;

	len += (size_t)sprintf(doc, "{\"");
	memset(doc + len, 'k', key);
	len += key;
	len += (size_t)sprintf(doc + len, "\":[0");
	for (size_t i = 0; i < n; i++, len += 2)
		memcpy(doc + len, ",0", 2);
	len += (size_t)sprintf(doc + len, "]}");
	r = tree(doc, len);
	ok(r.root && r.root->members[0].value->count == n + 1, "many values below a long key");
	ok(r.root && strlen(r.root->members[0].value->items[n]->where.path) < 300, "have short paths");
	result_free(&r);

	/* with a table instead of comparisons */
	len = (size_t)sprintf(doc, "{\"k0\":0");
	for (size_t i = 1; i < 1000; i++)
		len += (size_t)sprintf(doc + len, ",\"k%zu\":0", i);
	len += (size_t)sprintf(doc + len, ",\"k500\":0}");
	r = tree(doc, len);
	same(r.messages, "x: $.k500: error: the key \"k500\" is here twice\n", "a duplicate among many");
	ok(r.root && r.root->count == 1000, "and no other");
	result_free(&r);
	free(doc);
}

/* ---- round trip ---- */

static char *rewrite(const char *ir, enum ir_parts parts)
{
	FILE *f = fmemopen((void *)ir, strlen(ir), "r"), *out;
	struct policy *p;
	struct diag d;
	char *text = NULL;
	size_t size;

	diag_init(&d, "unit_ir");
	d.out = stdout;
	p = ir_read(&d, f, "x");
	fclose(f);
	if (!p)
		return NULL;
	out = open_memstream(&text, &size);
	if (ir_write(p, parts, out))
		puts("# ir_write failed");
	fclose(out);
	policy_free(p);
	return text;
}

static void test_round_trip(void)
{
	const char *ir =
		"{\"rules\":[{\"name\":\"b\",\"priority\":2,\"protocol\":47,\"source_cidrs\":[\"!@s\",\"::1/"
		"128\"]},"
		"{\"name\":\"a\",\"priority\":1,\"action\":\"rate_limit\",\"rate_limit_pps\":5,"
		"\"description\":\"\\u001b\",\"protocol\":\"tcp\",\"destination_ports\":[80,\"90-99\"],"
		"\"source\":{\"file\":\"f\",\"line\":3}}],\"generated_at\":\"t\","
		"\"sets\":{\"s\":[\"10.0.0.0/8\"]},\"ir_version\":1}";
	char *one = rewrite(ir, IR_ALL), *two = one ? rewrite(one, IR_ALL) : NULL,
	     *judged = rewrite(ir, IR_JUDGED);
	FILE *full = fopen("/dev/full", "w"), *f = fmemopen((void *)ir, strlen(ir), "r");
	struct policy *p;
	struct diag d;

	ok(one && two && !strcmp(one, two), "reading and writing again gives the same bytes");
	ok(one && strstr(one,
			 "\"rules\":[\n{\"name\":\"a\",\"priority\":1,\"direction\":\"both\",\"destination_"
			 "ports\":"
			 "[80,\"90-99\"],\"protocol\":\"tcp\",\"action\":\"rate_limit\",\"rate_limit_pps\":5,"
			 "\"rate_limit_burst\":5,\"rate_limit_by\":\"source\",\"log\":true,\"description\":"
			 "\"\\u001b\",\"source\":{\"file\":\"f\",\"line\":3}},\n{\"name\":\"b\""),
	   "rules in order, all keys");
	ok(judged && !strstr(judged, "generated_at") && !strstr(judged, "description"),
	   "judged: without texts");
	ok(judged && strstr(judged, "\"source\":{\"file\":\"f\",\"line\":3}"), "judged: with sources");
	diag_init(&d, "unit_ir");
	p = ir_read(&d, f, "x");
	ok(p && full && ir_write(p, IR_ALL, full) < 0, "a full disk is noticed");
	policy_free(p);
	if (full)
		fclose(full);
	fclose(f);
	free(one);
	free(two);
	free(judged);
}

int main(void)
{
	test_sha256();
	test_text();
	test_cidr();
	test_tree();
	test_long_path();
	test_round_trip();
	printf("1..%d\n", n_tests);
	return n_failed > 0;
}
