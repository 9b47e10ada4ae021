/* secret, sign, policy, wire: the small modules between keys and the agent's socket. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "policy.h"
#include "secret.h"
#include "sign.h"
#include "wire.h"

/* The pages of a freed secret are gone: touching them ends the child by SIGSEGV (ASan: by its own report). */
static void freed_is_gone(void)
{
	struct secret *s = secret_new(64);
	const volatile uint8_t *p = s->data;
	int status = 0;
	pid_t pid;

	secret_free(s);
	pid = fork();
	if (pid == 0) {
		if (!freopen("/dev/null", "w", stderr))
			_exit(0);
		_exit(p[0] == 0 ? 0 : 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status != 0);
}

/* What /proc/self/smaps says of the mapping that p lies in: "dd": left out of core dumps. */
static bool left_out_of_dumps(const void *p)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	bool inside = false, found = false;

	while (f && fgets(line, sizeof line, f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (unsigned long)p >= from && (unsigned long)p < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, " dd") != NULL;
	}
	if (f)
		fclose(f);
	return found;
}

static void secrets(void)
{
	struct secret *a = secret_new(100), *b = secret_copy("0123456789", 10), *c = secret_copy("0123456780", 10), *none = secret_new(0);
	uint8_t plain[4] = { 1, 2, 3, 4 };

	CHECK(a && b && c && none && none->len == 0);
	for (size_t i = 0; i < a->len; i++)
		CHECK(a->data[i] == 0);
	CHECK(left_out_of_dumps(a->data));
	CHECK(secret_equal(b, b) && !secret_equal(b, c) && !secret_equal(a, b) && secret_equal(none, none));
	CHECK(!secret_new(SIZE_MAX) && !secret_new(SIZE_MAX - 64));
	secret_wipe(plain, sizeof plain);
	CHECK(!plain[0] && !plain[3]);
	errno = 77;
	secret_free(a);
	secret_free(b);
	secret_free(c);
	secret_free(none);
	secret_free(NULL);
	CHECK(errno == 77);
	freed_is_gone();
}

/* RFC 8032, section 7.1, test 3. */
static void signatures(void)
{
	static const uint8_t d[32] = { 0xc5, 0xaa, 0x8d, 0xf4, 0x3f, 0x9f, 0x83, 0x7b, 0xed, 0xb7, 0x44, 0x2f, 0x31, 0xdc, 0xb7, 0xb1,
		                       0x66, 0xd3, 0x85, 0x35, 0x07, 0x6f, 0x09, 0x4b, 0x85, 0xce, 0x3a, 0x2e, 0x0b, 0x44, 0x58, 0xf7 };
	static const uint8_t x[32] = { 0xfc, 0x51, 0xcd, 0x8e, 0x62, 0x18, 0xa1, 0xa3, 0x8d, 0xa4, 0x7e, 0xd0, 0x02, 0x30, 0xf0, 0x58,
		                       0x08, 0x16, 0xed, 0x13, 0xba, 0x33, 0x03, 0xac, 0x5d, 0xeb, 0x91, 0x15, 0x48, 0x90, 0x80, 0x25 };
	static const uint8_t want[64] = { 0x62, 0x91, 0xd6, 0x57, 0xde, 0xec, 0x24, 0x02, 0x48, 0x27, 0xe6, 0x9c, 0x3a, 0xbe, 0x01, 0xa3,
		                          0x0c, 0xe5, 0x48, 0xa2, 0x84, 0x74, 0x3a, 0x44, 0x5e, 0x36, 0x80, 0xd7, 0xdb, 0x5a, 0xc3, 0xac,
		                          0x18, 0xff, 0x9b, 0x53, 0x8d, 0x16, 0xf2, 0x90, 0xae, 0x67, 0xf7, 0x60, 0x98, 0x4d, 0xc6, 0x59,
		                          0x4a, 0x7c, 0x15, 0xe9, 0x71, 0x6e, 0xd2, 0x8d, 0xc0, 0x27, 0xbe, 0xce, 0xea, 0x1e, 0xc4, 0x0a };
	uint8_t msg[2] = { 0xaf, 0x82 }, sig[64], got[32];

	CHECK(sign_public(d, got) && memcmp(got, x, 32) == 0);
	CHECK(sign_make(d, msg, 2, sig) && memcmp(sig, want, 64) == 0);
	CHECK(sign_verify(x, msg, 2, sig) && !sign_verify(x, msg, 1, sig) && !sign_verify(d, msg, 2, sig));
	for (size_t i = 0; i < 64; i += 7) {
		sig[i] ^= 1;
		CHECK(!sign_verify(x, msg, 2, sig));
		sig[i] ^= 1;
	}
	CHECK(sign_alg_known("ed25519", 7) && sign_alg_known("Ed25519", 7));
	CHECK(!sign_alg_known("Ed-25519", 8) && !sign_alg_known("ed25519-", 8) && !sign_alg_known("ed\x12" "5519", 7));
	CHECK(!sign_alg_known("ed2551", 6) && !sign_alg_known("ed255199", 8) && !sign_alg_known("EdDSA", 5) && !sign_alg_known("", 0));
}

static bool is_default(const char *text, size_t len)
{
	return policy_is_default((struct str){ text, len });
}

static void policies(void)
{
#define IS(text) is_default(text, sizeof text - 1)
	CHECK(IS(POLICY_DEFAULT) && IS("\n\t " POLICY_DEFAULT "\r\n  "));
	CHECK(!IS("") && !IS("  ") && !IS("package model\nallow = false") && !IS("package model\n\nallow = true"));
	CHECK(!IS(POLICY_DEFAULT "\0") && !IS(POLICY_DEFAULT "\nallow = false") && !IS("package model\nallow = tru"));
	CHECK(!IS("\v" POLICY_DEFAULT) && !IS("\xc2\xa0" POLICY_DEFAULT));
#undef IS
}

static void frames(void)
{
	static const uint8_t bytes[8] = { 0x13, 0, 0, 0, 0x04, 0x03, 0x02, 0x01 };
	uint8_t out[8];
	struct wire_head h;
	struct err err;
	enum wire_disposition d;

	CHECK(wire_head_get(&h, bytes, &err) == 0 && h.json_len == 19 && h.blob_len == 0x01020304);
	wire_head_put(out, 19, 0x01020304);
	CHECK(memcmp(out, bytes, 8) == 0);
	wire_head_put(out, WIRE_JSON_MAX, WIRE_BLOB_MAX);
	CHECK(wire_head_get(&h, out, &err) == 0);
	wire_head_put(out, WIRE_JSON_MAX + 1, 0);
	CHECK(wire_head_get(&h, out, &err) == -1);
	wire_head_put(out, 0, 0);
	CHECK(wire_head_get(&h, out, &err) == -1);
	wire_head_put(out, 1, WIRE_BLOB_MAX + 1);
	CHECK(wire_head_get(&h, out, &err) == -1);
	for (unsigned int i = WIRE_SERVE; i <= WIRE_REFUSE; i++)
		CHECK(wire_disposition_parse(wire_disposition_name((enum wire_disposition)i), &d) == 0 && d == (enum wire_disposition)i);
	CHECK(wire_disposition_parse("Serve", &d) == -1 && wire_disposition_parse("", &d) == -1);
}

int main(void)
{
	secrets();
	signatures();
	policies();
	frames();
	return check_status("test_keys");
}
