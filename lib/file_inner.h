/*
 * file_inner: what file.c (opening, extents) and file_read.c (reading) share. Private to them.
 */
#ifndef CT_FILE_INNER_H
#define CT_FILE_INNER_H

#include "big.h"
#include "cache.h"
#include "digests.h"
#include "file.h"

#define FILE_PIECE FILE_SCRATCH     /* bytes decrypted at a time: stays in L2 */
#define FILE_KEEP_MAX FILE_UNIT_MAX /* a chunk up to this size is kept whole in the cache; above, see big.h */
#define FILE_TOOLS 8                /* idle ones kept */

/* What one thread opens chunks with. */
struct file_tools {
	struct aead *aead;  /* NULL before the keys are there */
	struct sha256 *sha; /* NULL where the file has no digests */
};

struct file {
	struct header h;
	struct crypto_info c;
	struct digests d;
	uint64_t size, head; /* bytes of the file, of prefix and header */
	char *view;          /* head bytes */
	struct secret *keys;
	bool has_big;
	struct cache cache;
	struct big big;
	struct file_tools origin; /* never used itself: cloned by who reads */
	struct lock lock;         /* over idle */
	struct file_tools idle[FILE_TOOLS];
	int idle_count;
	_Atomic uint64_t bytes, chunks, ns;
};

/* One chunk: what has a tag, a digest or both of its own. */
struct file_chunk {
	const struct crypto_entry *entry; /* NULL: plain */
	const uint8_t *key;               /* NULL: plain, or no keys yet */
	const uint8_t *digest;            /* NULL: none */
	uint32_t tensor;
	uint64_t number;
	uint64_t at, len; /* bytes of the file */
	uint8_t iv[AEAD_IV_LEN];
	bool readable; /* false: its counter overflows */
};

/* The chunk of tensor t that holds the file's byte `at`. A plain tensor without digests is one chunk. */
struct file_chunk file_chunk_at(const struct file *f, size_t t, uint64_t at);

/* Nothing vouches for the tensor's bytes: plain, and without digests. */
bool file_is_bare(const struct file *f, size_t t);

/* Data key of an entry; the keys are there. */
const uint8_t *file_key_of(const struct file *f, const struct crypto_entry *e);

void file_tools_free(struct file_tools *w);

#endif
