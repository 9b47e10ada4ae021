#include "remaps.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "areas.h"
#include "budget.h"
#include "choice.h"
#include "lazy.h"
#include "real.h"
#include "sys.h"
#include "window.h"

/* The end of the pages of [addr, addr + len). false: there's no such range of addresses; the kernel will say what is wrong with it. */
static bool pages(const void *addr, size_t len, uintptr_t *from, uintptr_t *to)
{
	*from = (uintptr_t)addr;
	if (len == 0 || *from != ranges_page_down(*from) || __builtin_add_overflow(*from, len, to) || *to > UINTPTR_MAX - ranges_page())
		return false;
	*to = ranges_page_down(*to + ranges_page() - 1);
	return true;
}

static int answer(long r)
{
	return (int)real_answer(r);
}

int remaps_munmap(void *addr, size_t len)
{
	struct change c;
	uintptr_t from, to;
	if (!pages(addr, len, &from, &to))
		return answer(sys2(SYS_munmap, addr, len));
	ranges_change(&c, from, to);
	long r = ranges_split(from, to); /* no room for that: nothing must happen that the table could not say */
	if (r == 0)
		r = sys2(SYS_munmap, addr, len);
	if (r == 0)
		r = areas_forget(from, to);
	ranges_change_end(&c);
	return answer(r);
}

void *remaps_mmap_over(void *addr, size_t len, int prot, int flags, int fd, off_t at)
{
	struct change c;
	uintptr_t from, to;
	if (!pages(addr, len, &from, &to))
		return real.mmap(addr, len, prot, flags, fd, at);
	ranges_change(&c, from, to);
	long e = ranges_split(from, to);
	void *p = e < 0 ? (void *)real_answer(e) : real.mmap(addr, len, prot, flags, fd, at); /* NOLINT(performance-no-int-to-ptr) */
	if (p != MAP_FAILED)
		areas_forget(from, to);
	ranges_change_end(&c);
	return p;
}

void *remaps_mremap_over(void *old, size_t old_len, size_t len, int flags, void *to)
{
	struct change c;
	uintptr_t from, stop;
	if (!pages(to, len, &from, &stop))
		return (void *)real_answer(sys5(SYS_mremap, old, old_len, len, flags, to)); /* NOLINT(performance-no-int-to-ptr) */
	ranges_change(&c, from, stop);
	long p = ranges_split(from, stop);
	if (p == 0)
		p = sys5(SYS_mremap, old, old_len, len, flags, to);
	if (p == (long)from)
		areas_forget(from, stop);
	ranges_change_end(&c);
	return (void *)real_answer(p); /* NOLINT(performance-no-int-to-ptr) */
}

/* A shared mapping of a file that was opened to be read can't become writable. */
static bool may_protect(uintptr_t from, uintptr_t to, int prot)
{
	struct range piece;
	for (; from < to && ranges_next(from, to, &piece); from = piece.base + piece.len)
		if ((prot & PROT_WRITE) && piece.m->type == MAP_SHARED && !piece.m->store)
			return false;
	return true;
}

int remaps_mprotect(void *addr, size_t len, int prot)
{
	struct change c;
	struct range piece;
	uintptr_t from, to;
	const struct method *how = choice_method();
	if (!how || !pages(addr, len, &from, &to) || (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC)))
		return answer(sys3(SYS_mprotect, addr, len, prot));
	long r = 0;
	ranges_change(&c, from, to);
	if (!may_protect(from, to, prot))
		r = -EACCES;
	for (uintptr_t at = from; at < to && r == 0;) {
		bool ours = ranges_next(at, to, &piece);
		uintptr_t stop = ours ? piece.base : to;
		if (at < stop) { /* not a view's */
			r = sys3(SYS_mprotect, at, stop - at, prot);
			at = stop;
			continue;
		}
		piece.prot = piece.m->store ? prot & ~PROT_WRITE : prot;
		if (piece.prot & PROT_WRITE)
			piece.m->written = true;
		r = ranges_set(piece.base, piece.base + piece.len, RANGES_PROT, piece.prot);
		if (r == 0)
			r = how->protect(&piece);
		at = piece.base + piece.len;
	}
	ranges_change_end(&c);
	return answer(r);
}

/* ---- mremap ---- */

/* Moves [r->base, r->base + r->len) to `to`, where there's a reservation; len new bytes of the file in all. */
static long move(const struct range *r, uintptr_t to, size_t len)
{
	struct change c;
	const struct method *how = choice_method();
	struct range there = *r;
	there.base = to;
	ranges_change(&c, r->base, r->base + r->len);
	long e = how->move(r, &there);
	if (e == 0)
		e = ranges_add(&there);
	if (e == 0)
		e = areas_forget(r->base, r->base + r->len);
	ranges_change_end(&c);
	if (e == 0 && len > r->len)
		e = areas_put(r->m, to + r->len, r->at + r->len, len - r->len, r->prot);
	return e;
}

static long remap(uintptr_t old, size_t old_len, size_t len, int flags, uintptr_t to)
{
	struct range r;
	if (!ranges_next(old, old + ranges_page(), &r) || r.base != old)
		return -EFAULT;
	if (old_len == 0) { /* a second mapping of the same: only of shared ones */
		if (r.m->type != MAP_SHARED || !(flags & MREMAP_MAYMOVE))
			return -EINVAL;
		return areas_again(r.m, flags & MREMAP_FIXED ? to : 0, r.at, len, r.prot);
	}
	if (!ranges_next(old, old + old_len, &r) || r.len != old_len)
		return -EFAULT; /* several mappings, or protections, in one call */
	if (!(flags & MREMAP_FIXED)) {
		if (len <= old_len) {
			long e = len < old_len ? remaps_munmap((void *)(old + len), old_len - len) : 0; /* NOLINT(performance-no-int-to-ptr) */
			return e < 0 ? -errno : (long)old;
		}
		long more = areas_reserve(old + old_len, len - old_len, MAP_FIXED_NOREPLACE);
		if (more == (long)(old + old_len)) {
			long e = areas_put(r.m, old + old_len, r.at + old_len, len - old_len, r.prot);
			return e < 0 ? e : (long)old;
		}
		if (more > 0)
			sys2(SYS_munmap, more, len - old_len);
		if (!(flags & MREMAP_MAYMOVE))
			return -ENOMEM;
	}
	if (len < r.len)
		r.len = len;
	const int reservation = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	long p;
	if (flags & MREMAP_FIXED) {
		if (to != ranges_page_down(to) || (to < old + old_len && old < to + len))
			return -EINVAL;
		p = (long)remaps_mmap_over((void *)to, len, PROT_NONE, reservation | MAP_FIXED, -1, 0); /* NOLINT(performance-no-int-to-ptr) */
		if (p == -1)
			return -errno;
	} else {
		p = sys6(SYS_mmap, 0, len, PROT_NONE, reservation, -1, 0);
		if (sys_failed(p))
			return p;
	}
	long e = move(&r, (uintptr_t)p, len);
	if (e == 0 && len < old_len)
		e = remaps_munmap((void *)(old + len), old_len - len) < 0 ? -errno : 0; /* NOLINT(performance-no-int-to-ptr) */
	return e < 0 ? e : p;
}

void *remaps_mremap(void *old, size_t old_len, size_t len, int flags, void *to)
{
	uintptr_t from, stop;
	int saved = errno;
	if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)) || ((flags & MREMAP_FIXED) && !(flags & MREMAP_MAYMOVE)) ||
	    !pages(old, len, &from, &stop) || (old_len > 0 && !pages(old, old_len, &from, &stop))) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	size_t page = ranges_page();
	long r = remap((uintptr_t)old, (old_len + page - 1) / page * page, (len + page - 1) / page * page, flags, (uintptr_t)to);
	errno = sys_failed(r) ? (int)-r : saved;
	return sys_failed(r) ? MAP_FAILED : (void *)r; /* NOLINT(performance-no-int-to-ptr) */
}

/* ---- advice ---- */

static void want(uintptr_t from, uintptr_t to, bool wants)
{
	struct range piece;
	for (; from < to && ranges_next(from, to, &piece); from = piece.base + piece.len) {
		uint64_t size = file_size(piece.m->v->file), a = piece.at, b = piece.at + piece.len < size ? piece.at + piece.len : size;
		if (a >= b)
			continue;
		if (wants) {
			window_units(piece.m->v, &a, &b);
			mapping_wants(piece.m, a, b);
		} else {
			mapping_wants_not(piece.m, a, b);
		}
	}
	flights_poke();
}

static long dont_need(uintptr_t from, uintptr_t to)
{
	struct range piece;
	const struct method *how = choice_method();
	long r = 0;
	for (; from < to && r == 0 && ranges_next(from, to, &piece); from = piece.base + piece.len) {
		if (from < piece.base)
			r = sys3(SYS_madvise, from, piece.base - from, MADV_DONTNEED);
		if (r == 0)
			r = how->drop(&piece, piece.at, piece.at + piece.len, true);
	}
	if (from < to && r == 0)
		r = sys3(SYS_madvise, from, to - from, MADV_DONTNEED);
	return r;
}

static long advise(uintptr_t from, uintptr_t to, int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
		return ranges_set(from, to, RANGES_ADVICE, advice);
	case MADV_DONTNEED:
		want(from, to, false);
		budget_forget(from, to - from);
		return dont_need(from, to);
	case MADV_DONTFORK:
	case MADV_DOFORK: /* the memory itself stays out of children that our hooks don't see */
		return ranges_set(from, to, RANGES_NO_FORK, advice == MADV_DONTFORK);
	case MADV_KEEPONFORK:
	case MADV_DONTDUMP:
	case MADV_DODUMP: /* plaintext never goes into a core dump */
		return 0;
	case MADV_FREE:
	case MADV_WIPEONFORK:
	case MADV_REMOVE: /* a file that was opened to be read */
		return advice == MADV_REMOVE ? -EACCES : -EINVAL;
	default:
		return sys3(SYS_madvise, from, to - from, advice);
	}
}

int remaps_madvise(void *addr, size_t len, int advice)
{
	struct change c;
	uintptr_t from, to;
	if (!choice_method() || !pages(addr, len, &from, &to))
		return answer(sys3(SYS_madvise, addr, len, advice));
	if (advice == MADV_WILLNEED) {
		want(from, to, true);
		return answer(sys3(SYS_madvise, addr, len, advice)); /* its errors; it has nothing to read */
	}
#ifdef MADV_POPULATE_READ
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) {
		if (advice == MADV_POPULATE_READ)
			lazy_fill(addr, len);
		else
			lazy_fill_for_kernel(addr, len, true);
		return answer(sys3(SYS_madvise, addr, len, advice));
	}
#endif
	ranges_change(&c, from, to);
	long r = advise(from, to, advice);
	ranges_change_end(&c);
	return answer(r);
}

int remaps_mlock(const void *addr, size_t len, bool on_fault)
{
	const struct method *how = choice_method();
	if (how && !how->serves_kernel && !on_fault)
		lazy_fill(addr, len);
	return answer(on_fault ? sys3(SYS_mlock2, addr, len, 1 /* MLOCK_ONFAULT */) : sys2(SYS_mlock, addr, len));
}
