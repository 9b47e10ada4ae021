/*
 * keeper_sets: the keeper's key sets: the only place of ct-agent that has master keys. Times are clock_boot_ms()'s.
 */
#ifndef CT_AGENT_KEEPER_SETS_H
#define CT_AGENT_KEEPER_SETS_H

#include "keeper_inner.h"
#include "token.h"

struct kept {
	uint64_t id;
	int64_t expires; /* -1: never */
	struct jwk_set keys;
	struct token *token; /* has the set's one master key; NULL: those are in the set */
};

struct keeper_sets {
	size_t count;
	struct kept all[KEEPER_SETS_MAX];
};

/* Takes private signing keys out of a set that was read, and hides its master keys. */
void keeper_sets_strip(struct jwk_set *keys);

/* How its secrets lie: KEEPER_LOCKED, KEEPER_HIDDEN. */
uint32_t keeper_sets_flags(const struct jwk_set *keys);

uint64_t keeper_sets_same(const struct keeper_sets *s, const struct jwk_set *keys); /* the number of an equal one, or 0 */
struct kept *keeper_sets_find(struct keeper_sets *s, uint64_t id);                 /* NULL: none */

/* Takes over *keys and t. false: no room; they are still the caller's. */
bool keeper_sets_put(struct keeper_sets *s, uint64_t id, const struct jwk_set *keys, struct token *t, int64_t expires);

void keeper_sets_remove(struct keeper_sets *s, uint64_t id); /* 0: all */

/* Removes what has expired. Returns the time of the next expiry, or -1. */
int64_t keeper_sets_expire(struct keeper_sets *s, int64_t now);

/* Answers *h, an ASK_UNWRAP. SAY_UNWRAPPED: out has h->count data keys; SAY_WRONG: *which; SAY_FAILURE: *err; SAY_UNFIT, SAY_GONE. */
enum keeper_what keeper_sets_unwrap(struct keeper_sets *s, const struct keeper_head *h, const struct keeper_wrapped *wrapped, uint8_t *out,
                                    size_t *which, struct err *err);

#endif
