#include "passphrase.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

static bool digest(const struct passphrase *p, const struct secret *text, uint8_t out[32])
{
	return EVP_PBE_scrypt((const char *)text->data, text->len, p->salt, sizeof p->salt, 16384, 8, 1, 64u << 20, out, 32) == 1;
}

bool passphrase_remember(struct passphrase *p, const struct secret *text)
{
	struct passphrase made = { .set = true };

	if (RAND_bytes(made.salt, sizeof made.salt) != 1 || !digest(&made, text, made.digest))
		return false;
	*p = made;
	return true;
}

bool passphrase_is(const struct passphrase *p, const struct secret *text)
{
	uint8_t out[32];

	return p->set && digest(p, text, out) && CRYPTO_memcmp(out, p->digest, sizeof out) == 0;
}

void passphrase_clear(struct passphrase *p)
{
	secret_wipe(p, sizeof *p);
}
