/*
 * What the strict layer above jsmn accepts and refuses; if it were gone, unsigned or ambiguous header text could reach the parser.
 *
 * "test_json -": a filter for tests/json_judge.py. Documents on standard input (u32 length, bytes), one line each on standard
 * output: "-" if refused, else what was read, in a form that leaves nothing out.
 */
#include <stdint.h>
#include <stdlib.h>

#include "check.h"
#include "json.h"

static void dump(const struct json *j, int tok)
{
	size_t len;
	const char *raw = json_raw(j, tok, &len);
	switch (json_type(j, tok)) {
	case JSON_STRING: {
		char *s = malloc(len + 1);
		if (!s)
			abort();
		len = json_unescape(j, tok, s);
		if (json_unescape(j, tok, NULL) != len)
			abort();
		putchar('s');
		for (size_t i = 0; i < len; i++)
			printf("%02x", (unsigned char)s[i]);
		free(s);
		break;
	}
	case JSON_OBJECT:
	case JSON_ARRAY: {
		bool object = json_type(j, tok) == JSON_OBJECT;
		size_t n = 0;
		putchar(object ? '{' : '[');
		for (int c = json_first(j, tok); c >= 0; c = json_sibling(j, c), n++) {
			dump(j, c);
			if (object) {
				putchar(':');
				dump(j, json_value(j, c));
			}
			putchar(',');
		}
		putchar(object ? '}' : ']');
		if (n != json_size(j, tok))
			abort();
		break;
	}
	default:
		printf("p%.*s", (int)len, raw);
	}
}

/* Reads the whole document first: a line is printed only for one that is good to its end. */
static int accepted(const char *text, size_t len, bool show)
{
	struct json j;
	struct json_member m;
	struct err err = { 0 };
	int r;
	json_begin(&j, text, len);
	if (show)
		putchar('{');
	while ((r = json_next(&j, &m, &err)) > 0) {
		if (!show)
			continue;
		dump(&j, m.key);
		putchar(':');
		dump(&j, m.value);
		putchar(',');
	}
	if (show)
		puts("}");
	json_release(&j);
	CHECK(r == 0 || (err.code == ERR_FORMAT && err.text[0]));
	return r == 0;
}

static int filter(void)
{
	uint32_t len;
	while (fread(&len, sizeof len, 1, stdin) == 1) {
		char *text = malloc(len ? len : 1); /* exactly as long: a sanitizer sees a read past the end */
		if (!text || fread(text, 1, len, stdin) != len)
			return 2;
		if (accepted(text, len, false))
			accepted(text, len, true);
		else
			puts("-");
		free(text);
	}
	return check_status("test_json");
}

static const char *const good[] = {
	"{}", " \t\r\n{ } \n", "{\"a\":1}", "{\"a\":[]}", "{\"a\":{}}", "{\"a\":[1,[2,{\"b\":null}],true]}", "{\"\":\"\"}",
	"{\"a\":-0.5e+3}", "{\"a\":0}", "{\"a\":18446744073709551616}", "{\"\\u00e9\\ud83d\\ude00\":\"\\/\\b\\f\\n\\r\\t\\\\\\\"\"}",
	"{\"a\":1,\"a\":2}", "{\"\xc3\xa9\":1}",
};

static const char *const refused[] = {
	"", " ", "[]", "1", "{", "}", "{}}", "{}{}", "{} x", "{\"a\"}", "{\"a\":}", "{\"a\" 1}", "{\"a\":1,}", "{,\"a\":1}", "{\"a\":1 \"b\":2}",
	"{\"a\":1,,\"b\":2}", "{\"a\"::1}", "{\"a\":1:2}", "{1:2}", "{a:1}", "{'a':1}", "{\"a\":03}", "{\"a\":+1}", "{\"a\":.5}", "{\"a\":1.}",
	"{\"a\":1e}", "{\"a\":-}", "{\"a\":nul}", "{\"a\":True}", "{\"a\":NaN}", "{\"a\":[1,]}", "{\"a\":[,1]}", "{\"a\":[1 2]}", "{\"a\":[1}}",
	"{\"a\":{]}", "{\"a\":[\"b\":1]}", "{\"a\":{\"b\"}}", "{\"a\":{\"b\":1 2}}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\u12g4\"}",
	"{\"a\":\"\\ud800\"}", "{\"a\":\"\\ud800\\u0041\"}", "{\"a\":\"\\udc00\"}", "{\"a\":\"\x01\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}",
	"{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xf4\x90\x80\x80\"}", "{\"a\":\"b", "{\"a\":\"b\\", "{\"a\":1", "\xef\xbb\xbf{}", "{\"a\":1}\v",
	"{\"a\":\"\\u00",
};

static void test_depth(void)
{
	for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
		char text[512] = "{\"a\":";
		memset(text + 5, '[', (size_t)depth);
		memset(text + 5 + depth, ']', (size_t)depth);
		text[5 + 2 * depth] = '}';
		CHECK(accepted(text, 6 + 2 * (size_t)depth, false) == (depth <= JSON_DEPTH_MAX));
	}
}

/* More members, and bigger ones, than the window of tokens holds at first. */
/* A request of some MB that keeps the agent busy for hours: brackets in strings are none, all others are counted before jsmn walks them. */
static void test_depth_costs_nothing(void)
{
	const size_t depth = 4000000;
	char *text = malloc(2 * depth + 32);

	CHECK(text != NULL);
	size_t at = (size_t)sprintf(text, "{\"[[{\\\"[\":\"]\",\"a\":");
	memset(text + at, '[', depth);
	memset(text + at + depth, ']', depth);
	text[at + 2 * depth] = '}';
	CHECK(!accepted(text, at + 2 * depth + 1, false));
	memset(text + at, '1', 1);
	text[at + 1] = '}';
	CHECK(accepted(text, at + 2, false));
	free(text);
}

static void test_window(void)
{
	static char text[4 << 20];
	size_t at = 0, members = 0;
	text[at++] = '{';
	for (int i = 0; i < 3000; i++) {
		at += (size_t)sprintf(text + at, "%s\"%d\":[", i ? "," : "", i);
		for (int k = 0; k < i % 7 * 40; k++)
			at += (size_t)sprintf(text + at, "%s%d", k ? "," : "", k);
		text[at++] = ']';
	}
	text[at++] = '}';
	struct json j;
	struct json_member m;
	int r;
	json_begin(&j, text, at);
	while ((r = json_next(&j, &m, NULL)) > 0) {
		uint64_t name = (uint64_t)atoi(json_raw(&j, m.key, &(size_t){ 0 })), k = 0, v;
		CHECK(name == members);
		CHECK(json_size(&j, m.value) == members % 7 * 40);
		for (int c = json_first(&j, m.value); c >= 0; c = json_sibling(&j, c), k++)
			CHECK(json_u64(&j, c, &v) && v == k);
		CHECK(k == members % 7 * 40);
		members++;
	}
	CHECK(r == 0 && members == 3000);
	CHECK(j.cap <= 1024); /* as much as the biggest member needs, not as the text */
	json_release(&j);
	text[at - 1] = ','; /* broken at its very end only */
	CHECK(!accepted(text, at, false));
}

static void test_lookup(void)
{
	const char *text = "{\"t\":{\"a\":1,\"b\":{\"a\":2},\"a\":3,\"\\u0063\":18446744073709551615,\"d\":-1,\"e\":1.0,\"f\":\"x\"}}";
	struct json j;
	struct json_member m;
	uint64_t v = 0;
	json_begin(&j, text, strlen(text));
	CHECK(json_next(&j, &m, NULL) == 1);
	CHECK(json_is(&j, m.key, "t") && !json_is(&j, m.key, "tt") && !json_is(&j, m.value, "t"));
	CHECK(json_get(&j, m.value, "a") == -2);
	CHECK(json_get(&j, m.value, "z") == -1);
	CHECK(json_u64(&j, json_get(&j, m.value, "c"), &v) && v == UINT64_MAX);
	CHECK(!json_u64(&j, json_get(&j, m.value, "d"), &v));
	CHECK(!json_u64(&j, json_get(&j, m.value, "e"), &v));
	CHECK(!json_u64(&j, json_get(&j, m.value, "f"), &v));
	CHECK(json_next(&j, &m, NULL) == 0);
	json_release(&j);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "-") == 0)
		return filter();
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		if (!accepted(good[i], strlen(good[i]), false)) {
			fprintf(stderr, "refused: %s\n", good[i]);
			CHECK(!"accepts what is JSON");
		}
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		if (accepted(refused[i], strlen(refused[i]), false)) {
			fprintf(stderr, "accepted: %s\n", refused[i]);
			CHECK(!"refuses what is not JSON");
		}
	CHECK(!accepted("{}\0", 3, false));
	CHECK(!accepted("{\"a\":\"b\0c\"}", 11, false));
	test_depth();
	test_depth_costs_nothing();
	test_window();
	test_lookup();
	return check_status("test_json");
}
