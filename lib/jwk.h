/*
 * jwk: sets of keys in JWK files, in the reference's spelling and in RFC 7517's.
 *
 * {"keys":[…]} or one JWK. kty "oct" (alg, kid, k: the master key, KEK) or "okp"/"OKP" (alg, kid, x, d?: Ed25519). Accepted
 * spellings: algorithms aes128gcm aes256gcm chacha20poly1305 ed25519 (any case, '-' ignored) and A128GCM A256GCM C20P EdDSA; key bytes
 * in padded base64 or unpadded base64url. alg "" or absent: the header's algorithm decides. x is required beside d and must be d's.
 */
#ifndef CT_JWK_H
#define CT_JWK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "aead.h"
#include "buf.h"
#include "err.h"
#include "header.h"
#include "secret.h"
#include "sign.h"

#define JWK_FILE_MAX 1048576u /* bytes of a key file */
#define JWK_KID_MAX 255u      /* bytes of a kid */
#define JWK_KEYS_MAX 1024u    /* keys of a set */

enum jwk_kind { JWK_OCT, JWK_OKP };

struct jwk {
	enum jwk_kind kind;
	bool has_kid;
	char kid[JWK_KID_MAX + 1];
	size_t kid_len;
	bool has_alg; /* oct only: false means: take the header's */
	enum aead_alg alg;
	struct secret *secret; /* oct: k (16 or 32 bytes), NULL where another process or a token has it; okp: d (32 bytes) or NULL */
	uint8_t x[SIGN_KEY_LEN];
};

struct jwk_set {
	struct jwk *keys; /* in the order of the file */
	size_t count;
};

/* Parses text[0 .. len), which the caller wipes. On failure (ERR_FORMAT with the key's place, ENOMEM) *set is empty. */
int jwk_set_parse(struct jwk_set *set, const char *text, size_t len, struct err *err);

/*
 * Reads a key file of at most JWK_FILE_MAX bytes. Refuses one that group or others can read or write (ERR_REJECTED, with the remedy); a set of
 * verification keys alone may be read.
 */
int jwk_set_read(struct jwk_set *set, const char *path, struct err *err);

/*
 * The two halves of it, for who looks at the text between them. *mode: the file's permissions, 0 if it is no regular file. jwk_file_read(): NULL on
 * failure, else the caller frees. jwk_file_exposed() says that others may use the file, and returns -1.
 */
struct secret *jwk_file_read(const char *path, mode_t *mode, struct err *err);
int jwk_file_parse(struct jwk_set *set, const char *path, const struct secret *text, mode_t mode, struct err *err);
int jwk_file_exposed(const char *path, mode_t mode, struct err *err);

void jwk_set_release(struct jwk_set *set);

enum jwk_spelling { JWK_REFERENCE, JWK_RFC7517 };

enum jwk_part {
	JWK_ALL,
	JWK_READER,   /* without d: decrypts, and is secret */
	JWK_VERIFIER, /* verification keys alone: public */
};

/* The set, or a part of it, as JSON text in locked memory. NULL: no memory. The caller frees. */
struct secret *jwk_set_write(const struct jwk_set *set, enum jwk_spelling spelling, enum jwk_part part);

/* The key of that kind a file asks for: by kid, or the first of the kind where the file names none. NULL: not there. */
const struct jwk *jwk_set_find(const struct jwk_set *set, enum jwk_kind kind, bool has_kid, struct str kid);

#endif
