/*
 * ranges: which memory is filled on touch, with what, and who is at work there.
 *
 * A mapping is what one mmap() made of a view; a range is a piece of address space of it. munmap, mprotect, mremap … cut ranges, the mapping stays
 * as long as one of them does. Offsets are bytes of the file; a range begins and ends on pages, and its pages are the file's.
 *
 * A flight is work on the bytes [from, to) of a mapping, from before they are decrypted until their pages stand. A change is a system
 * call that changes what addresses mean. They exclude each other: a change waits for the flights over it, a flight that would begin during a change
 * waits for its end. So a page is never put where something else is by now.
 *
 * Thread safety: all. Signal safety: all but ranges_add(); locks are held for table work only. Nothing of this is locked over fork(): the
 * child calls ranges_fork_child(), and every step leaves the table sound.
 */
#ifndef SHIM_RANGES_H
#define SHIM_RANGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ahead.h"
#include "lock.h"
#include "views.h"

#define MAPPING_BAD 16

struct mapping {
	uint32_t id;     /* no other mapping of this process ever had it */
	struct view *v;  /* pinned */
	int fd;          /* ciphertext, a descriptor of the shim's (views_source()) */
	int type;        /* MAP_PRIVATE or MAP_SHARED */
	bool store;      /* asked for as MAP_SHARED and writable: a store raises SIGSEGV, */
	_Atomic bool stored; /* after one line */
	bool written;    /* it is, or was, writable: a page may hold what the application wrote */
	uint64_t begin, end; /* pages of the file that it was made over; end may lie behind the file's */
	uint8_t *pages;  /* sigsegv method: mapping_states() states, one for each page from `begin` on (segv.h); else NULL */
	/* private */
	_Atomic int refs; /* ranges and flights; 0: a free slot */
	struct ahead ahead;
	struct { uint64_t from, to; } bad[MAPPING_BAD]; /* bytes that don't authenticate; under the lock */
	unsigned int bad_next;
};

struct range {
	uintptr_t base;
	size_t len; /* whole pages */
	uint64_t at; /* byte of the file at base */
	struct mapping *m;
	int prot;     /* as the application set it */
	int advice;   /* MADV_NORMAL, MADV_RANDOM or MADV_SEQUENTIAL */
	bool no_fork; /* the application asked for MADV_DONTFORK */
};

size_t ranges_page(void); /* bytes of a page */

static inline uint64_t ranges_page_down(uint64_t x)
{
	return x & ~(uint64_t)(ranges_page() - 1);
}

static inline uint64_t ranges_page_up(uint64_t x)
{
	return ranges_page_down(x + ranges_page() - 1);
}

/* Some range exists. Cheap: for hooks. */
bool ranges_any(void);
/* [from, from + len) may touch a range. Cheap. */
bool ranges_near(uintptr_t from, size_t len);

/* A new mapping with one reference (the caller's), or NULL: too many. The view is pinned until the last reference goes. */
struct mapping *mapping_new(struct view *v, int fd, int type, uint64_t begin, uint64_t end);
void mapping_put(struct mapping *m);
/* Pages of the file from `begin` on: mremap() may let the mapping grow over all of them. */
size_t mapping_states(const struct mapping *m);

int ranges_add(const struct range *r); /* 0 or -ENOMEM: too many */

/* The range that holds addr. Its mapping is pinned: mapping_put(). */
bool ranges_find(uintptr_t addr, struct range *r);

/* The first piece of a range in [from, to), cut to it; false: none. No reference: valid while the caller's change keeps others out. */
bool ranges_next(uintptr_t from, uintptr_t to, struct range *piece);

/*
 * Keeps flights and other changes out of [from, to), until ranges_change_end(). Not nested. All signals are blocked meanwhile: a handler that
 * touched a page there would wait for the thread that it interrupted. Nothing in between may touch, or make the kernel fault in, such a page.
 */
struct change {
	uintptr_t from, to;
	int slot;
	lock_saved signals;
};
void ranges_change(struct change *c, uintptr_t from, uintptr_t to);
void ranges_change_end(struct change *c);

/*
 * During a change of [from, to): forgets the ranges there, or sets something of them. -ENOMEM: too many pieces; nothing was changed. Behind a
 * ranges_split() the others don't fail.
 */
int ranges_split(uintptr_t from, uintptr_t to);
int ranges_cut(uintptr_t from, uintptr_t to);
enum ranges_what { RANGES_PROT, RANGES_ADVICE, RANGES_NO_FORK };
int ranges_set(uintptr_t from, uintptr_t to, enum ranges_what what, int value);

/*
 * Begins work on bytes [from, to) of r's mapping, if addr still means the same, with the same protection, and nobody works on them, or on the page
 * at addr (0: no matter).
 * Returns a handle >= 0, or -1. flight_end() wakes who waits in flights_wait(); the mapping is pinned in between.
 */
int flight_begin(const struct range *r, uintptr_t addr, uint64_t from, uint64_t to);
void flight_end(int flight);

/* A number that changes whenever a flight or a change ends, or by flights_poke(); and sleeping until it is another than `seen`. */
uint32_t flights_seen(void);
void flights_wait(uint32_t seen);
void flights_wait_for(uint32_t seen, int ms); /* at most so long; 0: without end */
void flights_poke(void);

/* Bytes that were found damaged: a touch of a page with one of them is answered without decrypting again. */
void mapping_note_bad(struct mapping *m, uint64_t from, uint64_t to);
bool mapping_is_bad(struct mapping *m, uint64_t from, uint64_t to);

/* For each range, without the lock: around fork, where no lock is taken, and in the child. */
void ranges_each(void (*f)(struct range *r, void *arg), void *arg);
void ranges_fork_child(void);

/* The ahead module (ahead.h), under the lock. mapping_touched(), mapping_first(): true if there is something to read ahead now. */
bool mapping_touched(struct mapping *m, const struct ahead_touch *t);
bool mapping_first(struct mapping *m, uint32_t tensor, uint32_t most, uint32_t count);
void mapping_wants(struct mapping *m, uint64_t from, uint64_t to);
void mapping_wants_not(struct mapping *m, uint64_t from, uint64_t to);

/* The next first byte of a tensor that is to be filled before it is touched: its address, in r, whose mapping is pinned. false: none. */
bool ranges_take_first(struct range *r, uintptr_t *addr);

/*
 * Takes the next window that is to be read ahead, of `of` or (NULL) of any mapping, and begins a flight over it: bytes [*from, *to) of r's
 * mapping. span says where a window that begins somewhere ends (window.h). The flight, or -1: nothing is to be done.
 */
typedef uint64_t (*ranges_span)(const struct view *v, uint64_t from, uint64_t to);
int ranges_take_ahead(const struct mapping *of, struct range *r, uint64_t *from, uint64_t *to, ranges_span span);

#endif
