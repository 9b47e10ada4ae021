#include "cache.h"

#include "source.h"

static void unmap(struct cache_slot *s)
{
	uint8_t *data = s->data;
	size_t cap = s->cap;
	s->data = NULL;
	s->cap = 0;
	lock_step();
	source_free(data, cap);
}

static bool make_room(struct cache_slot *s, size_t len)
{
	if (s->cap >= len)
		return true;
	unmap(s);
	s->data = source_alloc(len);
	s->cap = s->data ? len : 0;
	return s->data;
}

/* The oldest slot, if more than `bytes` are mapped, pinned. Under the lock. */
static struct cache_slot *too_much(struct cache *c, size_t bytes)
{
	struct cache_slot *oldest = NULL;
	size_t sum = 0;
	for (int i = 0; i < CACHE_SLOTS; i++) {
		struct cache_slot *s = &c->slots[i];
		sum += s->cap;
		if (s->cap > 0 && s->pins == 0 && (!oldest || s->used < oldest->used))
			oldest = s;
	}
	if (sum <= bytes || !oldest)
		return NULL;
	oldest->ready = false;
	oldest->pins++;
	return oldest;
}

void cache_trim(struct cache *c, size_t bytes)
{
	for (;;) {
		lock_saved saved = lock_acquire(&c->lock);
		struct cache_slot *s = too_much(c, bytes);
		lock_release(&c->lock, saved);
		if (!s)
			return;
		unmap(s);
		cache_put(c, s);
	}
}

void cache_release(struct cache *c)
{
	for (int i = 0; i < CACHE_SLOTS; i++)
		unmap(&c->slots[i]);
}

struct cache_slot *cache_get(struct cache *c, uint64_t begin, uint64_t end, struct cache_slot *own)
{
	struct cache_slot *s = NULL;
	lock_saved saved = lock_acquire(&c->lock);
	for (int i = 0; i < CACHE_SLOTS; i++) {
		struct cache_slot *at = &c->slots[i];
		if (at->ready && at->begin == begin && at->end == end) {
			s = at;
			break;
		}
		if (at->pins == 0 && (!s || at->used < s->used))
			s = at;
	}
	if (s) {
		if (!s->ready || s->begin != begin || s->end != end) {
			s->ready = false;
			lock_step();
			s->begin = begin;
			s->end = end;
		}
		s->pins++;
		s->used = ++c->clock;
	}
	lock_release(&c->lock, saved);
	if (!s) {
		s = own;
		*s = (struct cache_slot){ .begin = begin, .end = end, .temporary = true };
	}
	if (!s->ready && !make_room(s, end - begin)) {
		cache_put(c, s);
		return NULL;
	}
	return s;
}

struct cache_slot *cache_find(struct cache *c, uint64_t begin, uint64_t end)
{
	struct cache_slot *s = NULL;
	lock_saved saved = lock_acquire(&c->lock);
	for (int i = 0; i < CACHE_SLOTS && !s; i++)
		if (c->slots[i].ready && c->slots[i].begin == begin && c->slots[i].end == end)
			s = &c->slots[i];
	if (s) {
		s->pins++;
		s->used = ++c->clock;
	}
	lock_release(&c->lock, saved);
	return s;
}

void cache_filled(struct cache *c, struct cache_slot *s)
{
	lock_saved saved = lock_acquire(&c->lock);
	s->ready = true;
	lock_release(&c->lock, saved);
}

void cache_put(struct cache *c, struct cache_slot *s)
{
	if (s->temporary) {
		unmap(s);
		return;
	}
	lock_saved saved = lock_acquire(&c->lock);
	s->pins--;
	lock_release(&c->lock, saved);
}
