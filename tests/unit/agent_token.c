/*
 * token, token_uri: master keys in PKCS#11 tokens. Without arguments the URIs alone; tests/token.bats makes tokens by other people's programs
 * and calls
 *
 *     agent_token keys MODULE PINFILE FOLDER     softhsm2 itself; FOLDER has what it was given: aes32, aes16
 *     agent_token faults STANDIN PINFILE FOLDER  tests/standins/p11.c in front of it
 *
 * What is unwrapped was sealed by OpenSSL.
 */
#include <dlfcn.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "cryptoki.h"
#include "token.h"

/* --- URIs --- */

static void good_uri(void)
{
	struct token_uri u;
	const char *why = NULL;

	CHECK(token_uri_parse(&u, "pkcs11:token=a%20b%25;manufacturer=m;model=SoftHSM%20v2;serial=0123456789abcdef;slot-id=7;object=k%C3%A9&=y;"
	                          "id=%00%ff%41;type=secret-key?module-path=/usr/lib/x.so&pin-source=/etc/p%3Bin", &why) == 0);
	CHECK(strcmp(u.token, "a b%") == 0 && strcmp(u.manufacturer, "m") == 0 && strcmp(u.model, "SoftHSM v2") == 0);
	CHECK(strcmp(u.serial, "0123456789abcdef") == 0 && u.has_slot && u.slot == 7 && strcmp(u.object, "k\xc3\xa9&=y") == 0);
	CHECK(u.id_len == 3 && memcmp(u.id, "\0\xff\x41", 3) == 0);
	CHECK(strcmp(u.module_path, "/usr/lib/x.so") == 0 && strcmp(u.pin_source, "/etc/p;in") == 0);

	CHECK(token_uri_parse(&u, "pkcs11:object=k?pin-source=file:/a/b&module-path=/x", &why) == 0);
	CHECK(strcmp(u.pin_source, "/a/b") == 0 && !u.token[0] && !u.has_slot && !u.id_len);
	CHECK(token_uri_parse(&u, "pkcs11:id=%01?pin-source=file:///a/b&module-path=/x?y", &why) == 0);
	CHECK(strcmp(u.pin_source, "/a/b") == 0 && strcmp(u.module_path, "/x?y") == 0 && !u.object[0]);
}

static void bad_uris(void)
{
	static const struct {
		const char *uri, *says;
	} bad[] = {
		{ "", "pkcs11:" },
		{ "PKCS11:object=k?module-path=/x", "pkcs11:" },
		{ "file:/x", "pkcs11:" },
		{ "pkcs11:", "module" },
		{ "pkcs11:?module-path=/x", "before the ?" },
		{ "pkcs11:object=k", "module" },
		{ "pkcs11:object=k?pin-source=/p", "module" },
		{ "pkcs11:token=t?module-path=/x", "no key" },
		{ "pkcs11:object=k?module-path=x.so", "whole path" },
		{ "pkcs11:object=k?module-path=file:/x.so", "whole path" },
		{ "pkcs11:object=k?module-path=/x&pin-source=p", "whole path" },
		{ "pkcs11:object=k?module-path=/x&pin-source=|/bin/pin", "whole path" },
		{ "pkcs11:object=k?module-path=/x&pin-source=file:p", "whole path" },
		{ "pkcs11:object=k?module-path=/x&pin-value=1234", "pin-value" },
		{ "pkcs11:object=k?module-path=/x&pin-value=12 34", "pin-value" },
		{ "pkcs11:object=k;object=l?module-path=/x", "twice" },
		{ "pkcs11:object=k?module-path=/x&module-path=/y", "twice" },
		{ "pkcs11:object=?module-path=/x", "empty" },
		{ "pkcs11:object?module-path=/x", "before the ?" },
		{ "pkcs11:Object=k?module-path=/x", "before the ?" },
		{ "pkcs11:object=k;x-vendor=1?module-path=/x", "before the ?" },
		{ "pkcs11:object=k;module-path=/x", "before the ?" },
		{ "pkcs11:object=k?module-path=/x&token=t", "behind the ?" },
		{ "pkcs11:object=k?module-path=/x&module-name=y", "behind the ?" },
		{ "pkcs11:object=k;?module-path=/x", "before the ?" },
		{ "pkcs11:object=k?module-path=/x&", "separator" },
		{ "pkcs11:object=k?module-path=/x&&pin-source=/p", "behind the ?" },
		{ "pkcs11:object=k;type=private?module-path=/x", "secret-key" },
		{ "pkcs11:object=k;type=secret-keys?module-path=/x", "secret-key" },
		{ "pkcs11:object=k;slot-id=x?module-path=/x", "slot-id" },
		{ "pkcs11:object=k;slot-id=-1?module-path=/x", "slot-id" },
		{ "pkcs11:object=k;slot-id=99999999999999999999999999?module-path=/x", "slot-id" },
		{ "pkcs11:object=k%?module-path=/x", "hexadecimal" },
		{ "pkcs11:object=k%4?module-path=/x", "hexadecimal" },
		{ "pkcs11:object=k%4g?module-path=/x", "hexadecimal" },
		{ "pkcs11:object=k%00l?module-path=/x", "NUL" },
		{ "pkcs11:object=k?module-path=/x%00y", "NUL" },
		{ "pkcs11:object=a b?module-path=/x", "%XX" },
		{ "pkcs11:object=a/b?module-path=/x", "%XX" },
		{ "pkcs11:object=a\"b?module-path=/x", "%XX" },
		{ "pkcs11:object=\xc3\xa9?module-path=/x", "%XX" },
		{ "pkcs11:object=k;token=123456789012345678901234567890123?module-path=/x", "too long" },
		{ "pkcs11:object=k;serial=12345678901234567?module-path=/x", "too long" },
	};
	static char longest[4096];
	struct token_uri u;
	const char *why = NULL;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int r = token_uri_parse(&u, bad[i].uri, &why);

		CHECK(r == -1 && strstr(why, bad[i].says));
		if (r == 0 || !strstr(why, bad[i].says))
			fprintf(stderr, "%s: %d %s\n", bad[i].uri, r, why);
		CHECK(r == 0 || !strstr(why, "1234"));
	}
	for (unsigned int n = 250; n < 2000; n += 50) {
		snprintf(longest, sizeof longest, "pkcs11:object=%0*d?module-path=/x", (int)n, 7);
		CHECK((token_uri_parse(&u, longest, &why) == 0) == (n < TOKEN_URI_NAME_MAX));
		snprintf(longest, sizeof longest, "pkcs11:object=k?module-path=/%0*d", (int)n, 7);
		CHECK((token_uri_parse(&u, longest, &why) == 0) == (n + 1 < TOKEN_URI_PATH_MAX));
	}
}

/* --- tokens --- */

static const char *module, *pin_file, *folder;

/* A token for the attributes `more` and a PIN file (NULL: none). */
static struct token *open_at(const char *more, const char *at, const char *pin, struct err *err)
{
	char uri[1024];
	struct token_uri u;
	const char *why = "";

	snprintf(uri, sizeof uri, "pkcs11:%s?module-path=%s%s%s", more, at, pin ? "&pin-source=" : "", pin ? pin : "");
	if (token_uri_parse(&u, uri, &why)) {
		err_set(err, ERR_FORMAT, "%s", why);
		return NULL;
	}
	return token_open(&u, err);
}

static struct token *open_key(const char *more, struct err *err)
{
	return open_at(more, module, pin_file, err);
}

static size_t read_key(const char *name, uint8_t key[32])
{
	char path[512];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	f = fopen(path, "re");
	if (f) {
		n = fread(key, 1, 32, f);
		fclose(f);
	}
	return n;
}

struct sealed {
	uint8_t clear[32], wrapped[32], iv[12], tag[16];
};

static void seal(struct sealed *s, const uint8_t *key, size_t key_len, size_t len)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;

	CHECK(RAND_bytes(s->clear, 32) == 1 && RAND_bytes(s->iv, 12) == 1);
	CHECK(EVP_EncryptInit_ex(c, key_len == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(), NULL, key, s->iv) == 1);
	CHECK(EVP_EncryptUpdate(c, s->wrapped, &n, s->clear, (int)len) == 1 && EVP_EncryptFinal_ex(c, s->wrapped + n, &n) == 1);
	CHECK(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, 16, s->tag) == 1);
	EVP_CIPHER_CTX_free(c);
}

static void unwrap_many(struct token *t, const uint8_t *key, size_t key_len, unsigned int rounds)
{
	static const uint8_t untouched[32] = { 0 };
	struct sealed s;
	struct err why;

	for (unsigned int i = 0; i < rounds; i++) {
		size_t len = i & 1 ? 16 : 32;
		uint8_t out[32] = { 0 };

		seal(&s, key, key_len, len);
		if (i % 3 == 0)
			(i % 9 == 0 ? s.tag : i % 9 == 3 ? s.iv : s.wrapped)[i % 12] ^= 1;
		if (i % 3) {
			CHECK(token_unwrap(t, s.iv, s.wrapped, len, s.tag, out, &why) == 0);
			CHECK(memcmp(out, s.clear, len) == 0 && memcmp(out + len, untouched, 32 - len) == 0);
		} else {
			CHECK(token_unwrap(t, s.iv, s.wrapped, len, s.tag, out, &why) == -1);
			CHECK_ERR(&why, ERR_FORMAT, "CKR_");
			CHECK(memcmp(out, untouched, 32) == 0);
		}
	}
}

static void right_keys(void)
{
	uint8_t key[32];
	struct err why = { 0 };
	struct token *t = open_key("token=ct%20test;object=aes32", &why), *second;
	size_t len;

	CHECK(t != NULL);
	if (!t) {
		fprintf(stderr, "%s\n", why.text);
		return;
	}
	CHECK(read_key("aes32", key) == 32 && token_key_len(t) == 32 && strcmp(token_label(t), "ct test") == 0);
	CHECK(strcmp(token_key_label(t, &len), "aes32") == 0 && len == 5);
	unwrap_many(t, key, 32, 15000); /* two thirds of them unwrap */

	second = open_key("token=ct%20test;id=%16;type=secret-key", &why);
	CHECK(second != NULL);
	if (second) {
		CHECK(read_key("aes16", key) == 16 && token_key_len(second) == 16);
		unwrap_many(second, key, 16, 300);
	}
	token_close(second); /* must not log the first one out */
	CHECK(read_key("aes32", key) == 32);
	unwrap_many(t, key, 32, 30);
	token_close(t);
}

static void wrong_ones(void)
{
	static const struct {
		const char *more;
		enum err_code code;
		const char *says;
	} wrong[] = {
		{ "token=ct%20test;object=missing", ERR_NOKEY, "has no AES key" },
		{ "token=ct%20test;object=aes32;id=%99", ERR_NOKEY, "has no AES key" },
		{ "token=ct%20test;object=generic", ERR_NOKEY, "has no AES key" },
		{ "token=ct%20test;object=twin", ERR_NOKEY, "several" },
		{ "token=ct%20test;object=aes24", ERR_REJECTED, "24 bytes" },
		{ "token=ct%20test;object=leaves", ERR_REJECTED, "read out" },
		{ "token=ct%20test;object=plain", ERR_REJECTED, "read out" },
		{ "token=ct%20test;object=public", ERR_REJECTED, "without the PIN" },
		{ "token=other;object=aes32", ERR_NOKEY, "no token of" },
		{ "token=ct%20tes;object=aes32", ERR_NOKEY, "\"ct test\"" },
		{ "token=ct%20test;serial=00;object=aes32", ERR_NOKEY, "no token of" },
		{ "token=ct%20test;model=x;object=aes32", ERR_NOKEY, "no token of" },
		{ "token=ct%20test;manufacturer=x;object=aes32", ERR_NOKEY, "no token of" },
		{ "token=ct%20test;slot-id=3;object=aes32", ERR_NOKEY, "no token of" },
		{ "token=twins;object=aes32", ERR_NOKEY, "2 tokens" },
	};
	char path[512];
	struct err why = { 0 };
	struct token *t;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		t = open_key(wrong[i].more, &why);
		CHECK(!t);
		CHECK_ERR(&why, wrong[i].code, wrong[i].says);
		token_close(t);
	}
	t = open_key("token=ct%20test;object=twin;id=%21", &why);
	CHECK(t != NULL);
	token_close(t);
	t = open_key("manufacturer=SoftHSM%20project;model=SoftHSM%20v2;token=ct%20test;object=aes32", &why);
	CHECK(t != NULL);
	token_close(t);

	CHECK(!open_at("token=ct%20test;object=aes32", module, NULL, &why));
	CHECK_ERR(&why, ERR_NOKEY, "pin-source");
	snprintf(path, sizeof path, "%s/wrong-pin", folder);
	CHECK(!open_at("token=ct%20test;object=aes32", module, path, &why));
	CHECK_ERR(&why, ERR_NOKEY, "CKR_PIN_INCORRECT");
	snprintf(path, sizeof path, "%s/open-pin", folder);
	CHECK(!open_at("token=ct%20test;object=aes32", module, path, &why));
	CHECK_ERR(&why, ERR_REJECTED, "others may read");
	snprintf(path, sizeof path, "%s/empty-pin", folder);
	CHECK(!open_at("token=ct%20test;object=aes32", module, path, &why));
	CHECK_ERR(&why, ERR_NOKEY, "no PIN");
	snprintf(path, sizeof path, "%s/no-such-pin", folder);
	CHECK(!open_at("token=ct%20test;object=aes32", module, path, &why));
	CHECK(why.code == ERR_SYSTEM && why.sys_errno == ENOENT);

	CHECK(!open_at("object=aes32", "/nonexistent/p11.so", pin_file, &why));
	CHECK(why.code == ERR_SYSTEM && why.sys_errno == ENOENT);
	snprintf(path, sizeof path, "%s/aes32", folder);
	CHECK(!open_at("object=aes32", path, pin_file, &why));
	CHECK_ERR(&why, ERR_NOKEY, "cannot be loaded");
	snprintf(path, sizeof path, "%s/no-p11.so", folder);
	CHECK(!open_at("object=aes32", path, pin_file, &why));
	CHECK_ERR(&why, ERR_NOKEY, "C_GetFunctionList");
	snprintf(path, sizeof path, "%s/writable.so", folder);
	CHECK(!open_at("object=aes32", path, pin_file, &why));
	CHECK_ERR(&why, ERR_REJECTED, "others may write");
}

/* Sessions that end behind our back: the module's own functions do it. */
static void lost_sessions(void)
{
	uint8_t key[32], out[32];
	struct err why = { 0 };
	struct token *t = open_key("token=ct%20test;object=aes32", &why);
	struct cryptoki *m = cryptoki_load(module, &why);
	ck_ulong slots[16], n = 16;
	struct sealed s;
	ck_rv (*close_all)(ck_ulong);

	CHECK(t && m && read_key("aes32", key) == 32);
	if (!t || !m)
		return;
	*(void **)&close_all = m->f->close_all_sessions;
	CHECK(m->f->get_slot_list(CK_TRUE, slots, &n) == CKR_OK);
	for (ck_ulong i = 0; i < n; i++)
		close_all(slots[i]);
	unwrap_many(t, key, 32, 20);

	m->f->finalize(NULL);
	seal(&s, key, 32, 32);
	CHECK(token_unwrap(t, s.iv, s.wrapped, 32, s.tag, out, &why) == -1);
	CHECK_ERR(&why, ERR_NOKEY, "the token is gone (CKR_CRYPTOKI_NOT_INITIALIZED (0x190))");
	m->f->initialize(NULL); /* as if the token were there again */
	unwrap_many(t, key, 32, 20);
	cryptoki_unload(m);
	token_close(t);
}

static bool is_mapped(const char *path)
{
	char real[512], line[1024];
	bool found = false;
	FILE *f = fopen("/proc/self/maps", "re");

	if (!realpath(path, real))
		snprintf(real, sizeof real, "%s", path);
	while (f && fgets(line, sizeof line, f))
		found |= strstr(line, real) != NULL;
	if (f)
		fclose(f);
	return found;
}

static void loads_anew(void)
{
	uint8_t key[32];
	struct err why = { 0 };

	CHECK(read_key("aes32", key) == 32);
	for (unsigned int i = 0; i < 20; i++) {
		struct token *t = open_key("token=ct%20test;object=aes32", &why);

		CHECK(t && is_mapped(module));
		if (t)
			unwrap_many(t, key, 32, 4);
		token_close(t);
		CHECK(!is_mapped(module));
	}
}

/* --- the stand-in's bad days --- */

#define VARIABLE(type, name) (*(type *)dlsym(h, #name))

static void faults(void *h)
{
	static const char more[] = "token=ct%20test;object=aes32";
	uint8_t key[32], out[32];
	struct err why = { 0 };
	struct token *t;
	struct sealed s;

	CHECK(read_key("aes32", key) == 32);

	/* a token about to lock itself is not asked */
	VARIABLE(ck_ulong, p11_token_flags) = CKF_USER_PIN_FINAL_TRY;
	CHECK(!open_key(more, &why));
	CHECK_ERR(&why, ERR_NOKEY, "one more wrong PIN");
	VARIABLE(ck_ulong, p11_token_flags) = CKF_USER_PIN_LOCKED;
	CHECK(!open_key(more, &why));
	CHECK_ERR(&why, ERR_NOKEY, "is locked");
	CHECK(VARIABLE(unsigned int, p11_logins) == 0);
	VARIABLE(ck_ulong, p11_token_flags) = 0;

	VARIABLE(int, p11_no_gcm) = 1;
	CHECK(!open_key(more, &why));
	CHECK_ERR(&why, ERR_REJECTED, "AES-GCM");
	VARIABLE(int, p11_no_gcm) = 0;
	VARIABLE(int, p11_no_decrypt) = 1;
	CHECK(!open_key(more, &why));
	CHECK_ERR(&why, ERR_REJECTED, "CKA_DECRYPT");
	VARIABLE(int, p11_no_decrypt) = 0;

	t = open_key(more, &why);
	CHECK(t != NULL);
	if (!t) {
		fprintf(stderr, "%s\n", why.text);
		return;
	}
	/* unplugged and put back between two unwraps */
	VARIABLE(ck_ulong, p11_fail) = CKR_DEVICE_REMOVED;
	VARIABLE(unsigned int, p11_fail_for) = 1;
	unwrap_many(t, key, 32, 6);
	CHECK(VARIABLE(unsigned int, p11_fail_for) == 0);
	/* gone for good; one new session a call is enough */
	seal(&s, key, 32, 32);
	VARIABLE(unsigned int, p11_fail_for) = 100;
	CHECK(token_unwrap(t, s.iv, s.wrapped, 32, s.tag, out, &why) == -1);
	CHECK_ERR(&why, ERR_NOKEY, "CKR_DEVICE_REMOVED");
	CHECK(VARIABLE(unsigned int, p11_fail_for) == 98);
	VARIABLE(int, p11_unplugged) = 1;
	CHECK(token_unwrap(t, s.iv, s.wrapped, 32, s.tag, out, &why) == -1);
	CHECK_ERR(&why, ERR_NOKEY, "has no token");
	VARIABLE(unsigned int, p11_fail_for) = 0;
	CHECK(token_unwrap(t, s.iv, s.wrapped, 32, s.tag, out, &why) == -1);
	VARIABLE(int, p11_unplugged) = 0;
	unwrap_many(t, key, 32, 6);
	/* it refuses for a reason of its own */
	VARIABLE(ck_ulong, p11_fail) = 0x68;
	VARIABLE(unsigned int, p11_fail_for) = 1;
	CHECK(token_unwrap(t, s.iv, s.wrapped, 32, s.tag, out, &why) == -1);
	CHECK_ERR(&why, ERR_NOKEY, "CKR_KEY_FUNCTION_NOT_PERMITTED");
	/* a removal in the middle of a decryption is not a wrong key */
	VARIABLE(ck_ulong, p11_decrypt_says) = CKR_DEVICE_REMOVED;
	CHECK(token_unwrap(t, s.iv, s.wrapped, 32, s.tag, out, &why) == -1);
	CHECK(why.code == ERR_NOKEY);
	VARIABLE(ck_ulong, p11_decrypt_says) = 0;
	unwrap_many(t, key, 32, 6);
	token_close(t);

	/* who closes one key does not log the others out: each new login is a PIN that may be wrong by now */
	t = open_key(more, &why);
	token_close(open_key("token=ct%20test;object=aes16", &why));
	CHECK(t != NULL);
	if (!t)
		return;
	VARIABLE(unsigned int, p11_logins) = 0;
	unwrap_many(t, key, 32, 6);
	CHECK(VARIABLE(unsigned int, p11_logins) == 0);
	token_close(t);

	/* a PIN that the token does not take any more is tried once, and then never again */
	t = open_key(more, &why);
	CHECK(t != NULL);
	if (!t)
		return;
	VARIABLE(ck_ulong, p11_login_says) = CKR_PIN_INCORRECT;
	VARIABLE(ck_ulong, p11_fail) = CKR_SESSION_HANDLE_INVALID;
	VARIABLE(unsigned int, p11_fail_for) = 1;
	VARIABLE(unsigned int, p11_logins) = 0;
	CHECK(token_unwrap(t, s.iv, s.wrapped, 32, s.tag, out, &why) == -1);
	CHECK_ERR(&why, ERR_NOKEY, "CKR_PIN_INCORRECT");
	VARIABLE(ck_ulong, p11_login_says) = 0;
	for (unsigned int i = 0; i < 3; i++)
		CHECK(token_unwrap(t, s.iv, s.wrapped, 32, s.tag, out, &why) == -1);
	CHECK_ERR(&why, ERR_NOKEY, "not tried again");
	CHECK(VARIABLE(unsigned int, p11_logins) == 1);
	token_close(t);

	CHECK(VARIABLE(unsigned int, p11_initialized) > 5);
	CHECK(VARIABLE(unsigned int, p11_initialized) == VARIABLE(unsigned int, p11_finalized));
}

int main(int argc, char **argv)
{
	good_uri();
	bad_uris();
	if (argc == 5) {
		module = argv[2];
		pin_file = argv[3];
		folder = argv[4];
		if (strcmp(argv[1], "keys") == 0) {
			right_keys();
			wrong_ones();
			lost_sessions();
			loads_anew();
		} else {
			void *h = dlopen(module, RTLD_NOW | RTLD_LOCAL);

			CHECK(h != NULL);
			if (h)
				faults(h);
		}
	}
	return check_status("agent_token");
}
