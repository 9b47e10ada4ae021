/*
 * unlock: from key sets and a header to data keys; used by ct-agent's keystore and by ct with --keys.
 *
 * A data key is unwrapped with a KEK only if the signature verified against a signing key of the *same* set; else whoever may add
 * a key could re-sign another publisher's header under a softer policy. kids are looked up inside a set; where several sets
 * have them, every set is tried. Thread safe for sets that nobody changes.
 */
#ifndef CT_UNLOCK_H
#define CT_UNLOCK_H

#include "crypto_info.h"
#include "jwk.h"

/*
 * Bytes that the signature checks of one call may go over: a header without kids fits every set, each try is a pass over all of it, and
 * who asks may be a stranger with a forged one.
 */
#define UNLOCK_HASH_MAX (UINT64_C(1) << 30)

/*
 * Finds the set that has both keys and whose signing key made the signature: stores its index in *which, returns 0. Else -1:
 * ERR_NOKEY (no set has the keys, or UNLOCK_HASH_MAX was reached), ERR_FORMAT (the signature is wrong), ERR_REJECTED (it verifies, but only with a set that lacks the
 * KEK, while another set has that).
 */
int unlock_verify(const struct jwk_set *sets, size_t nsets, const struct header *h, const struct crypto_info *c, size_t *which,
                  struct err *err);

/* The set's verification key made the signature, whether or not it has the master key too. -1: ERR_NOKEY, ERR_FORMAT, ENOMEM. */
int unlock_signed(const struct jwk_set *set, const struct header *h, const struct crypto_info *c, struct err *err);

/*
 * All data keys, in the order of c->entries, aead_key_len(c->alg) bytes each. NULL with ERR_FORMAT (which entry) or ENOMEM.
 * The caller frees. Call it only for a set that unlock_verify() found.
 */
struct secret *unlock_keys(const struct jwk_set *set, const struct crypto_info *c, struct err *err);

/*
 * The same by a master key that is not in the set but lies elsewhere (the set has its name alone, jwk.h). `all` unwraps c->entries to out, len bytes each:
 * 0, or -1 with *err, which is reported as it is. The lines for an entry that does not authenticate, and for a key of another algorithm or length than
 * the file's, are unlock_wrong()'s and unlock_unfit()'s: both ERR_FORMAT, and return -1.
 */
typedef int unlock_all(void *kek, const struct crypto_info *c, uint8_t *out, size_t len, struct err *err);
struct secret *unlock_keys_by(unlock_all *all, void *kek, const struct crypto_info *c, struct err *err);
int unlock_wrong(const struct crypto_info *c, const struct crypto_entry *e, struct err *err);
int unlock_unfit(const struct crypto_info *c, struct err *err);

#endif
