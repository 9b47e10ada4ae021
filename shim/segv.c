#include "segv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "memfd.h"
#include "sys.h"
#include "window.h"

#define PIECES_SHARE 8 /* windows may take an eighth of vm.max_map_count, the gaps between them as much */

static size_t pieces = 65530 / PIECES_SHARE;
static _Atomic size_t total;  /* bytes of all ranges */
static _Atomic size_t placed; /* windows, of which some may be gone */

static uint8_t *state_of(const struct range *r, uint64_t at)
{
	return &r->m->pages[(at - r->m->begin) / ranges_page()];
}

enum segv_state segv_page(const struct range *r, uintptr_t addr)
{
	return (enum segv_state)__atomic_load_n(state_of(r, r->at + (addr - r->base)), __ATOMIC_ACQUIRE);
}

/* The run of pages from *at on that have the state of the first, up to `to`; its bytes. */
static size_t run(const struct range *r, uint64_t at, uint64_t to, uint8_t *state)
{
	uint64_t end = at + ranges_page();
	*state = __atomic_load_n(state_of(r, at), __ATOMIC_ACQUIRE);
	while (end < to && __atomic_load_n(state_of(r, end), __ATOMIC_ACQUIRE) == *state)
		end += ranges_page();
	return (size_t)(end - at);
}

static void set(const struct range *r, uint64_t at, size_t len, enum segv_state state)
{
	for (uint64_t end = at + len; at < end; at += ranges_page())
		__atomic_store_n(state_of(r, at), (uint8_t)state, __ATOMIC_RELEASE);
}

static uintptr_t address(const struct range *r, uint64_t at)
{
	return r->base + (uintptr_t)(at - r->at);
}

/* What is writable can be read as well, and a filled page must be. */
static int filled_prot(const struct range *r)
{
	return r->prot & PROT_WRITE ? (r->prot & ~PROT_WRITE) | PROT_READ : r->prot;
}

int segv_start(const char **why)
{
	struct rlimit limit;
	char buf[32] = "";
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < 4 * (rlim_t)FILE_UNIT_MAX) { /* else writing a window raises SIGXFSZ */
		*why = "the file size limit (ulimit -f) is below 16 MiB";
		return -EFBIG;
	}
	long fd = memfd_empty();
	if (fd < 0) {
		*why = "no file in memory (memfd_create)";
		return (int)fd;
	}
	fd = sys4(SYS_openat, AT_FDCWD, "/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC, 0);
	if (fd >= 0) {
		if (sys3(SYS_read, fd, buf, sizeof buf - 1) > 0 && atol(buf) >= PIECES_SHARE)
			pieces = (size_t)atol(buf) / PIECES_SHARE;
		sys_close((int)fd);
	}
	return 0;
}

static void add_length(struct range *r, void *sum)
{
	*(size_t *)sum += r->len;
}

/* Pieces of memory that the process has. */
static size_t count_pieces(void)
{
	char buf[4096];
	size_t lines = 0;
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0), n;
	while (fd >= 0 && (n = sys3(SYS_read, fd, buf, sizeof buf)) > 0)
		for (long i = 0; i < n; i++)
			lines += buf[i] == '\n';
	if (fd >= 0)
		sys_close((int)fd);
	return lines;
}

static size_t segv_least(void)
{
	size_t least = ranges_page();
	if (atomic_load_explicit(&placed, memory_order_relaxed) < pieces)
		return 0;
	if (atomic_load(&placed) < 2 * pieces) { /* many: but how many are left? asked once */
		size_t left = count_pieces() / 2; /* a window and the gap behind it */
		atomic_store(&placed, left < pieces ? left : 2 * pieces);
		if (left < pieces)
			return 0;
	}
	while (least < total / pieces && least < WINDOW_LEAST_MAX)
		least *= 2;
	return least;
}

/* The state first: a child of this moment may fill anew what is there, but would wait for ever for what is said to be and is not. */
static long unfill(const struct range *r, uint64_t at, size_t len)
{
	set(r, at, len, SEGV_UNFILLED);
	return method_map_empty(address(r, at), len, PROT_NONE, at);
}

static long segv_reserve(const struct range *r)
{
	size_t sum = r->len;
	ranges_each(add_length, &sum);
	atomic_store(&total, sum);
	return unfill(r, r->at, r->len);
}

/* Without a descriptor, where the host has left none: made elsewhere, and moved there whole. 0 or -errno. */
static long place_anonymous(uintptr_t at, const uint8_t *src, size_t len, int prot)
{
	long p = sys6(SYS_mmap, 0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sys_failed(p))
		return p;
	memcpy((void *)p, src, len); /* NOLINT(performance-no-int-to-ptr) */
	long e = sys3(SYS_mprotect, p, len, prot);
	if (e == 0)
		e = sys5(SYS_mremap, p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at);
	if (!sys_failed(e))
		return 0;
	sys2(SYS_munmap, p, len);
	return e;
}

static long segv_place(const struct range *r, uint64_t from, uint64_t to, const uint8_t *src)
{
	long fd = -1, e = 0, new = 0;
	size_t len;
	uint8_t state;
	for (uint64_t at = from; at < to && e == 0; at += len) {
		len = run(r, at, to, &state);
		if (state != SEGV_UNFILLED)
			continue;
		if (fd < 0)
			fd = memfd_new("ctshim");
		e = fd < 0 ? 0 : memfd_write((int)fd, src + (at - from), len, at - from);
		if (fd < 0)
			e = place_anonymous(address(r, at), src + (at - from), len, filled_prot(r));
		else if (e == 0)
			e = sys6(SYS_mmap, address(r, at), len, filled_prot(r), MAP_PRIVATE | MAP_FIXED, fd, at - from);
		if (sys_failed(e))
			break;
		e = 0;
		sys3(SYS_madvise, address(r, at), len, MADV_DONTDUMP);
		set(r, at, len, SEGV_FILLED);
		atomic_fetch_add(&placed, 1);
		new += (long)len;
	}
	if (fd >= 0)
		sys_close((int)fd);
	return e < 0 ? e : new;
}

static bool segv_present(const struct range *r, uint64_t from, uint64_t to)
{
	if (from < r->at)
		from = r->at;
	if (to > r->at + r->len)
		to = r->at + r->len;
	for (; from < to; from += ranges_page())
		if (__atomic_load_n(state_of(r, from), __ATOMIC_ACQUIRE) == SEGV_UNFILLED)
			return false;
	return true;
}

static void segv_wake(const struct range *r, uint64_t from, uint64_t to)
{
	(void)r, (void)from, (void)to; /* who waits does so in flights_wait() */
}

static long segv_drop(const struct range *r, uint64_t from, uint64_t to, bool all)
{
	size_t len;
	uint8_t state;
	long e = 0;
	for (uint64_t at = from; at < to && e == 0; at += len) {
		len = run(r, at, to, &state);
		if (state == SEGV_FILLED || (all && state == SEGV_WRITABLE))
			e = unfill(r, at, len);
	}
	return e;
}

static long segv_protect(const struct range *r)
{
	size_t len;
	uint8_t state;
	long e = 0;
	for (uint64_t at = r->at; at < r->at + r->len && e == 0; at += len) {
		len = run(r, at, r->at + r->len, &state);
		if (state != SEGV_UNFILLED)
			e = sys3(SYS_mprotect, address(r, at), len, state == SEGV_FILLED ? filled_prot(r) : r->prot);
	}
	return e;
}

static void segv_writable(const struct range *r, uint64_t from, uint64_t to)
{
	size_t len;
	uint8_t state;
	for (uint64_t at = from; at < to; at += len) {
		len = run(r, at, to, &state);
		if (state != SEGV_FILLED)
			continue;
		set(r, at, len, SEGV_WRITABLE); /* first: a child of this moment must not give back what it writes */
		if (sys3(SYS_mprotect, address(r, at), len, r->prot) < 0)
			set(r, at, len, SEGV_FILLED);
		else
			atomic_fetch_add(&placed, 1); /* a piece more, and the rest of the one it was cut from */
	}
}

/* What was written page by page, since windows are pieces of their own; the rest is filled anew where it is touched. */
static long segv_move(const struct range *r, const struct range *to)
{
	size_t page = ranges_page(), len;
	uint8_t state;
	long e = method_map_empty(to->base, to->len, PROT_NONE, to->at);
	for (uint64_t at = r->at, end = r->at + r->len; at < end && !sys_failed(e); at += len) {
		len = run(r, at, end, &state);
		if (state == SEGV_WRITABLE) {
			len = page;
			e = sys5(SYS_mremap, address(r, at), page, page, MREMAP_MAYMOVE | MREMAP_FIXED, address(to, at));
		} else {
			set(r, at, len, SEGV_UNFILLED);
			e = sys2(SYS_munmap, address(r, at), len);
		}
	}
	return sys_failed(e) ? e : 0;
}

const struct method segv_method = {
	"sigsegv", false, false, segv_least, segv_reserve, segv_place, segv_present, segv_wake, segv_drop, segv_protect, segv_writable, segv_move,
};
