/*
 * passphrase: remembers a passphrase as a salted scrypt digest and recognises it again. Plain value, no release needed; wiped by
 * passphrase_clear().
 */
#ifndef CT_AGENT_PASSPHRASE_H
#define CT_AGENT_PASSPHRASE_H

#include <stdbool.h>
#include <stdint.h>

#include "secret.h"

#define PASSPHRASE_MAX 1024u /* bytes */

struct passphrase {
	bool set;
	uint8_t salt[16], digest[32];
};

/* false: OpenSSL refuses; *p is unchanged then. Takes about 50 ms and 16 MiB, as passphrase_is() does. */
bool passphrase_remember(struct passphrase *p, const struct secret *text);
bool passphrase_is(const struct passphrase *p, const struct secret *text);
void passphrase_clear(struct passphrase *p);

#endif
