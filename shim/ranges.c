#include "ranges.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "source.h"
#include "sys.h"

#define RANGES_MAX 16384
#define MAPPINGS_MAX 4096
#define FLIGHTS_MAX 512
#define CHANGES_MAX 64

struct flight {
	struct mapping *m; /* NULL: free */
	uint64_t from, to;
};

static struct lock lock = LOCK_INIT;
static struct range ranges[RANGES_MAX]; /* len 0: free */
static _Atomic int ranges_high;         /* none at or above this was ever used */
static _Atomic int ranges_count;
static _Atomic uintptr_t lowest = UINTPTR_MAX, highest; /* bounds of all ranges that ever were */
static struct mapping mappings[MAPPINGS_MAX];
static _Atomic int mappings_high;
static uint32_t last_id;
static struct flight flights[FLIGHTS_MAX];
static struct change *changes[CHANGES_MAX];
static _Atomic uint32_t ended; /* futex: a flight or a change did */

size_t ranges_page(void)
{
	static size_t page;
	if (page == 0)
		page = (size_t)sysconf(_SC_PAGESIZE);
	return page;
}

bool ranges_any(void)
{
	return atomic_load_explicit(&ranges_count, memory_order_relaxed) > 0;
}

bool ranges_near(uintptr_t from, size_t len)
{
	return ranges_any() && from < atomic_load_explicit(&highest, memory_order_relaxed) &&
	       len > 0 && from + (len - 1) >= atomic_load_explicit(&lowest, memory_order_relaxed);
}

/* ---- mappings ---- */

struct mapping *mapping_new(struct view *v, int fd, int type, uint64_t begin, uint64_t end)
{
	struct mapping *m = NULL;
	lock_saved saved = lock_acquire(&lock);
	for (int i = 0; i < MAPPINGS_MAX && !m; i++)
		if (mappings[i].refs == 0)
			m = &mappings[i];
	if (m) {
		*m = (struct mapping){ .id = ++last_id, .v = v, .fd = fd, .type = type, .begin = begin, .end = end };
		views_hold(v);
		lock_step();
		m->refs = 1;
		if (m - mappings >= mappings_high)
			mappings_high = (int)(m - mappings) + 1;
	}
	lock_release(&lock, saved);
	return m;
}

/* Under the lock. What is left to do without it is returned in *last. */
static void put(struct mapping *m, struct mapping *last)
{
	last->v = NULL;
	if (m->refs == 1) {
		*last = (struct mapping){ .v = m->v, .pages = m->pages, .begin = m->begin };
		m->pages = NULL;
		lock_step();
	}
	atomic_fetch_sub(&m->refs, 1);
}

size_t mapping_states(const struct mapping *m)
{
	uint64_t size = file_size(m->v->file);
	return m->begin < size ? (size_t)((size - m->begin - 1) / ranges_page() + 1) : 1;
}

static void finish(const struct mapping *last)
{
	if (!last->v)
		return;
	if (last->pages)
		source_free(last->pages, mapping_states(last));
	views_put(last->v);
}

void mapping_put(struct mapping *m)
{
	struct mapping last;
	lock_saved saved = lock_acquire(&lock);
	put(m, &last);
	lock_release(&lock, saved);
	finish(&last);
}

void mapping_note_bad(struct mapping *m, uint64_t from, uint64_t to)
{
	lock_saved saved = lock_acquire(&lock);
	for (unsigned int i = 0; i < MAPPING_BAD; i++) {
		if (m->bad[i].to > m->bad[i].from && from <= m->bad[i].to && m->bad[i].from <= to) { /* neighbours become one */
			if (from < m->bad[i].from)
				m->bad[i].from = from;
			if (to > m->bad[i].to)
				m->bad[i].to = to;
			goto out;
		}
	}
	m->bad[m->bad_next % MAPPING_BAD].from = from;
	m->bad[m->bad_next++ % MAPPING_BAD].to = to;
out:
	lock_release(&lock, saved);
}

bool mapping_is_bad(struct mapping *m, uint64_t from, uint64_t to)
{
	bool is = false;
	lock_saved saved = lock_acquire(&lock);
	for (unsigned int i = 0; i < MAPPING_BAD && !is; i++)
		is = from < m->bad[i].to && m->bad[i].from < to;
	lock_release(&lock, saved);
	return is;
}

bool mapping_touched(struct mapping *m, const struct ahead_touch *t)
{
	lock_saved saved = lock_acquire(&lock);
	bool more = ahead_note(&m->ahead, t);
	lock_release(&lock, saved);
	return more;
}

bool mapping_first(struct mapping *m, uint32_t tensor, uint32_t most, uint32_t count)
{
	lock_saved saved = lock_acquire(&lock);
	bool more = ahead_first(&m->ahead, tensor, most, count);
	lock_release(&lock, saved);
	return more;
}

void mapping_wants(struct mapping *m, uint64_t from, uint64_t to)
{
	lock_saved saved = lock_acquire(&lock);
	ahead_want(&m->ahead, from, to);
	lock_release(&lock, saved);
}

void mapping_wants_not(struct mapping *m, uint64_t from, uint64_t to)
{
	lock_saved saved = lock_acquire(&lock);
	ahead_cancel(&m->ahead, from, to);
	lock_release(&lock, saved);
}

/* ---- the table; all under the lock ---- */

static struct range *free_slot(void)
{
	for (int i = 0; i < RANGES_MAX; i++)
		if (ranges[i].len == 0)
			return &ranges[i];
	return NULL;
}

/* The length last: a fork child, and ranges_each(), see a slot whole or not at all. */
static void fill_slot(struct range *slot, const struct range *r)
{
	struct range empty = *r;
	empty.len = 0;
	*slot = empty;
	lock_step();
	slot->len = r->len;
	if (slot - ranges >= ranges_high)
		ranges_high = (int)(slot - ranges) + 1;
	atomic_fetch_add(&r->m->refs, 1);
	atomic_fetch_add(&ranges_count, 1);
}

static struct range *holds(uintptr_t addr)
{
	for (int i = 0; i < ranges_high; i++)
		if (addr >= ranges[i].base && addr - ranges[i].base < ranges[i].len)
			return &ranges[i];
	return NULL;
}

/* The range with the lowest part in [from, to). */
static struct range *first_in(uintptr_t from, uintptr_t to)
{
	struct range *best = NULL;
	for (int i = 0; i < ranges_high; i++) {
		struct range *r = &ranges[i];
		if (r->len > 0 && r->base < to && r->base + r->len > from && (!best || r->base < best->base))
			best = r;
	}
	return best;
}

static void clip(struct range *r, uintptr_t from, uintptr_t to)
{
	if (r->base < from) {
		size_t cut = from - r->base;
		r->base += cut;
		r->at += cut;
		r->len -= cut;
	}
	if (r->len > to - r->base)
		r->len = to - r->base;
}

/*
 * Cuts slot r in two at addr, inside it. The second part stands before the first is shortened: meanwhile both say the same of it.
 */
static int split(struct range *r, uintptr_t addr)
{
	struct range *slot = free_slot(), second = *r;
	if (!slot)
		return -ENOMEM;
	clip(&second, addr, UINTPTR_MAX);
	fill_slot(slot, &second);
	lock_step();
	r->len = addr - r->base;
	return 0;
}

static int split_at(uintptr_t addr)
{
	struct range *r = holds(addr);
	return r && r->base != addr ? split(r, addr) : 0;
}

int ranges_add(const struct range *r)
{
	lock_saved saved = lock_acquire(&lock);
	struct range *slot = free_slot();
	if (slot) {
		if (r->base < lowest)
			lowest = r->base;
		if (r->base + r->len > highest)
			highest = r->base + r->len;
		fill_slot(slot, r);
	}
	lock_release(&lock, saved);
	return slot ? 0 : -ENOMEM;
}

bool ranges_find(uintptr_t addr, struct range *r)
{
	if (!ranges_near(addr, 1))
		return false;
	lock_saved saved = lock_acquire(&lock);
	struct range *found = holds(addr);
	if (found) {
		*r = *found;
		atomic_fetch_add(&r->m->refs, 1);
	}
	lock_release(&lock, saved);
	return found;
}

bool ranges_next(uintptr_t from, uintptr_t to, struct range *piece)
{
	lock_saved saved = lock_acquire(&lock);
	struct range *found = first_in(from, to);
	if (found) {
		*piece = *found;
		clip(piece, from, to);
	}
	lock_release(&lock, saved);
	return found;
}

/* Under the lock. */
static int split_both(uintptr_t from, uintptr_t to)
{
	int ret = split_at(from);
	return ret == 0 ? split_at(to) : ret;
}

int ranges_split(uintptr_t from, uintptr_t to)
{
	lock_saved saved = lock_acquire(&lock);
	int ret = split_both(from, to);
	lock_release(&lock, saved);
	return ret;
}

int ranges_cut(uintptr_t from, uintptr_t to)
{
	struct range *r;
	lock_saved saved = lock_acquire(&lock);
	int ret = split_both(from, to);
	while (ret == 0 && (r = first_in(from, to))) {
		struct mapping *m = r->m, last;
		r->len = 0;
		lock_step();
		atomic_fetch_sub(&ranges_count, 1);
		put(m, &last);
		lock_release(&lock, saved);
		finish(&last);
		saved = lock_acquire(&lock);
	}
	lock_release(&lock, saved);
	return ret;
}

int ranges_set(uintptr_t from, uintptr_t to, enum ranges_what what, int value)
{
	lock_saved saved = lock_acquire(&lock);
	int ret = split_both(from, to);
	for (int i = 0; i < ranges_high && ret == 0; i++) {
		struct range *r = &ranges[i];
		if (r->len == 0 || r->base < from || r->base >= to)
			continue;
		if (what == RANGES_PROT)
			r->prot = value;
		else if (what == RANGES_ADVICE)
			r->advice = value;
		else
			r->no_fork = value;
	}
	lock_release(&lock, saved);
	return ret;
}

void ranges_each(void (*f)(struct range *r, void *arg), void *arg)
{
	for (int i = 0; i < ranges_high; i++)
		if (ranges[i].len > 0)
			f(&ranges[i], arg);
}

/* ---- flights and changes ---- */

uint32_t flights_seen(void)
{
	return atomic_load(&ended);
}

void flights_wait_for(uint32_t seen, int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };
	sys4(SYS_futex, &ended, FUTEX_WAIT_PRIVATE, seen, ms ? &t : NULL);
}

void flights_wait(uint32_t seen)
{
	flights_wait_for(seen, 0);
}

void flights_poke(void)
{
	atomic_fetch_add(&ended, 1);
	sys3(SYS_futex, &ended, FUTEX_WAKE_PRIVATE, INT32_MAX);
}

/* Some change is under way over the pages of r with bytes of [from, to). */
static bool is_changing(const struct range *r, uint64_t from, uint64_t to)
{
	for (int i = 0; i < CHANGES_MAX; i++) {
		if (!changes[i])
			continue;
		struct range part = *r;
		if (changes[i]->from >= r->base + r->len || changes[i]->to <= r->base)
			continue;
		clip(&part, changes[i]->from, changes[i]->to);
		if (ranges_page_down(from) < part.at + part.len && part.at < ranges_page_up(to))
			return true;
	}
	return false;
}

int flight_begin(const struct range *r, uintptr_t addr, uint64_t from, uint64_t to)
{
	uint64_t page = r->at + (addr - r->base), page_end = page + ranges_page();
	int slot = -1;
	lock_saved saved = lock_acquire(&lock);
	struct range *now = holds(addr ? addr : r->base);
	if (!now || now->m != r->m || now->base - now->at != r->base - r->at || now->prot != r->prot || is_changing(r, from, to))
		goto out;
	for (int i = FLIGHTS_MAX - 1; i >= 0; i--) {
		struct flight *f = &flights[i];
		if (!f->m)
			slot = i;
		else if (f->m == r->m && ((from < f->to && f->from < to) ||
		                          (addr && page < ranges_page_up(f->to) && ranges_page_down(f->from) < page_end))) {
			slot = -1;
			break;
		}
	}
	if (slot >= 0) {
		atomic_fetch_add(&r->m->refs, 1);
		flights[slot] = (struct flight){ r->m, from, to };
	}
out:
	lock_release(&lock, saved);
	return slot;
}

/* The first flight of m that overlaps [from, to). Under the lock. */
static const struct flight *in_the_way(const struct mapping *m, uint64_t from, uint64_t to)
{
	const struct flight *first = NULL;
	for (int i = 0; i < FLIGHTS_MAX; i++) {
		const struct flight *f = &flights[i];
		if (f->m == m && from < f->to && f->from < to && (!first || f->from < first->from))
			first = f;
	}
	return first;
}

/* The next window of one stream: its flight, or -1. What somebody works on already is left out. Under the lock. */
static int take_window(struct mapping *m, struct ahead_stream *s, struct range *r, uint64_t *from, uint64_t *to, ranges_span span)
{
	const struct flight *other;
	int slot = 0;
	*from = s->pos;
	*to = span(m->v, s->pos, s->to);
	while (*from < *to && (other = in_the_way(m, *from, *to)) && other->from <= *from)
		*from = other->to;
	if (*from < *to && other)
		*to = other->from;
	s->pos = *from < *to ? *to : *from;
	if (*from >= *to)
		return -1;
	for (int k = 0; k < ranges_high; k++) {
		*r = ranges[k];
		if (r->len == 0 || r->m != m || *from >= r->at + r->len || r->at >= *to || is_changing(r, *from, *to))
			continue;
		while (slot < FLIGHTS_MAX && flights[slot].m)
			slot++;
		if (slot == FLIGHTS_MAX)
			return -1;
		atomic_fetch_add(&m->refs, 1);
		flights[slot] = (struct flight){ m, *from, *to };
		return slot;
	}
	return -1;
}

int ranges_take_ahead(const struct mapping *of, struct range *r, uint64_t *from, uint64_t *to, ranges_span span)
{
	struct ahead_stream *s;
	int flight = -1;
	lock_saved saved = lock_acquire(&lock);
	for (int i = 0; i < mappings_high && flight < 0; i++) {
		struct mapping *m = &mappings[i];
		while (m->refs > 0 && (!of || m == of) && flight < 0 && (s = ahead_pending(&m->ahead)))
			flight = take_window(m, s, r, from, to, span);
	}
	lock_release(&lock, saved);
	return flight;
}

/* The range of m that holds byte `at`. Under the lock. */
static const struct range *range_of(const struct mapping *m, uint64_t at)
{
	for (int k = 0; k < ranges_high; k++)
		if (ranges[k].len > 0 && ranges[k].m == m && at >= ranges[k].at && at - ranges[k].at < ranges[k].len)
			return &ranges[k];
	return NULL;
}

bool ranges_take_first(struct range *r, uintptr_t *addr)
{
	const struct range *found = NULL;
	lock_saved saved = lock_acquire(&lock);
	for (int i = 0; i < mappings_high && !found; i++) {
		struct mapping *m = &mappings[i];
		struct ahead_firsts *f = &m->ahead.firsts;
		while (m->refs > 0 && f->pos < f->to && !found) {
			uint64_t at = file_tensor_at(m->v->file, f->pos++);
			found = at < file_size(m->v->file) ? range_of(m, at) : NULL; /* an empty tensor may begin where the file ends */
			if (found) {
				*r = *found;
				*addr = r->base + (uintptr_t)(at - r->at);
				atomic_fetch_add(&m->refs, 1);
			}
		}
	}
	lock_release(&lock, saved);
	return found;
}

void flight_end(int flight)
{
	struct mapping last;
	lock_saved saved = lock_acquire(&lock);
	struct mapping *m = flights[flight].m;
	flights[flight].m = NULL;
	lock_step();
	put(m, &last);
	lock_release(&lock, saved);
	finish(&last);
	flights_poke();
}

/* A flight has pages in what c is about to change. Under the lock. */
static bool is_flown(const struct change *c)
{
	for (int i = 0; i < FLIGHTS_MAX; i++) {
		if (!flights[i].m)
			continue;
		for (int k = 0; k < ranges_high; k++) {
			struct range part = ranges[k];
			if (part.len == 0 || part.m != flights[i].m || part.base >= c->to || part.base + part.len <= c->from)
				continue;
			clip(&part, c->from, c->to);
			if (ranges_page_down(flights[i].from) < part.at + part.len && part.at < ranges_page_up(flights[i].to))
				return true;
		}
	}
	return false;
}

/* Announced first, so that no new flight begins; then those under way are waited for. */
void ranges_change(struct change *c, uintptr_t from, uintptr_t to)
{
	*c = (struct change){ from, to, -1, lock_signals() };
	for (;;) {
		uint32_t seen = flights_seen();
		bool wait = false;
		lock_saved saved = lock_acquire(&lock);
		if (c->slot < 0) {
			for (int i = 0; i < CHANGES_MAX; i++) {
				if (!changes[i])
					c->slot = i;
				else if (changes[i]->from < to && from < changes[i]->to)
					wait = true;
			}
			if (wait)
				c->slot = -1;
			if (c->slot >= 0)
				changes[c->slot] = c;
		}
		if (c->slot < 0 || is_flown(c))
			wait = true;
		lock_release(&lock, saved);
		if (!wait)
			return;
		flights_wait(seen);
	}
}

void ranges_change_end(struct change *c)
{
	lock_saved saved = lock_acquire(&lock);
	changes[c->slot] = NULL;
	lock_release(&lock, saved);
	flights_poke();
	lock_signals_restore(c->signals);
}

void ranges_fork_child(void)
{
	lock = (struct lock)LOCK_INIT;
	for (int i = 0; i < CHANGES_MAX; i++)
		changes[i] = NULL;
	for (int i = 0; i < FLIGHTS_MAX; i++) {
		if (flights[i].m)
			atomic_fetch_sub(&flights[i].m->refs, 1);
		flights[i].m = NULL;
	}
	for (int i = 0; i < mappings_high; i++)
		mappings[i].ahead = (struct ahead){ .clock = 0 };
}
