/*
 * aead: the three ciphers of the format through OpenSSL's EVP; empty AAD, 12-byte nonce, detached 16-byte tag.
 *
 * A struct aead is a reusable context (re-keyed, not made anew): one thread at a time. Names of algorithms: '-' deleted,
 * lower-cased (docs/FORMAT.md); key files may also use RFC 7518's (jwk.h).
 */
#ifndef CT_AEAD_H
#define CT_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEAD_IV_LEN 12
#define AEAD_TAG_LEN 16
#define AEAD_KEY_MAX 32

enum aead_alg { AEAD_AES128GCM, AEAD_AES256GCM, AEAD_CHACHA20POLY1305, AEAD_ALGS };

bool aead_alg_parse(const char *name, size_t len, enum aead_alg *alg);
const char *aead_alg_name(enum aead_alg alg); /* "aes256gcm" */
size_t aead_key_len(enum aead_alg alg);       /* bytes */

struct aead; /* opaque */

struct aead *aead_new(enum aead_alg alg); /* NULL: OpenSSL refuses or no memory */
void aead_free(struct aead *a);           /* wipes the key schedule; NULL is allowed */

/*
 * Another context for a's algorithm. Unlike aead_new() it looks nothing up (no lock of OpenSSL's) and takes its memory from OpenSSL's
 * allocator alone: signal safe where that is. a may be in use by another thread.
 */
struct aead *aead_clone(const struct aead *a);

/* Overwrites the key schedule: what an idle context holds is worth nothing. */
void aead_forget(struct aead *a);

/*
 * A message in pieces: begin, any number of updates (in may be out), then one finish. Returns false only if OpenSSL fails or,
 * from aead_open_finish(), if the tag is wrong: then nothing that update wrote may be used.
 */
bool aead_seal_begin(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN]);
bool aead_open_begin(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN]);
bool aead_update(struct aead *a, const void *in, void *out, size_t len);
bool aead_seal_finish(struct aead *a, uint8_t tag[AEAD_TAG_LEN]);
bool aead_open_finish(struct aead *a, const uint8_t tag[AEAD_TAG_LEN]);

/* Whole short messages (wrapped keys). in may be out. A wrong tag wipes out[0 .. len). */
bool aead_seal(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN], const void *in, void *out, size_t len,
               uint8_t tag[AEAD_TAG_LEN]);
bool aead_open(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN], const void *in, void *out, size_t len,
               const uint8_t tag[AEAD_TAG_LEN]);

/* A tag over data alone (GMAC; a needs a GCM algorithm): each nonce for one message only. */
bool aead_mac(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN], const void *data, size_t len,
              uint8_t tag[AEAD_TAG_LEN]);

/*
 * The key stream alone, from byte `at` of the message (a multiple of 64): for ciphertext whose integrity was proved in another
 * way (big.h), never for anything else. a comes from aead_stream_new() or a clone of that and serves nothing else. in may be out.
 */
struct aead *aead_stream_new(enum aead_alg alg);
bool aead_stream(struct aead *a, const uint8_t *key, const uint8_t iv[AEAD_IV_LEN], uint64_t at, const void *in, void *out,
                 size_t len);

#endif
