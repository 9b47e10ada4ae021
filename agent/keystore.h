/*
 * keystore: the agent's key sets, as the process that serves has them: ids, algorithms, verification keys. Master keys are the keeper's (keeper.h), whom it
 * starts, and asks to unwrap.
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
#include "harden.h"
#include "keeper.h"
#include "secret.h"

#define KEYSTORE_SETS_MAX KEEPER_SETS_MAX

struct keystore; /* opaque */

/*
 * Starts the keeper, before a socket or a peer is there, with a set for each token. background: keeper_start(). *h: how that has hardened itself. NULL with *err:
 * ERR_SYSTEM, or a token's error, which names the line of the configuration.
 */
struct keystore *keystore_start(const struct tokens *tokens, bool background, struct hardening *h, struct err *err);
void keystore_free(struct keystore *ks); /* ends it; NULL is allowed */

int keystore_fd(const struct keystore *ks);             /* readable: keystore_events() is to be called */
int keystore_events(struct keystore *ks, struct err *err); /* -1: the keeper has ended, and the keys are gone */
pid_t keystore_keeper(const struct keystore *ks);

struct keystore_added {
	uint64_t set;
	size_t keys;
};

/*
 * Adds the JWK set of len bytes that fd, a socket, is about to give, without its private signing keys: begins, and returns a place; -1: none is free, ask later; -2 with
 * *err. Until keystore_added() has its result or keystore_give_up() is called nobody else reads from fd.
 */
int keystore_add(struct keystore *ks, int fd, size_t len, struct err *err);

/*
 * 1: it is added. lifetime_s 0: for ever. A set that is there already keeps its number and gets the new lifetime. 0: not yet; -1, and nothing has changed:
 * ERR_FORMAT; ERR_REJECTED: it is without the verification key `signer` (NULL: any will do); ERR_SYSTEM with ENOSPC (KEYSTORE_SETS_MAX), ENOMEM, or how the
 * reading failed.
 */
int keystore_added(struct keystore *ks, int place, uint64_t lifetime_s, int64_t now, const uint8_t *signer, struct keystore_added *added, struct err *err);
void keystore_give_up(struct keystore *ks, int place); /* nothing is added */

size_t keystore_remove(struct keystore *ks, uint64_t set); /* 1, or 0: no such set */
size_t keystore_remove_all(struct keystore *ks);           /* how many there were */

/* Removes what has expired. Returns the time of the next expiry, or -1. */
int64_t keystore_expire(struct keystore *ks, int64_t now);

size_t keystore_count(const struct keystore *ks);
bool keystore_in_locked_memory(const struct keystore *ks); /* every master key */
bool keystore_in_hidden_memory(const struct keystore *ks); /* secret.h */

bool keystore_has(const struct keystore *ks, uint64_t set);

/* The set is there and has that verification key. */
bool keystore_has_signer(const struct keystore *ks, uint64_t set, const uint8_t x[SIGN_KEY_LEN]);

/* Appends the text of the protocol's `list`. more: appends what else there is to say of a set, each member with a comma before it. */
void keystore_list(const struct keystore *ks, int64_t now, void (*more)(void *arg, uint64_t set, struct buf *out), void *arg, struct buf *out);

/* As unlock_verify(), over the sets with greater numbers than `after` (0: over all); stores the set's number. */
int keystore_verify(const struct keystore *ks, uint64_t after, const struct header *h, const struct crypto_info *c, uint64_t *set,
                    struct err *err);

/* The set is there and has a key whose id the glob (fnmatch) fits. */
bool keystore_has_kid(const struct keystore *ks, uint64_t set, const char *glob);

/*
 * The data keys, with a set that keystore_verify() found. NULL with *err: ERR_FORMAT if its master key does not fit, ERR_REJECTED if that lies
 * in a token that does not know the file's algorithm, ERR_NOKEY if the set, the token or the keeper has gone since; a later set may fit in each case. The
 * caller frees. Waits for the keeper, at most KEEPER_WAIT_MS.
 */
struct secret *keystore_unwrap(struct keystore *ks, uint64_t set, const struct crypto_info *c, struct err *err);

#endif
