#include "window.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>

#include "budget.h"
#include "config.h"
#include "fragments.h"
#include "reads.h"
#include "source.h"
#include "sys.h"

#define STAGINGS_MAX (CONFIG_CORES_MAX + 1)
/* What is wanted, the units that reach over its borders, each FILE_UNIT_MAX long, and the pages that they share with others. */
#define STAGING_BYTES (WINDOW_LEAST_MAX + (size_t)2 * FILE_UNIT_MAX + (1u << 20))
#define STAGING_KEEP (HUGE + (64u << 10)) /* bytes of one that stay in memory */
#define HUGE ((size_t)2 << 20)

#define SMALL_UNIT ((size_t)64 << 10)  /* so small a neighbour is put in place whole */
#define NEIGHBOURS ((size_t)2 << 20)   /* bytes of decrypted neighbours that are kept, see plan() */

/* ---- staging ---- */

struct staging {
	_Atomic int busy;
	uint8_t *mem;
};

static struct staging stagings[STAGINGS_MAX];
static _Atomic int stagings_count; /* 0: before the start */
static _Atomic uint32_t freed;     /* futex */

/* The first HUGE bytes, which most windows fill, are one huge page where the machine has them. */
static uint8_t *staging_map(void)
{
	uint8_t *p = source_alloc(STAGING_BYTES + HUGE);
	if (!p)
		return NULL;
	sys3(SYS_madvise, p, STAGING_BYTES + HUGE, MADV_DONTFORK);
	sys3(SYS_madvise, p, STAGING_BYTES + HUGE, MADV_NOHUGEPAGE);
	p += HUGE - (uintptr_t)p % HUGE;
	sys3(SYS_madvise, p, HUGE, MADV_HUGEPAGE);
	return p;
}

/* One staging at once: where address space is limited, what has been mapped must be readable later. */
int window_start(void)
{
	if (!stagings[0].mem)
		stagings[0].mem = staging_map();
	if (!stagings[0].mem)
		return -ENOMEM;
	stagings_count = config_cores() + 1;
	return 0;
}

/* NULL: there is no memory for a first one. */
static struct staging *staging_get(void)
{
	for (;;) {
		uint32_t seen = atomic_load(&freed);
		bool others = false;
		for (int i = 0; i < stagings_count; i++) {
			struct staging *s = &stagings[i];
			int idle = 0;
			if (!atomic_compare_exchange_strong(&s->busy, &idle, 1)) {
				others = others || s->mem;
				continue;
			}
			if (!s->mem)
				s->mem = staging_map();
			if (s->mem)
				return s;
			atomic_store(&s->busy, 0);
		}
		if (!others)
			return NULL;
		sys4(SYS_futex, &freed, FUTEX_WAIT_PRIVATE, seen, NULL);
	}
}

static void staging_put(struct staging *s, size_t used)
{
	if (used > STAGING_KEEP)
		sys3(SYS_madvise, s->mem + STAGING_KEEP, STAGING_BYTES - STAGING_KEEP, MADV_DONTNEED);
	atomic_store(&s->busy, 0);
	atomic_fetch_add(&freed, 1);
	sys3(SYS_futex, &freed, FUTEX_WAKE_PRIVATE, 1);
}

void window_fork_child(void) /* the parent's staging is not there */
{
	for (int i = 0; i < STAGINGS_MAX; i++)
		stagings[i] = (struct staging){ .busy = 0 };
}

/* ---- pages ---- */

void window_units(const struct view *v, uint64_t *from, uint64_t *to)
{
	uint64_t other;
	file_unit(v->file, *from, from, &other);
	file_unit(v->file, *to - 1, &other, to);
}

/* A window at work. frame[0] is byte `origin` of the file, a page's first; [from, to) is known to be right. */
struct window {
	const struct range *r;
	uint8_t *frame;
	uint64_t origin, from, to, size;
};

static long place(const struct window *w, uint64_t from, uint64_t to)
{
	uint64_t first = w->r->at, last = w->r->at + w->r->len;
	from = from > first ? from : first;
	to = to < last ? to : last;
	if (from >= to)
		return 0;
	budget_make_room((size_t)(to - from));
	long r = method_now()->place(w->r, from, to, w->frame + (from - w->origin));
	budget_note(w->r->m->id, w->r->base + (uintptr_t)(from - w->r->at), (size_t)(to - from), r > 0 ? (size_t)r : 0);
	return r < 0 ? r : 0;
}

/* The page that holds the first (or last) known byte is known in part: joins it with what the neighbour left, or leaves it to him. */
static void join(struct window *w, uint64_t page)
{
	uint64_t end = page + ranges_page(), from = w->from > page ? w->from : page, to = w->to < end ? w->to : end;
	if (end > w->size)
		end = w->size;
	if (fragments_add(w->r->m->id, page, end, &from, &to, w->frame + (page - w->origin))) {
		if (w->from > page)
			w->from = page;
		if (w->to < end)
			w->to = end;
	}
}

/* Puts in place what is complete. 0 or -errno. */
static long settle(struct window *w)
{
	uint64_t head = ranges_page_down(w->from), tail = ranges_page_down(w->to);
	if (w->from == w->to)
		return 0;
	if (w->from != head)
		join(w, head);
	if (w->to != tail && w->to != w->size && (tail != head || w->from == head))
		join(w, tail);
	uint64_t from = ranges_page_up(w->from), to = ranges_page_down(w->to);
	if (w->to == w->size && to != w->to) { /* behind the end of the file there are zeros */
		to = ranges_page_up(w->to);
		memset(w->frame + (w->size - w->origin), 0, (size_t)(to - w->size));
	}
	return from < to ? place(w, from, to) : 0;
}

/* Decrypts [from, to) into staging. What is right is put in place, as far as it goes; 0, or -1 with *err for byte w->to. */
static int fill(struct window *w, uint64_t from, uint64_t to, struct err *err)
{
	const struct mapping *m = w->r->m;
	w->size = file_size(m->v->file);
	w->origin = ranges_page_down(from);
	w->from = w->to = from;
	int ret = 0;
	while (w->to < to && ret == 0) {
		ssize_t n = file_read(m->v->file, m->fd, w->to, w->frame + (w->to - w->origin), (size_t)(to - w->to), err);
		if (n > 0)
			w->to += (uint64_t)n;
		else
			ret = n < 0 ? -1 : err_set(err, ERR_DAMAGED, "the file was cut short while it was open");
	}
	long r = settle(w);
	if (r < 0 && ret == 0)
		ret = err_sys(err, (int)-r, "putting decrypted pages in place");
	return ret;
}

/* ---- a touch ---- */

/*
 * What has to be decrypted so that [page, end) can be put in place: what is not known of it already, and all of the unit that holds the byte that
 * was touched. Of its neighbours on the page no more than that is put in place; file_read() keeps the last few that it read a part of. Empty:
 * nothing.
 */
static void plan(size_t least, const struct range *r, uint64_t touched, uint64_t *from, uint64_t *to)
{
	uint64_t size = file_size(r->m->v->file), page = ranges_page_down(touched), end = page + ranges_page() < size ? page + ranges_page() : size;
	struct fragment known = fragments_look(r->m->id, page);
	*from = page;
	*to = end;
	if (least > 0) { /* all of a block that begins at a multiple of its size, as far as it is r's */
		uint64_t begin = page & ~(uint64_t)(least - 1), last = begin + least;
		*from = begin > r->at ? begin : r->at;
		*to = last < r->at + r->len ? last : r->at + r->len;
		*to = *to < size ? *to : size;
		window_units(r->m->v, from, to);
		return;
	}
	if (known.from < known.to && known.from == page)
		*from = known.to;
	else if (known.from < known.to && known.to == end)
		*to = known.from;
	uint64_t lowest = *from, highest = *to, begin, last;
	if (*from == *to)
		return;
	file_unit(r->m->v->file, lowest, &begin, &last);
	if (begin < *from && (last - begin <= SMALL_UNIT || (touched >= lowest && touched < last)))
		*from = begin;
	file_unit(r->m->v->file, highest - 1, &begin, &last);
	if (last > *to && (last - begin <= SMALL_UNIT || (touched >= begin && touched < highest)))
		*to = last;
}

/* The page cannot be right: from now on it is a SIGBUS. */
static enum window_end give_up(const struct window *w, uint64_t page, const struct err *err)
{
	struct file_extent e;
	struct mapping *m = w->r->m;
	if (err) {
		reads_report(m->v, w->to, err);
		file_extent(m->v->file, w->to, &e);
		if (err->code == ERR_DAMAGED)
			mapping_note_bad(m, e.begin, e.end);
		else
			mapping_note_bad(m, page, page + ranges_page());
	}
	return method_map_empty(w->r->base + (uintptr_t)(page - w->r->at), ranges_page(), w->r->prot, page) < 0 ? WINDOW_LOST : WINDOW_DONE;
}

static void nap(void)
{
	const struct timespec t = { 0, 10 * 1000 * 1000 };
	sys2(SYS_nanosleep, &t, NULL);
}

/* No memory, no descriptor: not the file's fault, and it may pass. */
static bool passes(const struct err *err)
{
	return err->code == ERR_SYSTEM && (err->sys_errno == ENOMEM || err->sys_errno == EAGAIN || err->sys_errno == ENFILE || err->sys_errno == EMFILE);
}

/* guess: nobody waits for the page, and none is given up. */
static enum window_end touch(struct window *w, size_t least, uint64_t touched, bool guess)
{
	struct err err = { 0 };
	uint64_t from, to, page = ranges_page_down(touched), end = page + ranges_page();
	if (mapping_is_bad(w->r->m, page, end))
		return guess ? WINDOW_DONE : give_up(w, page, NULL);
	plan(least, w->r, touched, &from, &to);
	if (guess) {
		fill(w, from, to, &err);
		return WINDOW_DONE;
	}
	if (least > 0 && fill(w, from, to, &err) < 0) /* something there is bad, but perhaps not this page */
		plan(0, w->r, touched, &from, &to);
	for (int tries = 0; !method_now()->present(w->r, page, end) && fill(w, from, to, &err) < 0; tries++) {
		if (!passes(&err) || tries >= 100)
			return method_now()->present(w->r, page, end) ? WINDOW_DONE : give_up(w, page, &err);
		nap();
	}
	return WINDOW_DONE;
}

static enum window_end fill_around(const struct range *r, uintptr_t addr, bool guess)
{
	const struct method *how = method_now();
	uint64_t touched = r->at + (addr - r->base), page = ranges_page_down(touched), end = page + ranges_page(), from, to;
	struct window w = { .r = r };
	size_t least = how->least ? how->least() : 0;
	if (page >= file_size(r->m->v->file)) {
		method_map_empty(r->base + (uintptr_t)(page - r->at), ranges_page(), r->prot, page);
		return WINDOW_DONE;
	}
	if (touched >= file_size(r->m->v->file)) /* in the file's last page, behind its end */
		touched = page;
	plan(least, r, touched, &from, &to);
	uint64_t first = from, last = to; /* whole units: no one else should decrypt one of them meanwhile */
	if (from < to)
		window_units(r->m->v, &first, &last);
	int flight = flight_begin(r, addr, first, last);
	if (flight < 0) {
		struct range now;
		if (!ranges_find(addr, &now))
			return WINDOW_GONE;
		bool same = now.m == r->m && now.base - now.at == r->base - r->at;
		mapping_put(now.m);
		return same ? WINDOW_BUSY : WINDOW_GONE;
	}
	enum window_end ret = WINDOW_DONE;
	uint64_t again_from, again_to;
	plan(least, r, touched, &again_from, &again_to); /* what is known of the page can't change any more */
	if (again_from != from || again_to != to) {
		ret = WINDOW_BUSY;
	} else if (!how->present(r, page, end)) {
		struct staging *s = staging_get();
		if (s) {
			w.frame = s->mem;
			ret = touch(&w, least, touched, guess);
			staging_put(s, (size_t)(w.to - w.origin));
			if (first != from || last != to)
				file_trim(r->m->v->file, NEIGHBOURS);
		} else {
			ret = WINDOW_BUSY;
			nap();
		}
	}
	flight_end(flight);
	how->wake(r, ranges_page_down(first < page ? first : page), ranges_page_up(last > end ? last : end));
	return ret;
}

enum window_end window_touch(const struct range *r, uintptr_t addr)
{
	return fill_around(r, addr, false);
}

void window_first(const struct range *r, uintptr_t addr)
{
	fill_around(r, addr, true);
}

/* A window ends at the first border of a unit behind `window_bytes`, or behind `to`. */
static _Atomic size_t window_bytes = WINDOW_BYTES;

static uint64_t span(const struct view *v, uint64_t from, uint64_t to)
{
	uint64_t end = from, begin;
	while (end < to && end - from < window_bytes)
		file_unit(v->file, end, &begin, &end);
	return end;
}

/* What is of [begin, end) on one page is put in place, or waits for the rest of the page. */
static bool is_known(const struct range *r, uint64_t page, uint64_t begin, uint64_t end)
{
	uint64_t next = page + ranges_page();
	struct fragment known = fragments_look(r->m->id, page);
	if (known.from <= (begin > page ? begin : page) && (end < next ? end : next) <= known.to)
		return true;
	return method_now()->present(r, page, next);
}

/* The unit at `at` was decrypted already: the pages that it has for itself are there, or it has none, and is known on those that it shares. */
static bool is_there(const struct range *r, uint64_t at, uint64_t *end)
{
	uint64_t begin;
	file_unit(r->m->v->file, at, &begin, end);
	uint64_t first = ranges_page_up(begin), last = ranges_page_down(*end);
	if (first < last)
		return method_now()->present(r, first, last);
	return is_known(r, ranges_page_down(begin), begin, *end) && is_known(r, ranges_page_down(*end - 1), begin, *end);
}

/* The units of [from, to) that are not there, in runs. */
static void fill_gaps(struct window *w, uint64_t from, uint64_t to)
{
	struct err err = { 0 };
	uint64_t run = from, end;
	for (uint64_t at = from; at < to; at = end) {
		if (!is_there(w->r, at, &end))
			continue;
		if (run < at)
			fill(w, run, at, &err);
		run = end;
	}
	if (run < to)
		fill(w, run, to, &err);
}

bool window_ahead(const struct mapping *of)
{
	const struct method *how = method_now();
	struct range r;
	struct window w = { .r = &r };
	uint64_t from, to;
	size_t least = how->least ? how->least() : 0;
	atomic_store(&window_bytes, least > WINDOW_BYTES ? least : WINDOW_BYTES);
	int flight = ranges_take_ahead(of, &r, &from, &to, span);
	if (flight < 0)
		return false;
	uint64_t first = ranges_page_up(from), last = ranges_page_down(to);
	struct staging *s = first >= last || !how->present(&r, first, last) ? staging_get() : NULL;
	if (s) {
		w.frame = s->mem;
		fill_gaps(&w, from, to);
		staging_put(s, (size_t)(to - from));
	}
	flight_end(flight);
	how->wake(&r, ranges_page_down(from), ranges_page_up(to));
	return true;
}
