/*
 * digests: the metadata entry __digests__: signed SHA-256 digests of the bytes as they stand in the file (docs/FORMAT.md).
 *
 * Of a plain tensor, piece by piece (chunk_size bytes); of an encrypted one, chunk by chunk of its encryption, over the ciphertext. So nobody
 * without the signing key can put other bytes into a plain tensor, or, with the data keys, into an encrypted one. Verified by whoever
 * verified the header's signature. Read-only after the parse: any number of threads.
 */
#ifndef CT_DIGESTS_H
#define CT_DIGESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "crypto_info.h"
#include "header.h"
#include "sha256.h"

#define DIGESTS_CHUNK_MIN 4096u    /* what we write */
#define DIGESTS_CHUNK_MAX 4194304u /* what a file may say: such a piece is read whole to get at one byte */

struct digests_of {
	const uint8_t *bytes; /* count × SHA256_LEN; NULL: the tensor is not listed */
	uint64_t count;       /* 0 for an empty tensor */
};

struct digests {
	bool present;
	uint64_t chunk_size;          /* bytes of a plain tensor under one digest, 1 … DIGESTS_CHUNK_MAX */
	struct digests_of *by_tensor; /* header.count of them; NULL where not present */
	uint8_t *bytes;
};

/* How many digests a tensor of `len` bytes in pieces of `step` (0: a single one) has. */
uint64_t digests_count(uint64_t len, uint64_t step);

/* Takes apart the header's entry, if there is one. On failure (ERR_FORMAT, ENOMEM) *d is released. */
int digests_parse(struct digests *d, const struct header *h, const struct crypto_info *c, struct err *err);
void digests_release(struct digests *d);

/* Every tensor is listed: signature and digests vouch for all bytes, without any data key. */
bool digests_cover_all(const struct digests *d, const struct header *h);

/* Appends the entry's value as we write it. */
void digests_put(struct buf *b, const struct header *h, const struct digests *d);

#endif
