#include "lazy.h"

#include <sys/mman.h>

#include "budget.h"
#include "choice.h"
#include "segv.h"
#include "touch.h"

_Atomic bool lazy_unserved;

/* The first page of [from, to) of r that is not there; `to` if all are. */
static uint64_t first_missing(const struct method *how, const struct range *r, uint64_t from, uint64_t to)
{
	const uint64_t block = 64 * ranges_page();
	while (from < to) {
		uint64_t end = to - from < block ? to : from + block;
		if (how->present(r, from, end)) {
			from = end;
			continue;
		}
		while (from < end && how->present(r, from, from + ranges_page()))
			from += ranges_page();
		return from;
	}
	return to;
}

/*
 * The kernel will store there: the pages must not be given back before it has. A store that changes nothing makes them the application's.
 */
static void keep_written(const struct method *how, const struct range *r)
{
	for (size_t at = 0; at < r->len; at += ranges_page()) {
		uint8_t *p = (uint8_t *)(r->base + at); /* NOLINT(performance-no-int-to-ptr) */
		if (how == &segv_method) {
			touch_store(r->base + at);
		} else if (how->present(r, r->at + at, r->at + at + ranges_page())) {
			uint8_t byte = __atomic_load_n(p, __ATOMIC_RELAXED);
			__atomic_compare_exchange_n(p, &byte, byte, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
		}
	}
}

static void fill_piece(const struct method *how, const struct range *r, bool for_write)
{
	uint64_t end = r->at + r->len, step = budget_most(), size = file_size(r->m->v->file);
	for (uint64_t from = r->at; from < end;) {
		uint64_t to = end - from < step ? end : from + step, a = from, b = to < size ? to : size;
		if (to - from > WINDOW_BYTES && a < b && first_missing(how, r, from, to) < to) {
			window_units(r->m->v, &a, &b);
			mapping_wants(r->m, a, b);
			flights_poke();
			while (window_ahead(r->m))
				;
		}
		while ((from = first_missing(how, r, from, to)) < to) {
			touch_wait(r->base + (uintptr_t)(from - r->at), true);
			from += ranges_page(); /* there, or given up */
		}
	}
	if (for_write && (r->prot & PROT_WRITE))
		keep_written(how, r);
}

static void fill(uintptr_t p, size_t len, bool for_write)
{
	const struct method *how = method_now();
	uintptr_t from = p & ~(uintptr_t)(ranges_page() - 1), to;
	struct range piece, r;
	if (!how || !ranges_near(p, len) || __builtin_add_overflow(p, len, &to))
		return;
	choice_check();
	to = (to + ranges_page() - 1) & ~(uintptr_t)(ranges_page() - 1);
	while (from < to && ranges_next(from, to, &piece)) {
		from = piece.base + piece.len;
		if (!ranges_find(piece.base, &r)) /* what it says is pinned; the piece may be of the past */
			continue;
		r.at += piece.base - r.base;
		r.len -= piece.base - r.base;
		r.base = piece.base;
		r.len = r.len < piece.len ? r.len : piece.len;
		if (r.prot & (PROT_READ | PROT_WRITE))
			fill_piece(how, &r, for_write);
		mapping_put(r.m);
	}
}

void lazy_fill(const void *p, size_t len)
{
	fill((uintptr_t)p, len, false);
}

void lazy_fill_for_kernel(const void *p, size_t len, bool for_write)
{
	fill((uintptr_t)p, len, for_write);
}

bool lazy_is(const void *p, size_t len)
{
	struct range piece;
	uintptr_t to;
	return ranges_near((uintptr_t)p, len) && !__builtin_add_overflow((uintptr_t)p, len, &to) && ranges_next((uintptr_t)p, to, &piece);
}

size_t lazy_at_once(void)
{
	size_t most = budget_most() / 2 & ~(ranges_page() - 1);
	return most ? most : ranges_page();
}
