/*
 * keeper: the process that holds the master keys, as the process that serves (the front) sees it: a place that unwraps data keys and never shows the
 * key that it does it with, as a PKCS#11 token is.
 *
 * Forked before a socket or a peer is there. It parses JWK sets, which it reads itself from the client's socket, and nothing else of a peer's: headers, JSON,
 * signatures, policies, rules are the front's, whose sets have no secrets. Neither waits for the other without a limit, but for the front at its start, while tokens
 * are opened. It ends with its socket; without it the front has no keys and ends, too.
 *
 * One thread; not signal safe. Messages: keeper_inner.h.
 */
#ifndef CT_AGENT_KEEPER_H
#define CT_AGENT_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "aead.h"
#include "crypto_info.h"
#include "err.h"
#include "harden.h"
#include "jwk.h"

#define KEEPER_SETS_MAX 256
#define KEEPER_ADDS_MAX 4    /* key sets that are being read at once; more wait */
#define KEEPER_ADD_MS 12000  /* for the text of one to come: a backstop, since the connection that it comes by has 10 s (PROTOCOL.md) */
#define KEEPER_WAIT_MS 8000  /* for the data keys of one file: longer, and who asked has gone (PROTOCOL.md: 10 s for a connection) */
#define KEEPER_BATCH_TOKEN 32 /* of a token's: when one is late, the keeper is done with it that much sooner */
#define KEEPER_BATCH 512     /* wrapped keys in one message: an idle keeper answers in less than a ms, and a message fits any socket's buffer */

struct keeper; /* opaque */
struct tokens;

/* Forks it. It opens the tokens; background: then it lets go of the folder and of descriptors 0, 1, 2. NULL with *err: ERR_SYSTEM. */
struct keeper *keeper_start(const struct tokens *tokens, bool background, struct err *err);

/* Ends it, by force if it hangs in a token. NULL is allowed. */
void keeper_stop(struct keeper *k);

pid_t keeper_pid(const struct keeper *k);
int keeper_fd(const struct keeper *k); /* readable: keeper_events() is to be called */

/* Takes in what has come. -1: the keeper has ended, or sends what no keeper does. */
int keeper_events(struct keeper *k);

/* What others may know of a key set. */
struct keeper_set {
	uint64_t set;        /* its number; 0: it is a new one */
	struct jwk_set keys; /* no secrets; the size of a master key that names no algorithm is the keeper's to know */
	char *token;         /* label of the token that has its master key, malloc'ed; NULL: the keeper has it */
	bool locked, hidden; /* all of its secrets are (secret.h) */
};

void keeper_set_release(struct keeper_set *s);

/*
 * At the start, until it returns 0: the next set that comes of a token. 1: *s, the caller's to release; 0: that were all, *h is how the keeper has hardened
 * itself; -1 with *err: a token's error, which is meant to end the agent, or the keeper has ended.
 */
int keeper_token(struct keeper *k, struct keeper_set *s, struct hardening *h, struct err *err);

/*
 * Has the keeper read a JWK set of len bytes from fd, a socket. It works on a duplicate of its own, until keeper_offer() has given its result or keeper_drop() is
 * called; nobody else may read from it meanwhile. Returns a place; -1: none is free, ask later; -2 with *err.
 */
int keeper_add(struct keeper *k, int fd, size_t len, struct err *err);

/*
 * 0: not yet. 1: it is read: *s, the caller's; s->set: the number of the same set, if there is one. Then the caller says keeper_commit() or keeper_drop(). -1
 * with *err (jwk_set_parse()'s; ERR_SYSTEM: too slow, cut short): the place is free.
 */
int keeper_offer(struct keeper *k, int place, struct keeper_set *s, struct err *err);

/* The set is to be kept under that number, new or that of the offer; expires: clock_boot_ms(), -1: never. */
void keeper_commit(struct keeper *k, int place, uint64_t set, int64_t expires);

/* Forgets what is in that place. */
void keeper_drop(struct keeper *k, int place);

/* 0: all. Returns when it is forgotten; or at once, if the keeper hangs in a token: then it forgets first of all when that comes back. */
void keeper_remove(struct keeper *k, uint64_t set);

enum keeper_answer {
	KEEPER_OK,
	KEEPER_WRONG, /* *which does not authenticate */
	KEEPER_UNFIT, /* the master key is of another algorithm or length */
	KEEPER_GONE,  /* no such set, or no such master key in it */
	KEEPER_ERROR, /* *err: the token's */
	KEEPER_LATE,  /* no answer before the deadline: it hangs in a token */
	KEEPER_BUSY,  /* nor to a question before, that is still under way; nothing was asked */
	KEEPER_ENDED,
};

/*
 * Unwraps entries[0 .. n), n at most KEEPER_BATCH, with key number `key` of the set to out, aead_key_len(alg) bytes each. deadline_ms: clock_ms(). An answer
 * that comes later is wiped by keeper_events().
 */
enum keeper_answer keeper_unwrap(struct keeper *k, uint64_t set, size_t key, enum aead_alg alg, const struct crypto_entry *entries, size_t n,
                                 uint8_t *out, int64_t deadline_ms, size_t *which, struct err *err);

#endif
