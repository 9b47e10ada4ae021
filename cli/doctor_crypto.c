/* Which OpenSSL is in, and what it costs. */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aead.h"
#include "cli.h"
#include "doctor.h"
#include "text.h"

#define PIECE ((size_t)256 << 10) /* stays in L2, as the shim's pieces do */
#define MEASURE_NS 30000000
#define VAES_SINCE 0x30100000L /* OpenSSL 3.1: AES-GCM with VAES and AVX-512 */

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* GB/s of AES-256-GCM with the libcrypto in ct, the best of several tries; 0: cannot be said. */
static double measure(void)
{
	static const uint8_t key[AEAD_KEY_MAX], iv[AEAD_IV_LEN];
	uint8_t tag[AEAD_TAG_LEN], *piece = calloc(1, PIECE);
	struct aead *a = aead_new(AEAD_AES256GCM);
	int64_t end = now_ns() + MEASURE_NS, least = 0;

	while (piece && a && now_ns() < end) {
		int64_t start = now_ns();
		if (!aead_seal(a, key, iv, piece, piece, PIECE, tag))
			break;
		int64_t took = now_ns() - start;
		least = least == 0 || took < least ? took : least;
	}
	aead_free(a);
	free(piece);
	return least > 0 ? (double)PIECE / (double)least : 0;
}

static bool has_vaes(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512vl");
#else
	return false;
#endif
}

bool doctor_openssl(struct doctor *d, struct finding *f)
{
	const char *v = d->report.openssl;
	double speed;

	if (!v[0])
		return false;
	const char *shown = TEXT(v, strlen(v));
	/* The shim's copy is another than ct's, but of the same version it is as fast. */
	if (strcmp(v, OpenSSL_version(OPENSSL_VERSION)) != 0 || (speed = measure()) == 0)
		return doctor_say(f, DOCTOR_OK, "inside the shim: %s", shown);
	if (!has_vaes() || OpenSSL_version_num() >= (unsigned long)VAES_SINCE)
		return doctor_say(f, DOCTOR_OK, "inside the shim: %s; AES-256-GCM: %.1f GB/s a core", shown, speed);
	doctor_say(f, DOCTOR_WARN, "inside the shim: %s; AES-256-GCM: %.1f GB/s a core, where OpenSSL 3.5 does 2 to 3 times that on a processor like this",
	           shown, speed);
	return doctor_remedy(f, "build with it: scripts/openssl, then make and make install");
}
