#include "budget.h"

#include <stdatomic.h>
#include <time.h>

#include "ahead.h"
#include "config.h"
#include "lock.h"
#include "pressure.h"

#define ENTRIES 16384 /* what was put in place and may be dropped, oldest first */
#define ENTRIES_SPARE 64 /* for what is put in place by threads at the same time */
#define JOIN_MAX ((size_t)1 << 20) /* neighbours up to this size become one entry */
#define BUSY_MAX 64   /* entries where somebody is at work, until the bound is given up */
#define LOOK_LEAST ((size_t)1 << 20) /* bytes put in place between two looks at the machine's memory */
#define LOOK_MOST ((size_t)32 << 20)
#define LOOK_MS 400 /* between two looks of threads that have nothing else to do */
#define LOOK_SHARE 8 /* of the room that there was: others fill theirs meanwhile */

struct entry {
	uintptr_t base;
	size_t len, bytes;
	uint32_t id;
};

static struct lock lock = LOCK_INIT;
static struct entry entries[ENTRIES]; /* a ring */
static unsigned int oldest, count;
static _Atomic size_t held, peak, since_look, look_after;
static _Atomic int64_t looked; /* ms */

size_t budget_most(void)
{
	size_t most = config.memory_max ? config.memory_max / 4 : AHEAD_MAX;
	return most < AHEAD_MAX ? most : AHEAD_MAX;
}

uint64_t budget_held(void)
{
	return held;
}

uint64_t budget_peak(void)
{
	return peak;
}

static bool take(struct entry *e)
{
	lock_saved saved = lock_acquire(&lock);
	bool any = count > 0;
	if (any) {
		*e = entries[oldest];
		oldest = (oldest + 1) % ENTRIES;
		lock_step();
		count--;
	}
	lock_release(&lock, saved);
	return any;
}

static void give(const struct entry *e)
{
	lock_saved saved = lock_acquire(&lock);
	struct entry *last = count > 0 ? &entries[(oldest + count - 1) % ENTRIES] : NULL;
	if (last && last->id == e->id && last->base + last->len == e->base && last->len < JOIN_MAX) {
		last->len += e->len;
		last->bytes += e->bytes;
	} else if (count < ENTRIES) {
		entries[(oldest + count) % ENTRIES] = *e;
		lock_step();
		count++;
	}
	lock_release(&lock, saved);
}

/* Drops the pages of e that are still what they were. false: somebody is at work there. */
static bool drop(const struct entry *e)
{
	bool busy = false;
	for (uintptr_t at = e->base; at < e->base + e->len && !busy;) {
		struct range r;
		if (!ranges_find(at, &r))
			break;
		uint64_t from = r.at + (at - r.base), to = r.at + r.len;
		if (to - from > e->base + e->len - at)
			to = from + (e->base + e->len - at);
		int flight = r.m->id == e->id ? flight_begin(&r, 0, from, to) : -1;
		if (flight >= 0) {
			method_now()->drop(&r, from, to, false);
			flight_end(flight);
			method_now()->wake(&r, from, to);
		} else {
			busy = r.m->id == e->id;
		}
		at += (uintptr_t)(to - from);
		mapping_put(r.m);
	}
	return !busy;
}

enum dropped { NOTHING, BUSY, DROPPED };

static enum dropped drop_oldest(void)
{
	struct entry e;
	if (!take(&e))
		return NOTHING;
	if (!drop(&e)) {
		give(&e);
		return BUSY;
	}
	atomic_fetch_sub(&held, e.bytes);
	return DROPPED;
}

/* Room is taken before it is filled, so that threads that fill at once stay below the bound together. */
static bool take_room(size_t len)
{
	size_t now = atomic_load(&held), old = peak;
	if (count > ENTRIES - ENTRIES_SPARE)
		return false;
	do {
		if (config.memory_max && now + len > config.memory_max)
			return false;
	} while (!atomic_compare_exchange_weak(&held, &now, now + len));
	while (now + len > old && !atomic_compare_exchange_weak(&peak, &old, now + len))
		;
	return true;
}

static int64_t now(void)
{
	struct timespec t = { 0 };
	sys2(SYS_clock_gettime, CLOCK_MONOTONIC, &t); /* clock_gettime() may be an interposer's, with a lock */
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* At the machine's memory: what is missing there is given back. */
static void look(void)
{
	int tries = BUSY_MAX;
	atomic_store(&looked, now());
	size_t room, missing = pressure_missing(&room), next = room / LOOK_SHARE;
	atomic_store(&look_after, next < LOOK_LEAST ? LOOK_LEAST : next > LOOK_MOST ? LOOK_MOST : next);
	for (size_t given = 0; given < missing && tries > 0;) {
		size_t before = held;
		enum dropped d = drop_oldest();
		tries = d == NOTHING ? 0 : d == BUSY ? tries - 1 : tries;
		given += d == DROPPED && before > held ? before - held : 0;
	}
}

void budget_make_room(size_t len)
{
	bool room;
	int tries = BUSY_MAX;
	while (!(room = take_room(len)) && tries > 0) {
		enum dropped d = drop_oldest();
		tries = d == NOTHING ? 0 : d == BUSY ? tries - 1 : tries;
	}
	if (!room) /* what is held can't be dropped */
		atomic_fetch_add(&held, len);
	if (!method_now()->kernel_drops && atomic_fetch_add(&since_look, len) >= look_after) {
		atomic_store(&since_look, 0);
		look();
	}
}

void budget_note(uint32_t id, uintptr_t base, size_t len, size_t bytes)
{
	atomic_fetch_sub(&held, len - bytes);
	if (bytes > 0 && (config.memory_max || !method_now()->kernel_drops))
		give(&(struct entry){ base, len, bytes, id });
}

void budget_forget(uintptr_t base, size_t len)
{
	size_t gone = 0;
	if (count == 0)
		return;
	lock_saved saved = lock_acquire(&lock);
	for (unsigned int i = 0; i < count; i++) {
		struct entry *e = &entries[(oldest + i) % ENTRIES];
		if (e->base >= base && e->base + e->len <= base + len) {
			gone += e->bytes;
			e->bytes = e->len = 0;
		}
	}
	lock_release(&lock, saved);
	atomic_fetch_sub(&held, gone);
}

bool budget_watch(void)
{
	if (method_now()->kernel_drops || atomic_load(&held) == 0)
		return false;
	if (now() - atomic_load(&looked) >= LOOK_MS)
		look();
	return true;
}

void budget_fork_child(void)
{
	lock = (struct lock)LOCK_INIT;
}
