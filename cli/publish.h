/*
 * publish: what ct encrypt and ct rewrap share, as both write files for others to open: the keys out of a set, the text of a policy.
 */
#ifndef CT_PUBLISH_H
#define CT_PUBLISH_H

#include "jwk.h"

#define PUBLISH_POLICY_MAX 1048576u /* bytes */

/*
 * The set's first master key and its first signing key with d. -1: ERR_NOKEY where it lacks one, EINVAL where readers, who look for a key by its kid
 * or take the first of its kind, would find another.
 */
int publish_keys(const struct jwk_set *set, const struct jwk **kek, const struct jwk **signer, struct err *err);

/* -1 (EINVAL): the master key is not one for that algorithm. */
int publish_key_fits(const struct jwk *kek, enum aead_alg alg, struct err *err);

/* Reads a policy's text into malloc'ed memory, which the caller frees. -1: no file, too long, no text. */
int publish_policy(const char *path, struct str *text, struct err *err);

#endif
