#include "lazy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "budget.h"
#include "config.h"
#include "err.h"
#include "fragments.h"
#include "pool.h"
#include "segv.h"
#include "signals.h"
#include "source.h"
#include "sys.h"
#include "uffd.h"

_Atomic bool lazy_unserved;

enum { NOT_CHOSEN, CHOOSING, CHOSEN };
static _Atomic int chosen;
static const struct method *_Atomic method; /* NULL: eager */
static char why[256];
static _Atomic uint64_t signalled; /* faults */

/*
 * A page that a child without our knowledge (clone by an inline system call) finds wiped: what it inherited of our tables is in
 * the state of some moment, and the threads are not there.
 */
static _Atomic int *alive;

static bool fault(int signo, const siginfo_t *info, const void *context);

/* ---- the choice ---- */

static void add_why(const char *name, const char *text)
{
	size_t len = strlen(why);
	snprintf(why + len, sizeof why - len, "%s%s: %s", len ? "; " : "", name, text);
}

static const char *uffd_text(int e)
{
	switch (-e) {
	case EPERM:
		return "EPERM (a seccomp filter, or this user may not)";
	case ENOSYS:
		return "ENOSYS (the kernel, or a seccomp filter)";
	default:
		return strerrordesc_np(-e);
	}
}

/* Before there are threads that use it. */
static void use(const struct method *m)
{
	budget_start(m);
	atomic_store(&method, m);
	atomic_store(&lazy_unserved, m && !m->serves_kernel);
}

static const struct method *choose_uffd(void)
{
	bool full = false;
	int e = uffd_start(true, &full);
	if (e == 0) {
		use(full ? &uffd_full : &uffd_user);
		e = pool_start(method, true);
	}
	if (e < 0) {
		add_why("userfaultfd", uffd_text(e));
		return NULL;
	}
	if (!full)
		add_why("userfaultfd in full mode", "EPERM (needs CAP_SYS_PTRACE, /dev/userfaultfd or vm.unprivileged_userfaultfd=1)");
	return full ? &uffd_full : &uffd_user;
}

static const struct method *choose_segv(void)
{
	const char *text = "";
	int e = segv_start(&text);
	if (e == 0)
		e = signals_take(SIGSEGV, fault, &text);
	if (e < 0) {
		add_why("sigsegv", text);
		return NULL;
	}
	use(&segv_method);
	pool_start(&segv_method, false); /* without threads nothing is read ahead */
	return &segv_method;
}

static void choose(void)
{
	const struct method *m = NULL;
	why[0] = '\0';
	if (!alive) {
		alive = source_alloc(ranges_page());
		if (alive)
			sys3(SYS_madvise, alive, ranges_page(), MADV_WIPEONFORK);
	}
	if (config.mmap == MMAP_EAGER) {
		add_why("lazy methods", "CTSHIM_MMAP=eager");
	} else if (!alive || fragments_start() < 0) {
		add_why("lazy methods", "no memory");
	} else {
		atomic_store(alive, 1);
		window_start();
		m = choose_uffd();
		if (!m)
			m = choose_segv();
	}
	if (!m)
		use(NULL);
	config_log(LOG_INFO, "mappings are filled %s%s%s%s", m ? "when they are touched: " : "at once", m ? m->name : "", *why ? "; " : "", why);
}

const struct method *lazy_method(void)
{
	for (;;) {
		int expected = NOT_CHOSEN;
		if (atomic_load(&chosen) == CHOSEN)
			return method;
		if (atomic_compare_exchange_strong(&chosen, &expected, CHOOSING)) {
			choose();
			atomic_store(&chosen, CHOSEN);
			return method;
		}
		struct timespec nap = { 0, 100 * 1000 };
		sys2(SYS_nanosleep, &nap, NULL);
	}
}

const char *lazy_why(void)
{
	return why;
}

const char *lazy_name(void)
{
	const struct method *m = method;
	return atomic_load(&chosen) != CHOSEN ? "none" : m ? m->name : "eager";
}

uint64_t lazy_faults(void)
{
	return pool_faults() + signalled;
}

/* ---- touches ---- */

/* A child that came past our hooks: its tables are made sound before they are used. */
static void check_alive(void)
{
	if (alive && atomic_load(alive) == 0)
		lazy_fork_child(false);
}

static void note(const struct range *r, uintptr_t addr)
{
	const struct file *f = r->m->v->file;
	uint64_t touched = r->at + (addr - r->base), page = touched & ~(uint64_t)(ranges_page() - 1), size = file_size(f);
	if (page >= size)
		return;
	struct ahead_touch t = { .page = page, .page_end = page + ranges_page(), .limit = r->m->end, .most = budget_most(), .advice = r->advice };
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
	if (mapping_touched(r->m, &t))
		pool_poke();
}

enum window_end lazy_touch(const struct range *r, uintptr_t addr, bool again)
{
	if (!again)
		note(r, addr);
	return window_touch(method, r, addr);
}

/* Until the page is there, or isn't ours any more. quietly: it is no touch that reading ahead should follow. */
static void touch_wait(uintptr_t addr, bool quietly)
{
	enum window_end end;
	do {
		struct range r;
		uint32_t seen = flights_seen();
		if (!ranges_find(addr, &r))
			return;
		end = lazy_touch(&r, addr, quietly);
		quietly = true;
		mapping_put(r.m);
		if (end == WINDOW_BUSY)
			flights_wait(seen);
	} while (end == WINDOW_BUSY);
}

/* How many bytes a store makes writable: one page, and more where stores come in order. */
static uint64_t store_block(const struct range *r, uintptr_t addr)
{
	uint64_t page = ranges_page(), block = page;
	while (block < 1u << 20 && addr - r->base >= block && segv_page(r, addr - block) == SEGV_WRITABLE)
		block *= 4;
	return block;
}

/* Stores to filled pages become possible, from the page on. */
static void make_writable(uintptr_t addr)
{
	for (;;) {
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
		int flight = flight_begin(&r, addr, from, to);
		if (flight >= 0) {
			segv_method.writable(&r, from, to);
			flight_end(flight);
		}
		mapping_put(r.m);
		if (flight >= 0)
			return;
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

/* SIGSEGV of a page that is not filled or not to be written yet; SIGBUS in a child without threads (uffd.h). */
static bool fault(int signo, const siginfo_t *info, const void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr;
	struct range r;
	bool write = signals_is_write(context), ours = true;
	check_alive();
	if (!ranges_find(addr, &r))
		return false;
	atomic_fetch_add(&signalled, 1);
	const struct method *how = method;
	uint64_t page = r.at + ((addr - r.base) & ~(uintptr_t)(ranges_page() - 1));
	if (signo == SIGBUS) {
		ours = how && how != &segv_method && page < file_size(r.m->v->file) &&
		       !mapping_is_bad(r.m, page, page + ranges_page());
		if (ours)
			touch_wait(addr, false);
	} else if (how != &segv_method || info->si_code != SEGV_ACCERR || !(r.prot & (write ? PROT_WRITE : PROT_READ | PROT_EXEC))) {
		ours = false;
	} else if (segv_page(&r, addr) == SEGV_UNFILLED) {
		touch_wait(addr, false);
	} else if (write && segv_page(&r, addr) == SEGV_FILLED) {
		make_writable(addr);
	} else {
		protect_again(&r, addr);
	}
	mapping_put(r.m);
	return ours;
}

/* ---- filling for others ---- */

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
			make_writable(r->base + at);
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
			pool_poke();
			while (window_ahead(how, r->m))
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
	const struct method *how = method;
	uintptr_t from = p & ~(uintptr_t)(ranges_page() - 1), to;
	struct range piece, r;
	if (!how || !ranges_near(p, len) || __builtin_add_overflow(p, len, &to))
		return;
	check_alive();
	to = (to + ranges_page() - 1) & ~(uintptr_t)(ranges_page() - 1);
	while (from < to && ranges_next(from, to, &piece)) {
		if (ranges_find(piece.base, &r)) {
			if (r.m == piece.m && (piece.prot & PROT_READ))
				fill_piece(how, &piece, for_write);
			mapping_put(r.m);
		}
		from = piece.base + piece.len;
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

/* ---- fork ---- */

static bool by_uffd(void)
{
	const struct method *m = method;
	return atomic_load(&chosen) == CHOSEN && m && m != &segv_method;
}

void lazy_fork_before(void)
{
	if (by_uffd())
		uffd_fork_before();
}

void lazy_fork_after(void)
{
	if (by_uffd())
		uffd_fork_after();
}

/* A userfaultfd of one's own, and threads or a handler of SIGBUS to answer it. */
static void uffd_again(bool threads)
{
	const char *text = "";
	bool full = false;
	int e = uffd_start(threads, &full);
	if (e == 0 && !threads)
		e = signals_take(SIGBUS, fault, &text);
	use(full ? &uffd_full : &uffd_user);
	if (e == 0 && threads)
		e = pool_start(method, true);
	uffd_fork_child(); /* without a userfaultfd this takes the mappings away: better than zeros */
	if (e < 0)
		config_log(LOG_ERROR, "a child process cannot have mappings filled when they are touched: %s", strerrordesc_np(-e));
}

void lazy_fork_child(bool threads)
{
	ranges_fork_child();
	fragments_fork_child();
	window_fork_child();
	budget_fork_child();
	pool_fork_child();
	signalled = 0;
	if (alive)
		atomic_store(alive, 1);
	if (atomic_load(&chosen) != CHOSEN || !ranges_any()) {
		atomic_store(&chosen, NOT_CHOSEN);
		return;
	}
	if (by_uffd())
		uffd_again(threads);
	else if (method && threads)
		pool_start(method, false);
}
