/*
 * cache: a few verified pieces of plaintext of one file, for reads that want part of a chunk.
 *
 * A piece is named by the file range it covers. Who misses fills the slot itself, unlocked; nobody ever waits for another's fill
 * (a second miss of the same piece fills a second slot), so a signal handler may come in at any point. Slots are private mappings,
 * left out of core dumps. Thread safe. When all slots are pinned, a slot of its own is made and dropped again.
 */
#ifndef CT_CACHE_H
#define CT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lock.h"

#define CACHE_SLOTS 6

struct cache_slot {
	uint64_t begin, end; /* bytes of the file */
	uint8_t *data;       /* end - begin bytes */
	size_t cap;
	uint64_t used; /* age, for the choice of what to drop */
	unsigned int pins;
	bool ready, temporary;
};

struct cache {
	struct lock lock;
	uint64_t clock;
	struct cache_slot slots[CACHE_SLOTS];
};

#define CACHE_INIT { .lock = LOCK_INIT }

/* Unmaps what was used longest ago, until at most `bytes` are mapped; what is pinned stays. */
void cache_trim(struct cache *c, size_t bytes);

/* Unmaps everything; no slot may be pinned. */
void cache_release(struct cache *c);

/*
 * A pinned slot for [begin, end). slot->ready: it holds the plaintext. Else the caller fills slot->data and calls
 * cache_filled(). NULL: no memory. own: storage for a temporary slot, which must live until cache_put().
 */
struct cache_slot *cache_get(struct cache *c, uint64_t begin, uint64_t end, struct cache_slot *own);
void cache_filled(struct cache *c, struct cache_slot *s);

/* The same only if it is there already, else NULL. */
struct cache_slot *cache_find(struct cache *c, uint64_t begin, uint64_t end);

/* Unpins. A slot that was not filled is empty again. */
void cache_put(struct cache *c, struct cache_slot *s);

#endif
