#include "touch.h"

#include <sys/mman.h>

#include "budget.h"
#include "config.h"
#include "segv.h"
#include "signals.h"
#include "window.h"

#define FIRSTS_MAX 32u        /* tensors whose first bytes are filled before they are touched, */
#define FIRSTS_BYTES (16u << 20) /* with so much of them at most */

static _Atomic uint64_t signalled; /* faults that came by a signal */

/* Where the unit before the page begins if it is there, else the page. */
static uint64_t there_before(const struct range *r, uint64_t page)
{
	uint64_t begin, end;
	if (page <= r->at)
		return page;
	file_unit(r->m->v->file, page - 1, &begin, &end);
	uint64_t first = ranges_page_up(begin);
	return first < page && method_now()->present(r, first, page) ? begin : page;
}

/* The first byte of a tensor was touched. Where a chunk is too big to keep, a byte of it costs the whole: nobody pays that for a guess. */
static bool note_first(struct mapping *m, const struct file_extent *e, uint64_t most)
{
	const struct header *h = file_header(m->v->file);
	uint64_t chunk = e->end - e->begin;
	if (chunk > FILE_UNIT_MAX || chunk == 0)
		return false;
	most = (most < FIRSTS_BYTES ? most : FIRSTS_BYTES) / chunk;
	return mapping_first(m, (uint32_t)(e->tensor - h->tensors), most < FIRSTS_MAX ? (uint32_t)most : FIRSTS_MAX, (uint32_t)h->count);
}

bool touch_first(void)
{
	struct range r;
	uintptr_t addr;
	struct file_extent e, before;
	if (!ranges_take_first(&r, &addr))
		return false;
	uint64_t at = r.at + (addr - r.base);
	file_extent(r.m->v->file, at, &e);
	file_extent(r.m->v->file, ranges_page_down(at), &before); /* what it shares its page with */
	if (e.end - e.begin <= FILE_UNIT_MAX && before.end - before.begin <= FILE_UNIT_MAX)
		window_first(&r, addr);
	mapping_put(r.m);
	return true;
}

static void note(const struct range *r, uintptr_t addr)
{
	const struct file *f = r->m->v->file;
	uint64_t touched = r->at + (addr - r->base), page = touched & ~(uint64_t)(ranges_page() - 1), size = file_size(f);
	if (page >= size)
		return;
	struct ahead_touch t = { .page = page, .before = there_before(r, page), .page_end = page + ranges_page(), .limit = r->m->end,
		                     .most = budget_most(), .advice = r->advice };
	if (t.page_end > size)
		t.page_end = size;
	if (t.limit > size)
		t.limit = size;
	struct file_extent e;
	file_extent(f, touched < t.page_end ? touched : page, &e);
	t.tensor_end = e.tensor_end;
	uint64_t begin;
	file_unit(f, touched < size ? touched : page, &begin, &t.unit_end);
	if (t.unit_end < t.page_end)
		t.unit_end = t.page_end;
	file_unit(f, t.unit_end - 1, &begin, &t.ahead);
	bool more = mapping_touched(r->m, &t);
	if (e.tensor && touched == e.begin && e.chunk == 0 && r->advice != MADV_RANDOM)
		more |= note_first(r->m, &e, t.most);
	if (more)
		flights_poke();
}

enum window_end touch_once(const struct range *r, uintptr_t addr, bool again)
{
	if (!again)
		note(r, addr);
	return window_touch(r, addr);
}

bool touch_wait(uintptr_t addr, bool quietly)
{
	enum window_end end;
	do {
		struct range r;
		uint32_t seen = flights_seen();
		if (!ranges_find(addr, &r))
			return true;
		end = touch_once(&r, addr, quietly);
		quietly = true;
		mapping_put(r.m);
		if (end == WINDOW_BUSY)
			flights_wait(seen);
	} while (end == WINDOW_BUSY);
	return end != WINDOW_LOST;
}

/* How many bytes a store makes writable: one page, and more where stores come in order, or pieces of memory run short. */
static uint64_t store_block(const struct range *r, uintptr_t addr)
{
	uint64_t page = ranges_page(), block = page, least = segv_method.least();
	while (block < 1u << 20 && addr - r->base >= block && segv_page(r, addr - block) == SEGV_WRITABLE)
		block *= 4;
	return block > least ? block : least;
}

/* Widens [*from, *to) to all filled pages around it. */
static void all_filled(const struct range *r, uint64_t *from, uint64_t *to)
{
	const uint64_t page = ranges_page();
	while (*from > r->at && segv_page(r, r->base + (uintptr_t)(*from - page - r->at)) == SEGV_FILLED)
		*from -= page;
	while (*to < r->at + r->len && segv_page(r, r->base + (uintptr_t)(*to - r->at)) == SEGV_FILLED)
		*to += page;
}

/* Where the process may have no more pieces of memory (vm.max_map_count), all filled pages around as well: that cuts nothing. */
void touch_store(uintptr_t addr)
{
	for (bool all = false;;) {
		struct range r;
		uint32_t seen = flights_seen();
		if (!ranges_find(addr, &r))
			return;
		if (segv_page(&r, addr) != SEGV_FILLED) {
			mapping_put(r.m);
			return;
		}
		uint64_t from = r.at + ((addr - r.base) & ~(uintptr_t)(ranges_page() - 1)), to = from + store_block(&r, addr);
		to = to < r.at + r.len ? to : r.at + r.len;
		if (all)
			all_filled(&r, &from, &to);
		bool done = false;
		int flight = flight_begin(&r, addr, from, to);
		if (flight >= 0) {
			segv_method.writable(&r, from, to);
			done = all || segv_page(&r, addr) != SEGV_FILLED;
			all = true;
			flight_end(flight);
		}
		mapping_put(r.m);
		if (done)
			return;
		if (flight < 0)
			flights_wait(seen);
	}
}

/*
 * A page that is there, and may be accessed so: another thread was faster; or this is a child of a moment when mprotect() was under way.
 */
static void protect_again(const struct range *r, uintptr_t addr)
{
	struct range page = *r;
	page.base = addr & ~(uintptr_t)(ranges_page() - 1);
	page.at += page.base - r->base;
	page.len = ranges_page();
	int flight = flight_begin(r, addr, page.at, page.at);
	if (flight < 0)
		return;
	if (segv_page(&page, page.base) != SEGV_UNFILLED)
		segv_method.protect(&page);
	flight_end(flight);
}

bool touch_fault(int signo, const siginfo_t *info, const void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr;
	struct range r;
	bool write = signals_is_write(context), ours = true;
	if (!ranges_find(addr, &r))
		return false;
	atomic_fetch_add(&signalled, 1);
	const struct method *how = method_now();
	if (signo == SIGSEGV && write && r.m->store && !atomic_exchange(&r.m->stored, true))
		config_log(LOG_ERROR, "%s: a store to a shared mapping: SIGSEGV, since encrypted files can only be read; map it MAP_PRIVATE to change what "
		           "only this program sees", r.m->v->name);
	uint64_t page = r.at + ((addr - r.base) & ~(uintptr_t)(ranges_page() - 1));
	if (signo == SIGBUS) {
		ours = how && how != &segv_method && page < file_size(r.m->v->file) &&
		       !mapping_is_bad(r.m, page, page + ranges_page());
		if (ours)
			ours = touch_wait(addr, false);
	} else if (how != &segv_method || info->si_code != SEGV_ACCERR || !(r.prot & (write ? PROT_WRITE : PROT_READ | PROT_WRITE | PROT_EXEC))) {
		ours = false;
	} else if (segv_page(&r, addr) == SEGV_UNFILLED) {
		ours = touch_wait(addr, false);
	} else if (write && segv_page(&r, addr) == SEGV_FILLED) {
		touch_store(addr);
	} else {
		protect_again(&r, addr);
	}
	mapping_put(r.m);
	return ours;
}

uint64_t touch_faults(void)
{
	return signalled;
}

void touch_fork_child(void)
{
	signalled = 0;
}
