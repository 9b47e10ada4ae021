#include "maps.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "config.h"
#include "eager.h"
#include "lazy.h"
#include "pin.h"
#include "remaps.h"
#include "segv.h"
#include "signals.h"
#include "source.h"
#include "stats.h"
#include "sys.h"

#ifndef MAP_32BIT
#define MAP_32BIT 0 /* x86-64 only */
#endif

static bool failed(long p)
{
	return p < 0 && p > -4096;
}

/* What is asked for. */
struct request {
	struct view *v;
	int fd, prot, type, flags;
	uint64_t at;
	size_t len, in_file; /* whole pages; of them, pages with a byte of the file */
	uintptr_t addr;
	bool fixed, store;
};

/*
 * Kernel's rules for a file mapping, where anonymous memory would be laxer. A shared writable mapping of a descriptor that was asked for
 * with O_RDWR can be read only, a store to it is a SIGSEGV. 0 or an errno.
 */
static int check(struct request *q, size_t len, off_t at)
{
	int type = q->flags & MAP_TYPE;
	uint64_t end, page = ranges_page();
	if (len == 0 || at < 0 || (uint64_t)at % page || (type != MAP_SHARED && type != MAP_PRIVATE && type != MAP_SHARED_VALIDATE))
		return EINVAL;
	if (__builtin_add_overflow((uint64_t)at, len, &end) || end > INT64_MAX)
		return EOVERFLOW;
	if (len > SIZE_MAX - page)
		return ENOMEM;
	q->fixed = (q->flags & MAP_FIXED) && !(q->flags & MAP_FIXED_NOREPLACE);
	if (q->fixed && q->addr % page)
		return EINVAL;
	if (type != MAP_PRIVATE && (q->prot & PROT_WRITE)) {
		if (!views_asked_write(q->fd))
			return EACCES;
		config_log(LOG_WARN, "%s: mapped shared and writable: it can only be read, a store to it raises SIGSEGV", q->v->name);
		q->prot &= ~PROT_WRITE;
		q->store = true;
	}
	q->type = type == MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	q->at = (uint64_t)at;
	q->len = (len + page - 1) / page * page;
	uint64_t size = file_size(q->v->file), rest = q->at < size ? (size - q->at + page - 1) / page * page : 0;
	q->in_file = rest < q->len ? (size_t)rest : q->len;
	return 0;
}

/* Address space: what MAP_FIXED names, or a reservation. -errno. */
static long reserve(const struct request *q)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (q->flags & (MAP_32BIT | MAP_FIXED_NOREPLACE));
	return q->fixed ? (long)q->addr : sys6(SYS_mmap, q->addr, q->len, PROT_NONE, flags, -1, 0);
}

/* ---- filled when touched ---- */

long maps_put(struct mapping *m, uintptr_t base, uint64_t at, size_t len, int prot)
{
	const struct method *how = lazy_method();
	uint64_t size = file_size(m->v->file), page = ranges_page(), rest = at < size ? (size - at + page - 1) / page * page : 0;
	size_t in_file = rest < len ? (size_t)rest : len;
	struct range r = { .base = base, .len = in_file, .at = at, .m = m, .prot = prot, .advice = MADV_NORMAL };
	long e = in_file > 0 ? remaps_put(how, &r) : 0;
	if (e == 0 && in_file < len)
		e = method_map_empty(base + in_file, len - in_file, prot, at + in_file);
	return e;
}

static struct mapping *new_mapping(struct view *v, int type, uint64_t at, size_t len)
{
	int fd = views_source(v, -1);
	struct mapping *m = fd < 0 ? NULL : mapping_new(v, fd, type, at, at + len);
	if (m && lazy_method() == &segv_method) {
		m->pages = source_alloc(len / ranges_page());
		if (!m->pages) {
			mapping_put(m);
			m = NULL;
		}
	}
	return m;
}

long maps_again(struct mapping *old, uintptr_t to, uint64_t at, size_t len, int prot)
{
	struct request q = { .addr = to, .len = len, .fixed = to != 0 };
	struct mapping *m = new_mapping(old->v, old->type, at, len);
	long base = m ? reserve(&q) : -ENOMEM, e = base;
	if (!failed(base)) {
		m->store = old->store;
		e = maps_put(m, (uintptr_t)base, at, len, prot);
		if (e < 0)
			sys2(SYS_munmap, base, len);
	}
	if (m)
		mapping_put(m);
	return e < 0 && failed(e) ? e : base;
}

/* Nothing that would make this way wrong: a handler of someone else's, a driver that pins memory past libc. */
static bool usable(const struct method *how)
{
	if (!how || (how == &segv_method && !signals_held(SIGSEGV)))
		return false;
	return how->serves_kernel || !pin_gpu_mapped();
}

/* The address, or -errno; -ENOTSUP: fill it at once. */
static long map_lazily(const struct request *q)
{
	const struct method *how = lazy_method();
	if (!usable(how))
		return -ENOTSUP;
	struct mapping *m = views_source(q->v, q->fd) < 0 ? NULL : new_mapping(q->v, q->type, q->at, q->len);
	if (!m)
		return -ENOTSUP;
	m->store = q->store;
	m->written = q->prot & PROT_WRITE;
	long base = reserve(q), e = base;
	if (!failed(base)) {
		e = maps_put(m, (uintptr_t)base, q->at, q->len, q->prot);
		if (e < 0 && !q->fixed)
			sys2(SYS_munmap, base, q->len);
	}
	mapping_put(m);
	if (failed(e))
		return e == -ENOMEM || e == -EEXIST ? e : -ENOTSUP;
	if (q->flags & (MAP_POPULATE | MAP_LOCKED))
		lazy_fill((void *)base, q->len); /* NOLINT(performance-no-int-to-ptr) */
	if (q->flags & MAP_LOCKED)
		sys2(SYS_mlock, base, q->len);
	return base;
}

/* ---- filled at once ---- */

static long map_eagerly(const struct request *q)
{
	struct eager made;
	uint64_t size = file_size(q->v->file), rest = q->at < size ? size - q->at : 0;
	long base = 0, e = eager_make(&made, q->v, q->fd, q->at, rest < q->len ? (size_t)rest : q->len);
	if (e == 0) {
		base = reserve(q);
		e = failed(base) ? base : 0;
	}
	if (e == 0) {
		struct change c;
		ranges_change(&c, (uintptr_t)base, (uintptr_t)base + q->len);
		e = eager_place(&made, (uintptr_t)base, q->len, q->prot, q->type | (q->flags & (MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE)));
		if (e == 0)
			ranges_cut((uintptr_t)base, (uintptr_t)base + q->len);
		ranges_change_end(&c);
		if (e < 0 && !q->fixed)
			sys2(SYS_munmap, base, q->len);
	}
	eager_release(&made);
	return e < 0 ? e : base;
}

void *maps_map(struct view *v, int fd, void *addr, size_t len, int prot, int flags, off_t at)
{
	struct request q = { .v = v, .fd = fd, .prot = prot, .flags = flags, .addr = (uintptr_t)addr };
	int saved = errno, why = check(&q, len, at);
	if (why) {
		errno = why;
		return MAP_FAILED;
	}
	long p = map_lazily(&q);
	bool lazily = p != -ENOTSUP;
	if (!lazily)
		p = config.mmap == MMAP_LAZY ? -ENODEV : map_eagerly(&q);
	if (!failed(p)) {
		stats_mapped();
		config_log(LOG_DEBUG, "%s: mapped %zu bytes at offset %lld, %s", v->name, len, (long long)at,
		           lazily ? lazy_name() : "filled at once");
	}
	errno = failed(p) ? (int)-p : saved;
	return failed(p) ? MAP_FAILED : (void *)p; /* NOLINT(performance-no-int-to-ptr): the kernel's answer */
}

const char *maps_method(char *why, size_t cap)
{
	const struct method *how = lazy_method();
	snprintf(why, cap, "%s", lazy_why());
	return how ? how->name : "eager";
}
