/*
 * Which policies and inputs ct-policy-rego refuses by their look, before the engine sees them. What slips through has a wrong verdict and
 * nobody notices; what is caught without need is a policy that nobody can use.
 */
#include <stdlib.h>

#include "check.h"
#include "input.h"
#include "scan.h"
#include "screen.h"

#define HEAD "package model\n"

static int judge(const char *policy, size_t len, const char *input, struct err *err)
{
	struct scan_token *tokens = malloc((len + 1) * sizeof *tokens);
	char *exact = malloc(len + !len); /* for the sanitizer: nothing is read behind the text */
	struct input_traits traits;
	long n;
	int r = -1;

	*err = (struct err){ 0 };
	if (!tokens || !exact)
		abort();
	memcpy(exact, policy, len);
	if (!input_check(input, strlen(input), &traits, err)) {
		n = scan_policy(exact, len, tokens, err);
		r = n < 0 ? -1 : screen_policy(exact, tokens, (size_t)n, &traits, err);
	}
	free(exact);
	free(tokens);
	return r;
}

static void good(int line, const char *policy, const char *input)
{
	struct err err;
	int r = judge(policy, strlen(policy), input, &err);

	if (r)
		fprintf(stderr, "line %d: %s\n", line, err.text);
	CHECK(r == 0);
}

static void bad(int line, const char *policy, const char *input, const char *part)
{
	struct err err;
	int r = judge(policy, strlen(policy), input, &err);

	if (!r || !strstr(err.text, part))
		fprintf(stderr, "line %d: %s\n", line, r ? err.text : "accepted");
	CHECK(r && strstr(err.text, part));
}

#define GOOD(text) good(__LINE__, HEAD text, "{}")
#define GOOD_WITH(text, input) good(__LINE__, HEAD text, input)
#define BAD(text, part) bad(__LINE__, HEAD text, "{}", part)
#define BAD_WITH(text, input, part) bad(__LINE__, HEAD text, input, part)

static void names(void)
{
	BAD("allow if semver.compare(\"2.10.0\", \"2.9.1\") > 0", "semver");
	BAD("allow if max([9, 10]) == 10", "max");
	BAD("allow if [min([9, 10])] == [9]", "min");
	BAD("allow if sort ([9, 10]) == [9]", "sort");
	BAD("allow if 1max([9, 10]) == 10", "max");
	BAD("allow if\nmax\n([9, 10]) == 10", "max");
	BAD("f(x) := 1\nallow if f([1]) == 2 with f as max", "max");
	BAD("allow if object.union({}, {}) == {}", "object.union");
	BAD("allow if object.union_n([]) == {}", "object.union_n");
	BAD("allow if to_number(input.x) > 3", "to_number");
	BAD("allow if `#` == max([1])", "max");     /* no comment */
	BAD("allow if \"#\" == max([1])", "max");
	BAD("allow if \"\\\"#\" == max([1])", "max"); /* a quote that ends nothing */
	BAD("allow if `\\` == max([1])", "max");    /* a backslash that hides nothing */
	BAD("allow if input.x == sum([1])", "sum");
	BAD("allow if ceil(input.x) < 3", "ceil");
	GOOD("allow if input.max > 3");
	GOOD("allow if input.limits.max > 3");
	GOOD("allow if data.model.max_users > 3\nmax_users := 4");
	GOOD("maximum := 4\nsorted := 1\nallow if maximum + sorted > 3");
	GOOD("allow if input[\"max\"] == \"sort\" # max, min, sort, semver");
	GOOD("allow if input.x == `max(min(sort))`");
	GOOD("allow if union({{1}}) == {1}");
	GOOD("allow if object.get(input, \"x\", 0) == 1");
	GOOD("allow if base64.encode(\"a\") == \"YQ==\"");
	BAD("allow if base64.decode(\"YQ\") == \"a\"", "base64.decode");
}

static void strings(void)
{
	BAD("allow if input.x == \"\\u00e9\"", "\\u");
	BAD("allow if input.x == `\\u00e9`", "\\u");
	BAD("allow if input.x == \"a\\/b\"", "\\/");
	BAD("allow if input.x == \"a\\d\"", "escape");
	BAD("allow if input.x == \"a\nb\"", "without an end");
	BAD("allow if input.x == \"a", "without an end");
	BAD("allow if input.x == `a", "without an end");
	BAD("allow if input.x == $\"a\"", "character");
	BAD("allow if input.x == 'a'", "character");
	GOOD("allow if input.x == \"a\\\\user\"");
	GOOD("allow if input.x == \"\xc3\xa9 \\\" \\\\ \\n\" # \\u \xc3\xa9");
	/* builtins that see escapes as they are spelled */
	BAD("allow if contains(input.x, \"a\\n\")", "contains");
	BAD("allow if indexof(input.x, `\"`) == 1", "indexof");
	BAD("x := \"a\"\nallow if contains(input.x, \"a\\n\")", "a string in line 3)");
	GOOD("allow if contains(input.x, \"a\")");
	GOOD("deny contains \"a \\\"quoted\\\" word\" if input.x\nallow if count(deny) == 0");
	BAD_WITH("allow if endswith(input.x, \"n\")", "{\"x\": \"a\\n\"}", "endswith");
	BAD_WITH("allow if count(input.x) == 2", "{\"x\": \"a\\n\"}", "count");
	GOOD_WITH("allow if input.x == \"a\\n\"", "{\"x\": \"a\\n\"}");
	GOOD_WITH("allow if startswith(input.x, \"a\")", "{\"x\": \"a\\n\"}");
	/* what works on bytes */
	BAD("allow if regex.match(\"^.$\", \"\xc3\xa9\")", "regex");
	BAD_WITH("allow if regex.match(\"^.$\", input.x)", "{\"x\": \"\xc3\xa9\"}", "regex");
	BAD_WITH("allow if lower(input.x) == \"a\"", "{\"x\": \"\xc3\x89\"}", "lower");
	GOOD_WITH("allow if input.x == \"\xc3\xa9\"", "{\"x\": \"\xc3\xa9\"}");
	/* syntax of regular expressions */
	GOOD("allow if regex.match(`^\\d+[.]\\w*(?:a|b)\\.$`, input.x)");
	GOOD("allow if regex.match(\"^\\\\d+\\\\.\\\\b$\", input.x)");
	BAD("allow if regex.match(`(?i)a`, input.x)", "regex");
	BAD("allow if regex.match(`(?=a)`, input.x)", "regex");
	BAD("allow if regex.match(`\\Aab\\z`, input.x)", "regex");
	BAD("allow if regex.match(\"\\\\Aab\", input.x)", "regex");
	BAD("allow if regex.match(`[]a]`, input.x)", "regex");
	BAD("allow if regex.match(`[^]a]`, input.x)", "regex");
	BAD("allow if regex.match(`\\\\`, input.x)", "regex");
	BAD("allow if regex.match(\"\\t\", input.x)", "regex");
	BAD("allow if glob.match(\"\\\\*\", [], input.x)", "glob");
	GOOD("allow if glob.match(\"/models/**\", [\"/\"], input.x)");
	/* sprintf */
	GOOD("allow if input.x == sprintf(\"%d%% of %s %v %03d %.2f\", [1, \"a\", 2, 3, 1.5])");
	BAD("allow if input.x == sprintf(\"%q\", [1])", "sprintf");
	BAD("allow if input.x == sprintf(\"%-5s\", [1])", "sprintf");
	BAD("allow if input.x == sprintf(\"%.1000000000f\", [1])", "sprintf");
	GOOD("allow if input.x == \"100%q\"");
}

static void texts(void)
{
	static const char nul[] = HEAD "allow = false\0\nallow = true";
	struct err err;

	CHECK(judge(nul, sizeof nul - 1, "{}", &err) < 0);
	CHECK_ERR(&err, ERR_FORMAT, "NUL");
	BAD("allow := true # \r", "carriage return");
	BAD("allow := true\rallow := false", "carriage return");
	GOOD("allow := true\r\nx := 1\r\n");
	BAD("allow := true\f", "control");
	BAD("allow := \"\x7f\" == 1", "control");
	BAD("allow := \"\xff\" == 1", "UTF-8");
	BAD("# \xc3", "UTF-8");
	BAD("\xc3\xa9 := 1", "character");
	BAD("allow := (1 == 1", "never closed");
	BAD("allow := (1 == 1]", "do not match");
	BAD("allow := 1 == 1)", "do not match");
	BAD("allow := object . union({}, {}) == {}", "dot");
	BAD("allow := input.\nx", "dot");
	BAD("allow if { input := {\"x\": 1}; input.x == 1 }", "input");
	GOOD("");
	good(__LINE__, "", "{}");
	for (size_t n = 100; n <= 20000; n *= 200) {
		char *deep = malloc(2 * n + 64);
		size_t at;

		if (!deep)
			abort();
		at = (size_t)sprintf(deep, HEAD "allow := ");
		memset(deep + at, '(', n);
		deep[at + n] = '1';
		memset(deep + at + n + 1, ')', n);
		CHECK((judge(deep, at + 2 * n + 1, "{}", &err) == 0) == (n == 100));
		free(deep);
	}
}

/* Rego v0 has no `if`; the engine reads it all the same. */
static void bodies(void)
{
	BAD("allow { true }", "`if`");
	BAD("allow = true { true }", "`if`");
	BAD("allow := input.x { true }", "`if`");
	BAD("f(x) { x }", "`if`");
	BAD("deny[x] { x := 1 }", "`if`");
	BAD("allow := 1 if { true } else := 2 { false }", "`if`");
	BAD("allow if { true } else { false }", "`if`");
	BAD("allow := \"a\" { true }", "`if`");
	BAD("allow", "no `if`");
	BAD("allow if p.x\np.x", "no `if`");
	BAD("p[\"x\"]\nallow if p.x", "no `if`");
	BAD("f(x)\nallow if f(1)", "no `if`");
	BAD("default allow\nx := 1", "no `if`");
	GOOD("allow if {\n\ttrue\n}");
	GOOD("p[\"x\"].y[1] := 1\nf(1) := 2\nallow if p.x.y[1] == f(1)");
	GOOD("allow if\n\tinput.x ==\n\tinput.y");
	GOOD("allow if\n{ true }");
	GOOD("x := {\"a\": 1}\ny = {1, 2}\nallow if x.a in {1, 2}\n");
	GOOD("allow := 1 if { true } else := 2 if { false }");
	GOOD("x := {1} | {2}\nallow if 1 in x");
	GOOD("q if input.a == 1\nallow if q with input as {\"a\": 1}");
	GOOD("allow if { every x in [1] { x > 0 } }");
	GOOD("p contains {\"a\": 1} if true\nallow if count(p) == 1");
}

/* A misspelt rule under `not`: undefined for the engine, an error for others. */
static void defined(void)
{
	BAD("deny if input.x\nallow if not denied", "denied");
	BAD("allow if not denied\nx if not denied", "denied");
	BAD("deny if nosuch == 1\nallow if not deny", "nosuch");
	BAD("allow if not nosuch.x", "nosuch");
	BAD("allow if count([x | x := nosuch]) == 0", "nosuch");
	BAD("allow if { x := nosuch; not x }", "nosuch");
	BAD("allow if {\n\tnot nosuch\n}", "nosuch");
	BAD("allow if\nnot nosuch", "nosuch");
	BAD("allow = nosuch", "nosuch");
	BAD("allow := nosuch if true", "nosuch");
	BAD("default allow := nosuch", "nosuch");
	BAD("allow = TRUE", "TRUE");
	BAD("f(x) := x\nallow if not x", "name x"); /* another rule's */
	BAD("allow if not startswith(nosuch, \"a\")", "nosuch");
	GOOD("deny if input.x\nallow if not deny");
	GOOD("default allow := false\nallow if input.x");
	GOOD("f(x, y) := x + y\nallow if f(1, 2) == 3");
	GOOD("f([x, {\"a\": y}]) := x + y\nallow if f([1, {\"a\": 2}]) == 3");
	GOOD("f(x) := 1 if x > 5\nelse := x if x > 3\nallow if f(1) == 1");
	GOOD("default f(_) := 0\nf(x) := 1 if x > 5\nallow if f(1) == 0");
	GOOD("allow if { some x in [1, 2]; x == 2 }");
	GOOD("allow if { some k, v in {\"a\": 1}; k == \"a\"; v == 1 }");
	GOOD("allow if { some i; input.list[i] == i }");
	GOOD("allow if { some a, b, c; input.x[a][b][c] == 1; a + b + c > 0 }");
	GOOD("allow if { input.list[i].x == 1; i > 2 }");
	GOOD("allow if { [x, [y, _]] := [1, [2, 3]]; x + y == 3 }");
	GOOD("allow if { {\"a\": x} := {\"a\": 1}; x == 1 }");
	GOOD("allow if { [x, 2] = [1, y]; x == y }");
	GOOD("allow if { 1 = x; x == 1 }");
	GOOD("allow if { some [x, y] in [[1, 2]]; x + y == 3 }");
	GOOD("allow if { every k, v in {\"a\": 1} { k != v } }");
	GOOD("allow if { walk(input, [p, v]); v == 1; p == [\"a\"] }");
	GOOD("allow if count({x: y | some x, y in [\"a\"]}) == 1");
	GOOD("import data.model.q as z\nimport input.user\nq := 5\nallow if { z == 5; not user }");
	GOOD("import rego.v1\nimport future.keywords.if\nallow if true");
	GOOD("a.b.c := 1\na.b.d := 2\nallow if a.b.c == 1");
	GOOD("p[x] := y if some x, y in {\"a\": 1}\nallow if p.a == 1");
	GOOD("deny contains msg if { msg := \"x\" }\nallow if count(deny) == 0");
	GOOD("deny contains\n\tmsg if { msg := \"x\" }\nallow if count(deny) == 0");
	GOOD("g if time.now_ns() > 3\nallow if g with time.now_ns as 5");
	good(__LINE__, "package model allow = true", "{}");
	good(__LINE__, "package model allow if true", "{}");
	good(__LINE__, "package model allow = true\nx if allow", "{}");
	good(__LINE__, "package a.b.c\n\nallow := true", "{}");
}

static void inputs(void)
{
	static const struct {
		const char *text, *part; /* NULL: good */
	} cases[] = {
		{ "{}", NULL },
		{ " {\"a\": {\"b\": [1, {\"c\": null}], \"d\": 1.5e3}, \"b\": \"\xc3\xa9 \\\" \\\\ \\n\"}\n", NULL },
		{ "{\"a\": {\"x\": 1}, \"b\": {\"x\": 1}, \"x\": 1}", NULL },
		{ "{\"a\": 1, \"b\": 2, \"a\": 3}", "twice" },
		{ "{\"a\": {\"b\": 1, \"b\": 1}}", "twice" },
		{ "{\"a\": [0, [{\"b\": 1, \"c\": {\"d\": 0, \"d\": 0}}]]}", "twice" },
		{ "{\"a\": \"\\u0041\"}", "\\u" },
		{ "{\"\\u0041\": 1}", "\\u" },
		{ "{\"a\": \"\\/\"}", "\\/" },
		{ "{\"a\": \"\\\\u0041 \\\\/\"}", NULL },
		{ "[]", "" },
		{ "", "" },
		{ "{\"a\": 1} {}", "" },
		{ "{\"a\": \"\xff\"}", "" },
		{ "{\"a\": 01}", "" },
		{ "{\"a\": set()}", "" },
		{ "{\"a\": {1, 2}}", "" },
		{ "{\"a\": `b`}", "" },
		{ "{\"a\": input}", "" },
		{ "{\"a\": 1,}", "" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct input_traits traits;
		struct err err = { 0 };
		int r = input_check(cases[i].text, strlen(cases[i].text), &traits, &err);

		if ((r == 0) != !cases[i].part)
			fprintf(stderr, "input %s: %d %s\n", cases[i].text, r, err.text);
		CHECK((r == 0) == !cases[i].part);
		CHECK(!cases[i].part || strstr(err.text, cases[i].part));
	}
	/* found by our own count: the reader's time grows with the square of the depth */
	for (size_t n = 50; n <= 200000; n *= 4000) {
		char *deep = malloc(2 * n + 16);
		struct input_traits traits;
		struct err err = { 0 };
		int r;

		if (!deep)
			abort();
		memcpy(deep, "{\"a\":", 5);
		memset(deep + 5, '[', n);
		memset(deep + 5 + n, ']', n);
		deep[5 + 2 * n] = '}';
		r = input_check(deep, 2 * n + 6, &traits, &err);
		CHECK((r == 0) == (n == 50));
		CHECK(r == 0 || !strcmp(err.text, "nested too deeply"));
		free(deep);
	}
}

/* Every beginning of a policy, and many with a byte changed: no more than no crash is asked. */
static void rubbish(void)
{
	static const char text[] = HEAD "import data.a as b\ndefault allow := false\nf([x, {\"a\": y}]) := `\\d` if { some i; x[i] == \"\\\\d\\\"\" } "
				   "else := 1.5e+3 if not b\nallow if { some k, v in {1: {2}}; k = v; sprintf(\"%5d%%\", [k]) != \"[^]\" } # x\n";
	char changed[sizeof text];
	unsigned int seed = 1;
	struct err err;

	for (size_t n = 0; n < sizeof text; n++)
		judge(text, n, "{}", &err);
	for (int i = 0; i < 5000; i++) {
		memcpy(changed, text, sizeof text);
		for (int k = 0; k < 3; k++) {
			seed = seed * 1103515245 + 12345;
			changed[(seed >> 8) % (sizeof text - 1)] = "()[]{}\"`\\.,=:#\n% aif"[(seed >> 3) % 20];
		}
		judge(changed, sizeof text - 1, "{}", &err);
	}
	CHECK(judge(text, sizeof text - 1, "{}", &err) == 0);
}

int main(void)
{
	names();
	strings();
	texts();
	bodies();
	defined();
	inputs();
	rubbish();
	return check_status("engine_screen");
}
