/*
 * keystore: the agent's key sets. Offers verify and unwrap; key bytes never leave it, but for unwrapped data keys.
 *
 * Sets have numbers that are never used again. The times are clock_boot_ms()'s; the caller says `now`, and calls keystore_expire() before
 * it asks anything.
 */
#ifndef CT_AGENT_KEYSTORE_H
#define CT_AGENT_KEYSTORE_H

#include <stdint.h>

#include "buf.h"
#include "crypto_info.h"
#include "err.h"
#include "jwk.h"
#include "secret.h"
#include "token.h"

#define KEYSTORE_SETS_MAX 256

struct keystore; /* opaque */

struct keystore *keystore_new(void); /* NULL: no memory */
void keystore_free(struct keystore *ks);

struct keystore_added {
	uint64_t set;
	size_t keys;
};

/*
 * Adds the JWK set in text, without its private signing keys. lifetime_s 0: for ever. A set that is there already keeps its number and
 * gets the new lifetime. Errors: ERR_FORMAT; ERR_SYSTEM with ENOSPC (KEYSTORE_SETS_MAX) or ENOMEM.
 */
int keystore_add(struct keystore *ks, const struct secret *text, uint64_t lifetime_s, int64_t now, struct keystore_added *added,
                 struct err *err);

/*
 * Adds a set whose master key is the token's, under the id kid (NULL: none), and whose verification keys are those of *verify. On success it
 * owns both, and *verify is empty. Errors: ERR_SYSTEM as above.
 */
int keystore_add_token(struct keystore *ks, struct token *t, const char *kid, size_t kid_len, struct jwk_set *verify,
                       struct keystore_added *added, struct err *err);

size_t keystore_remove(struct keystore *ks, uint64_t set); /* 1, or 0: no such set */
size_t keystore_remove_all(struct keystore *ks);           /* how many there were */

/* Removes what has expired. Returns the time of the next expiry, or -1. */
int64_t keystore_expire(struct keystore *ks, int64_t now);

size_t keystore_count(const struct keystore *ks);
bool keystore_in_locked_memory(const struct keystore *ks);

bool keystore_has(const struct keystore *ks, uint64_t set);

/* The set is there and has that verification key. */
bool keystore_has_signer(const struct keystore *ks, uint64_t set, const uint8_t x[SIGN_KEY_LEN]);

/* Appends the text of the protocol's `list`. */
void keystore_list(const struct keystore *ks, int64_t now, struct buf *out);

/* As unlock_verify(), over the sets with greater numbers than `after` (0: over all); stores the set's number. */
int keystore_verify(const struct keystore *ks, uint64_t after, const struct header *h, const struct crypto_info *c, uint64_t *set,
                    struct err *err);

/* The set is there and has a key whose id the glob (fnmatch) fits. */
bool keystore_has_kid(const struct keystore *ks, uint64_t set, const char *glob);

/*
 * The data keys, with a set that keystore_verify() found. NULL with *err: ERR_FORMAT if its master key does not fit, ERR_REJECTED if that lies
 * in a token that does not know the file's algorithm, ERR_NOKEY if the set or the token has gone since; a later set may fit in each case. The
 * caller frees.
 */
struct secret *keystore_unwrap(const struct keystore *ks, uint64_t set, const struct crypto_info *c, struct err *err);

#endif
