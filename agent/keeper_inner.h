/*
 * keeper_inner: what the front (keeper.c) and the keeper (keeper_serve.c) say to each other, over a SOCK_SEQPACKET pair: a head and `count` elements. Both are
 * of one program, so structs travel as they are; they are zeroed before they are filled.
 *
 * Neither believes the other's numbers: keeper_fits() is asked of each message first. Who gets one that does not fit, or does not belong there, ends.
 * The keeper may wait in a send: the front takes in what comes whenever it waits, and itself never waits in a send.
 */
#ifndef CT_AGENT_KEEPER_INNER_H
#define CT_AGENT_KEEPER_INNER_H

#include "keeper.h"
#include "text.h"

enum keeper_what {
	/* to the keeper; each with a serial of the front's choice, not 0 */
	ASK_ADD,    /* number: bytes of a JWK set, to be read from the descriptor that comes along; answered by … KEYS, OFFER or REFUSAL, in its time */
	ASK_DROP,   /* of that serial nothing more is wanted */
	ASK_COMMIT, /* an OFFER's serial; set, expires */
	ASK_REMOVE, /* set; 0: all. Answered by REMOVED */
	ASK_UNWRAP, /* set, key, alg; struct keeper_wrapped. Answered by UNWRAPPED … FAILURE */

	/* from it, in answer to a serial; 0: about tokens, at the start */
	SAY_KEYS,    /* struct keeper_public, the next ones of the set that comes with OFFER */
	SAY_OFFER,   /* set: the number of the same one, or 0; at the start its own; number: of keys; flags; one struct keeper_label: a token's */
	SAY_REFUSAL, /* one struct err */
	SAY_READY,   /* one struct hardening */

	SAY_REMOVED,
	SAY_UNWRAPPED, /* bytes */
	SAY_WRONG,     /* number: which does not authenticate */
	SAY_UNFIT,
	SAY_GONE,
	SAY_FAILURE, /* one struct err */
	SAY_END
};

enum { KEEPER_LOCKED = 1, KEEPER_HIDDEN = 2 };

struct keeper_head {
	uint32_t what, count;
	uint64_t serial, set, number;
	int64_t expires;
	uint32_t key, alg, flags;
	uint32_t zero;
};

struct keeper_wrapped {
	uint8_t key[AEAD_KEY_MAX], iv[AEAD_IV_LEN], tag[AEAD_TAG_LEN];
};

struct keeper_public {
	uint8_t kind, has_kid, has_alg, alg;
	uint32_t kid_len;
	char kid[JWK_KID_MAX + 1];
	uint8_t x[SIGN_KEY_LEN];
};

struct keeper_label {
	char text[TEXT_MAX];
};

#define KEEPER_BODY_MAX (KEEPER_BATCH * sizeof(struct keeper_wrapped))
#define KEEPER_PUBLIC_MAX (KEEPER_BODY_MAX / sizeof(struct keeper_public)) /* in one message */

struct keeper_message {
	struct keeper_head head;
	uint8_t body[KEEPER_BODY_MAX];
};

/* len bytes came for *h: are they what it says, and no more than is allowed? */
bool keeper_fits(const struct keeper_head *h, size_t len);

/* Sends head and body, and fd unless it is -1. false: the other end is gone or (MSG_DONTWAIT in flags) there is no room. */
bool keeper_send(int sock, const struct keeper_head *h, const void *body, size_t len, int fd, int flags);

/* The other end of it: never returns. */
_Noreturn void keeper_serve(int sock, const struct tokens *tokens, bool background);

#endif
