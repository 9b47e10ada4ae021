/*
 * big: random access to chunks that are too big to keep (v1 tensors, huge chunk sizes).
 *
 * An AEAD can only be checked as a whole. So the first access makes one verifying pass over the chunk and keeps, piece by
 * piece, a MAC of the *ciphertext* under a random key of this process; later accesses check a piece against its MAC and decrypt it by the
 * key stream alone. A byte that the pass did not see cannot pass for one that it saw.
 *
 * Concurrency: one thread makes the pass, others wait for it, but not for ever: who waited BIG_PATIENCE_MS, or interrupted (in a signal
 * handler) the very thread that makes it, makes a pass of its own. So handlers that wait for one another's threads cannot
 * stop each other. A fork child takes over from a thread that it does not have. No malloc: memory is mapped or OpenSSL's.
 */
#ifndef CT_BIG_H
#define CT_BIG_H

#include <stdint.h>

#include "aead.h"
#include "err.h"
#include "lock.h"
#include "secret.h"
#include "sha256.h"

#define BIG_PIECE 1048576u /* bytes: a multiple of 64, see aead_stream() */
#define BIG_PATIENCE_MS 3000

struct big_chunk; /* one chunk's state */

struct big {
	struct lock lock;
	struct big_chunk *buckets[256];
	struct secret *mac_key;
	struct aead *open, *mac, *stream; /* never used themselves: cloned by who reads */
	const struct sha256 *sha;         /* the same; the owner's; NULL where no chunk has a digest */
	_Atomic uint32_t changes; /* futex: some pass ended */
};

/* What a chunk is, for the calls below. Lives in the caller. */
struct big_ref {
	uint32_t tensor; /* number, for the MAC's nonce */
	uint64_t chunk;
	uint64_t at, len; /* bytes of the file */
	const uint8_t *key, *tag;
	const uint8_t *digest; /* of the ciphertext; NULL: none */
	uint8_t iv[AEAD_IV_LEN];
};

/* For chunks under that algorithm. sha outlives *b. -1: no memory or no randomness; *b is released. */
int big_init(struct big *b, enum aead_alg alg, const struct sha256 *sha);
void big_release(struct big *b);

/*
 * Decrypts piece number `piece` of the chunk into dst (min(BIG_PIECE, rest) bytes) after the pass, if it is still to be made. Returns 0, or
 * -1: ERR_DAMAGED (the caller puts a text), ERR_SYSTEM. dst holds nothing unverified afterwards. *passed is increased by the bytes
 * that a verifying pass decrypted.
 */
int big_piece(struct big *b, const struct big_ref *ref, int fd, uint64_t piece, uint8_t *dst, uint64_t *passed, struct err *err);

#endif
