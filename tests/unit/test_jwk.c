/* jwk: both spellings, what is refused and with which words, writing and reading back, the file's mode. */
#include "jwk.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

/* RFC 8032, section 7.1, test 1: d and its x, in both base64 alphabets. */
#define D_STD "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
#define D_URL "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
#define X_STD "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
#define X_URL "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define X_OTHER "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
#define K32 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define K16 "AAECAwQFBgcICQoLDA0ODw=="
#define OKP "{\"kty\":\"okp\",\"alg\":\"ed25519\",\"kid\":\"s\",\"x\":\"" X_STD "\",\"d\":\"" D_STD "\"}"
#define OCT "{\"kty\":\"oct\",\"alg\":\"aes256gcm\",\"kid\":\"e\",\"k\":\"" K32 "\"}"

static int parse(struct jwk_set *set, const char *text, struct err *err)
{
	memset(err, 0, sizeof *err);
	return jwk_set_parse(set, text, strlen(text), err);
}

static void good(void)
{
	static const char *const texts[] = {
		"{\"keys\":[" OCT "," OKP "]}",
		"{\"keys\":[{\"kty\":\"oct\",\"alg\":\"A256GCM\",\"kid\":\"e\",\"use\":\"enc\",\"k\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"},"
		"{\"kty\":\"OKP\",\"alg\":\"EdDSA\",\"crv\":\"Ed25519\",\"kid\":\"s\",\"x\":\"" X_URL "\",\"d\":\"" D_URL "\"}],\"more\":{\"k\":[1]}}",
		" {\"keys\" : [ {\"k\":\"" K32 "\",\"kid\":\"\\u0065\",\"alg\":\"AES-256-GCM\",\"kty\":\"oct\"} , "
		"{\"kty\":\"okp\",\"alg\":\"Ed25519\",\"kid\":\"s\",\"d\":\"nWGxne\\/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\",\"x\":\"" X_STD "\"}]}\n",
	};
	struct jwk_set set;
	struct err err;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct str e = { "e", 1 }, s = { "s", 1 }, none = { "x", 1 };
		const struct jwk *k, *v;

		CHECK(parse(&set, texts[i], &err) == 0);
		if (err.code) {
			fprintf(stderr, "text %zu: %s\n", i, err.text);
			continue;
		}
		CHECK(set.count == 2);
		k = jwk_set_find(&set, JWK_OCT, true, e);
		v = jwk_set_find(&set, JWK_OKP, true, s);
		CHECK(k && v);
		CHECK(k && k->has_alg && k->alg == AEAD_AES256GCM && k->secret->len == 32 && k->secret->data[31] == 31);
		CHECK(v && v->secret && v->secret->len == 32 && v->secret->data[0] == 0x9d && v->x[0] == 0xd7 && v->x[31] == 0x1a);
		CHECK(jwk_set_find(&set, JWK_OCT, false, none) == k);
		CHECK(!jwk_set_find(&set, JWK_OCT, true, none));
		CHECK(!jwk_set_find(&set, JWK_OCT, true, s)); /* the kind counts, too */
		jwk_set_release(&set);
	}
	CHECK(parse(&set, OCT, &err) == 0 && set.count == 1);
	jwk_set_release(&set);
	CHECK(parse(&set, "{\"kty\":\"oct\",\"alg\":\"\",\"k\":\"" K16 "\"}", &err) == 0 && !set.keys[0].has_alg && !set.keys[0].has_kid);
	jwk_set_release(&set);
	CHECK(parse(&set, "{\"kty\":\"okp\",\"x\":\"" X_STD "\"}", &err) == 0 && !set.keys[0].secret);
	jwk_set_release(&set);
}

static void refused(void)
{
	static const struct {
		const char *text, *part;
	} bad[] = {
		{ "", "" },
		{ "[" OCT "]", "" },
		{ "{}", "neither" },
		{ "{\"keys\":[]}", "empty" },
		{ "{\"keys\":{}}", "not an array" },
		{ "{\"keys\":[1]}", "key 1 is not an object" },
		{ "{\"keys\":[" OCT "],\"keys\":[" OCT "]}", "twice" },
		{ "{\"keys\":[" OCT "],\"kty\":\"oct\"}", "both" },
		{ "{\"keys\":[" OCT "," OCT "]}", "key 2: a second key" },
		{ "{\"keys\":[" OCT "]} x", "" },
		{ "{\"kty\":\"oct\",\"kty\":\"oct\",\"k\":\"" K32 "\"}", "\"kty\" is there twice" },
		{ "{\"keys\":[" OKP ",{\"kty\":\"oct\",\"k\":\"" K32 "\",\"k\":\"" K32 "\"}]}", "key 2: \"k\" is there twice" },
		{ "{\"alg\":\"aes256gcm\",\"k\":\"" K32 "\"}", "\"kty\" is missing" },
		{ "{\"kty\":\"RSA\",\"k\":\"" K32 "\"}", "not oct or okp" },
		{ "{\"kty\":\"Oct\",\"k\":\"" K32 "\"}", "not oct or okp" },
		{ "{\"kty\":1,\"k\":\"" K32 "\"}", "\"kty\" is not" },
		{ "{\"kty\":\"oct\"}", "not 16 or 32 bytes" },
		{ "{\"kty\":\"oct\",\"k\":\"\"}", "not 16 or 32 bytes" },
		{ "{\"kty\":\"oct\",\"k\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\"}", "not 16 or 32 bytes" },
		{ "{\"kty\":\"oct\",\"k\":\"" K32 K32 "\"}", "\"k\" is not" },
		{ "{\"kty\":\"oct\",\"k\":\" " K32 "\"}", "\"k\" is not" },
		{ "{\"kty\":\"oct\",\"k\":\"AAECAwQFBgcICQoLDA0ODw\\u0000\"}", "\"k\" is not" },
		{ "{\"kty\":\"oct\",\"alg\":\"aes256gcm\",\"k\":\"" K16 "\"}", "aes256gcm takes a key of 32 bytes, not 16" },
		{ "{\"kty\":\"oct\",\"alg\":\"A128GCM\",\"k\":\"" K32 "\"}", "aes128gcm takes a key of 16 bytes, not 32" },
		{ "{\"kty\":\"oct\",\"alg\":\"ed25519\",\"k\":\"" K32 "\"}", "unknown algorithm" },
		{ "{\"kty\":\"oct\",\"alg\":null,\"k\":\"" K32 "\"}", "\"alg\" is not" },
		{ "{\"kty\":\"oct\",\"k\":\"" K32 "\",\"d\":\"" D_STD "\"}", "an oct key has no" },
		{ "{\"kty\":\"oct\",\"k\":\"" K32 "\",\"x\":\"" X_STD "\"}", "an oct key has no" },
		{ "{\"kty\":\"okp\",\"x\":\"" X_STD "\",\"k\":\"" K32 "\"}", "an okp key has no" },
		{ "{\"kty\":\"okp\",\"d\":\"" D_STD "\"}", "\"x\" is not 32 bytes" },
		{ "{\"kty\":\"okp\",\"x\":\"" X_OTHER "\",\"d\":\"" D_STD "\"}", "not the public key" },
		{ "{\"kty\":\"okp\",\"x\":\"" X_STD "\",\"d\":\"" K16 "\"}", "\"d\" is not 32 bytes" },
		{ "{\"kty\":\"okp\",\"alg\":\"aes256gcm\",\"x\":\"" X_STD "\"}", "unknown algorithm" },
		{ "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" X_STD "\"}", "not Ed25519" },
		{ "{\"kty\":\"oct\",\"alg\":\"\\u001b[2J\",\"k\":\"" K32 "\"}", "\\x1b" }, /* escaped in the message */
	};
	struct jwk_set set;
	struct err err;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CHECK(parse(&set, bad[i].text, &err) == -1);
		CHECK_ERR(&err, ERR_FORMAT, bad[i].part);
		CHECK(!set.keys && !set.count);
		CHECK(!strstr(err.text, "AAECAwQF") && !strstr(err.text, "nWGxne")); /* rejected input is never printed */
	}
}

static void kid_lengths(void)
{
	char text[2048], kid[300];
	struct jwk_set set;
	struct err err;

	memset(kid, 'a', sizeof kid);
	snprintf(text, sizeof text, "{\"kty\":\"oct\",\"k\":\"" K32 "\",\"kid\":\"%.255s\"}", kid);
	CHECK(parse(&set, text, &err) == 0 && set.keys[0].kid_len == 255);
	jwk_set_release(&set);
	snprintf(text, sizeof text, "{\"kty\":\"oct\",\"k\":\"" K32 "\",\"kid\":\"%.256s\"}", kid);
	CHECK(parse(&set, text, &err) == -1);
	CHECK_ERR(&err, ERR_FORMAT, "\"kid\" is not");
	CHECK(parse(&set, "{\"kty\":\"oct\",\"k\":\"" K32 "\",\"kid\":\"a\\u0000b\"}", &err) == 0 && set.keys[0].kid_len == 3);
	jwk_set_release(&set);
}

static void too_many(void)
{
	size_t len = 0, cap = 64 * (JWK_KEYS_MAX + 2);
	char *text = malloc(cap);
	struct jwk_set set;
	struct err err;

	if (!text)
		abort();
	for (unsigned int n = JWK_KEYS_MAX; n <= JWK_KEYS_MAX + 1; n++) {
		len = (size_t)sprintf(text, "{\"keys\":[");
		for (unsigned int i = 0; i < n; i++)
			len += (size_t)sprintf(text + len, "%s{\"kty\":\"oct\",\"k\":\"" K16 "\"}", i ? "," : "");
		sprintf(text + len, "]}");
		CHECK((parse(&set, text, &err) == 0) == (n == JWK_KEYS_MAX));
		jwk_set_release(&set);
	}
	CHECK_ERR(&err, ERR_FORMAT, "more than 1024 keys");
	free(text);
}

static void written(void)
{
	static const char quoted[] = "{\"keys\":[{\"kty\":\"oct\",\"k\":\"" K32 "\",\"kid\":\"q\\\"\\u0001\\u00e9\"}," OKP "]}";
	struct jwk_set set, back;
	struct err err;

	CHECK(parse(&set, quoted, &err) == 0);
	for (int spelling = JWK_REFERENCE; spelling <= JWK_RFC7517; spelling++)
		for (int private = 0; private <= 1; private++) {
			struct secret *s = jwk_set_write(&set, (enum jwk_spelling)spelling, private ? JWK_ALL : JWK_READER);

			CHECK(s && jwk_set_parse(&back, (const char *)s->data, s->len, &err) == 0);
			CHECK(back.count == 2);
			CHECK(back.keys[0].kid_len == set.keys[0].kid_len && memcmp(back.keys[0].kid, set.keys[0].kid, set.keys[0].kid_len) == 0);
			CHECK(secret_equal(back.keys[0].secret, set.keys[0].secret) && !back.keys[0].has_alg);
			CHECK(memcmp(back.keys[1].x, set.keys[1].x, SIGN_KEY_LEN) == 0);
			CHECK(private ? back.keys[1].secret && secret_equal(back.keys[1].secret, set.keys[1].secret) : !back.keys[1].secret);
			CHECK(!memmem(s->data, s->len, "=", 1) == (spelling == JWK_RFC7517));
			CHECK(!memmem(s->data, s->len, "\"d\"", 3) == !private);
			jwk_set_release(&back);
			secret_free(s);
		}
	jwk_set_release(&set);
}

static void from_files(void)
{
	char path[] = "/tmp/ct-jwk-XXXXXX";
	static char blank[JWK_FILE_MAX + 2];
	struct jwk_set set;
	struct err err = { 0 };
	int fd = mkstemp(path);

	CHECK(fd >= 0 && write(fd, OKP, sizeof OKP - 1) == (ssize_t)sizeof OKP - 1);
	CHECK(jwk_set_read(&set, path, &err) == 0 && set.count == 1);
	jwk_set_release(&set);
	for (unsigned int bit = 1; bit <= 040; bit <<= 1) {
		CHECK(fchmod(fd, 0600 | bit) == 0 && jwk_set_read(&set, path, &err) == -1);
		CHECK_ERR(&err, ERR_REJECTED, "chmod 600 /tmp/ct-jwk-");
	}
	CHECK(fchmod(fd, 0400) == 0 && jwk_set_read(&set, path, &err) == 0);
	jwk_set_release(&set);
	CHECK(fchmod(fd, 0600) == 0 && ftruncate(fd, 3) == 0 && jwk_set_read(&set, path, &err) == -1);
	CHECK_ERR(&err, ERR_FORMAT, "not a JWK set");
	memset(blank, ' ', sizeof blank);
	CHECK(pwrite(fd, blank, sizeof blank, 0) == (ssize_t)sizeof blank && jwk_set_read(&set, path, &err) == -1);
	CHECK_ERR(&err, ERR_FORMAT, "over 1048576 bytes");
	close(fd);
	unlink(path);
	CHECK(jwk_set_read(&set, path, &err) == -1);
	CHECK_ERR(&err, ERR_SYSTEM, "ct-jwk-");
	CHECK(jwk_set_read(&set, "/tmp", &err) == -1);
	CHECK_ERR(&err, ERR_SYSTEM, "directory");
}

static void from_a_pipe(void)
{
	struct jwk_set set;
	struct err err;
	char path[64];
	int p[2];

	CHECK(pipe(p) == 0 && write(p[1], OCT, sizeof OCT - 1) == (ssize_t)sizeof OCT - 1);
	close(p[1]);
	snprintf(path, sizeof path, "/proc/self/fd/%d", p[0]);
	CHECK(jwk_set_read(&set, path, &err) == 0 && set.count == 1);
	jwk_set_release(&set);
	close(p[0]);
}

int main(void)
{
	good();
	refused();
	kid_lengths();
	too_many();
	written();
	from_files();
	from_a_pipe();
	return check_status("test_jwk");
}
