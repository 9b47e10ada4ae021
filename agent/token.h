/*
 * token: a master key that lies in a PKCS#11 token, an AES key that never leaves it: data keys go in wrapped and come out in the clear.
 *
 * One thread. Nothing here waits but for the module, which may be a network's length away.
 */
#ifndef CT_AGENT_TOKEN_H
#define CT_AGENT_TOKEN_H

#include <stddef.h>
#include <stdint.h>

#include "aead.h"
#include "err.h"
#include "token_uri.h"

struct token; /* opaque */

/*
 * Loads the module, finds the one token and in it the one key that the URI fits, and logs in with the PIN in pin-source (a file for the agent's
 * user alone; a final newline does not count). A PIN is tried once, and not at all if the token says that it would be the last time. NULL with
 * *err: ERR_NOKEY (no such module, token or key, or several; a wrong PIN), ERR_REJECTED (a file that others could have written, a key that can
 * be read out of the token, or used without the PIN, or is not for AES-GCM), ERR_SYSTEM. The PIN is kept, as a secret, for token_unwrap().
 */
struct token *token_open(const struct token_uri *uri, struct err *err);
void token_close(struct token *t); /* NULL is allowed */

size_t token_key_len(const struct token *t);        /* 16 or 32 bytes */
const char *token_label(const struct token *t);     /* the token's own, escaped for eyes */
const char *token_key_label(const struct token *t, size_t *len); /* CKA_LABEL as it is; NULL: none */

/*
 * Unwraps wrapped[0 .. len), which is sealed by AES-GCM with an empty AAD, to out; len: 16 or 32 bytes. A session that was lost is opened anew,
 * once a call.
 * Errors: ERR_FORMAT (it does not authenticate: the text says what the token called it), ERR_NOKEY (the token is gone or refuses). out is
 * untouched then.
 */
int token_unwrap(struct token *t, const uint8_t iv[AEAD_IV_LEN], const uint8_t *wrapped, size_t len, const uint8_t tag[AEAD_TAG_LEN],
                 uint8_t *out, struct err *err);

#endif
