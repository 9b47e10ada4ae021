/*
 * crypto_info: the four crypto keys of a header's __metadata__, parsed strictly.
 *
 * __crypto_keys__, __encryption__, __policy__, __signature__ (docs/FORMAT.md). One of them without the others is malformed; so
 * is everything the format facts mark "ours" (duplicate names, key material in a header, tags that are not exactly 16 bytes a
 * chunk, wrong lengths of IVs …). Nothing here is verified yet: the strings are a stranger's.
 *
 * Owns its memory until crypto_info_release(); points into the struct header for nothing. Read-only after the parse: any number of
 * threads.
 */
#ifndef CT_CRYPTO_INFO_H
#define CT_CRYPTO_INFO_H

#include <stdbool.h>
#include <stdint.h>

#include "aead.h"
#include "header.h"
#include "sign.h"

#define CRYPTO_ABSENT UINT32_MAX /* an entry for a tensor that the file does not have */

struct crypto_key_ref {
	bool has_kid;
	struct str kid; /* unescaped; as the file says, never trusted */
	bool has_jku;
	struct str jku; /* shown by inspect, never followed */
};

/* One entry of __encryption__. */
struct crypto_entry {
	struct str name;
	uint32_t tensor; /* index into header.tensors, or CRYPTO_ABSENT */
	uint8_t wrapped_key[AEAD_KEY_MAX]; /* aead_key_len(alg) bytes */
	uint8_t key_iv[AEAD_IV_LEN];
	uint8_t key_tag[AEAD_TAG_LEN];
	uint8_t iv[AEAD_IV_LEN]; /* base_iv where chunked, iv otherwise (zero for an empty v1 tensor) */
	const uint8_t *tags;     /* tag_count × 16 bytes */
	uint64_t tag_count;      /* chunks of the tensor; 0 for an empty v1 tensor: nothing to authenticate */
};

struct crypto_info {
	int version;         /* 1 or 2 */
	uint64_t chunk_size; /* bytes; 0: not chunked */
	enum aead_alg alg;
	struct crypto_key_ref enc, sign;
	struct str local, remote; /* the two policies */
	uint8_t signature[SIGN_LEN];
	size_t count;
	struct crypto_entry *entries; /* in byte order of the names: the order of the data keys on the wire */
	uint32_t *by_tensor; /* header.count of them: index into entries, or CRYPTO_ABSENT for a plain tensor */
	char *strings;
	uint8_t *tags;
};

/* 1: encrypted (all four keys there), 0: none of them, -1: some but not all (ERR_FORMAT). */
int crypto_info_present(const struct header *h, struct err *err);

/* Parses the four keys. On failure (ERR_PLAIN: none of them is there; ERR_FORMAT, ENOMEM) *c is released. */
int crypto_info_parse(struct crypto_info *c, const struct header *h, struct err *err);
void crypto_info_release(struct crypto_info *c);

/* True for the four alone. */
bool crypto_info_is_key(struct str metadata_key);

/*
 * True for metadata keys that are not the user's: the four, and our own "__digests__" and "__licence__". The view leaves them out,
 * the writer refuses them in its input.
 */
bool crypto_info_is_reserved(struct str metadata_key);

#endif
