/*
 * licence: who may open which models until when, signed by their publisher, with the key that opens them inside for one customer (docs/LICENCES.md).
 *
 * A licence is a JWS (jws.h) of typ LICENCE_TYP. Its payload, one JSON object:
 *
 *     v 1 · id · issued, until (seconds since 1970) · grace (days) · name · to (the customer's public key) · machines, users (any of them; not there: all) ·
 *     what (names of files, for people) · keys (JWE for `to` of a JWK set: the master key "licence-ID" and the publisher's verification key)
 *
 * A member that is not known here may be a condition, so it is refused. Nothing here looks at a clock, or decides who is to be believed. Thread safe.
 */
#ifndef CT_LICENCE_H
#define CT_LICENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "buf.h"
#include "eckey.h"
#include "err.h"
#include "header.h"
#include "jwk.h"
#include "secret.h"
#include "sign.h"

#define LICENCE_TYP "ct-licence"
#define LICENCE_LIST_TYP "ct-licence-revoked"
#define LICENCE_TEXT_MAX 32768u /* bytes of a licence file: it goes to the agent in a request */
#define LICENCE_ID_MAX 64u
#define LICENCE_NAME_MAX 255u
#define LICENCE_MACHINES_MAX 16u
#define LICENCE_USERS_MAX 64u
#define LICENCE_WHAT_MAX 32u
#define LICENCE_GRACE_MAX 36500u           /* days */
#define LICENCE_TIME_MAX INT64_C(253402300799) /* the last second of the year 9999 */
#define LICENCE_DAY 86400
#define LICENCE_KID "licence-" /* and the id: how the master key of a licence is called */
#define LICENCE_META "__licence__" /* the signed entry of a model's header: the id */
#define LICENCE_MACHINE_LEN 32u

struct licence {
	char id[LICENCE_ID_MAX + 1];
	int64_t issued, until; /* seconds since 1970; until: the first at which it is over, without grace */
	unsigned int grace;    /* days */
	char name[LICENCE_NAME_MAX + 1]; /* the customer, for people: a stranger's text, without NUL */
	struct eckey to;
	char to_kid[ECKEY_THUMB_TEXT];
	uint8_t to_thumb[ECKEY_THUMB_LEN]; /* the same in bytes; of a licence that was read */
	size_t machine_count, user_count, what_count;
	char machines[LICENCE_MACHINES_MAX][LICENCE_MACHINE_LEN + 1];
	uid_t users[LICENCE_USERS_MAX];
	char what[LICENCE_WHAT_MAX][LICENCE_NAME_MAX + 1]; /* without NUL; a stranger's */
	struct buf keys;         /* the JWE */
	uint8_t x[SIGN_KEY_LEN]; /* who signed it; licence_make() does not look at it */
};

/* Letters, digits, '.', '_', '-', the first one a letter or digit; 1 … LICENCE_ID_MAX. */
bool licence_id_good(const char *id, size_t len);

/* What /etc/machine-id has: 32 digits of 0-9a-f, not all zero. */
bool licence_machine_good(const char *id, size_t len);

/* Reads a licence and checks its signature, by the key that it names itself: compare l->x. On failure (ERR_FORMAT, ENOMEM) *l holds nothing. */
int licence_read(struct licence *l, const char *text, size_t len, struct err *err);
void licence_release(struct licence *l);

/* Appends the licence as text, signed. -1: EFBIG (more than LICENCE_TEXT_MAX), ENOMEM, EIO. */
int licence_make(struct buf *out, const struct licence *l, const struct jwk *signer, struct err *err);

/* The first second at which nothing opens any more. */
int64_t licence_end(const struct licence *l);

/*
 * The master key of a licence, as long as the publisher's: HKDF-SHA256 of that over "ct licence 1", id and the customer's key. So a renewal has the same one
 * and the publisher keeps no list; who has his master key has them all. NULL: OpenSSL refuses, or no memory. The caller frees.
 */
struct secret *licence_kek(const struct secret *master, const char *id, const char to_kid[ECKEY_THUMB_TEXT]);

/*
 * Fills l->keys. master, signer: the publisher's. signer's public half goes along.
 */
int licence_seal(struct licence *l, const struct jwk *master, const struct jwk *signer, struct err *err);

/*
 * The set in it, for the holder of the customer's private key. Checked: it has the licence's master key, the key that signed the licence, and nothing else.
 * -1: ERR_REJECTED (for another key), ERR_FORMAT, ENOMEM.
 */
int licence_open(const struct licence *l, const struct eckey *customer, struct jwk_set *set, struct err *err);

/* ---- revoked licences: a JWS of typ LICENCE_LIST_TYP over {"v":1,"issued":…,"seq":…,"ids":[…]}, of at most JWS_TEXT_MAX bytes ---- */

#define LICENCE_LIST_MAX 10000u

struct licence_list {
	int64_t issued;
	uint64_t seq; /* a newer list has a greater one; at least 1 */
	size_t count;
	char (*ids)[LICENCE_ID_MAX + 1]; /* malloc'ed */
	uint8_t x[SIGN_KEY_LEN];
};

int licence_list_read(struct licence_list *l, const char *text, size_t len, struct err *err); /* as licence_read() */
void licence_list_release(struct licence_list *l);
int licence_list_add(struct licence_list *l, const char *id, struct err *err); /* 1: added, 0: there already; -1: E2BIG, ENOMEM */
bool licence_list_has(const struct licence_list *l, const char *id);
int licence_list_make(struct buf *out, const struct licence_list *l, const struct jwk *signer, struct err *err);

#endif
