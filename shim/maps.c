#include "maps.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "areas.h"
#include "choice.h"
#include "config.h"
#include "eager.h"
#include "lazy.h"
#include "pin.h"
#include "remaps.h"
#include "segv.h"
#include "signals.h"
#include "stats.h"
#include "sys.h"

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

/* ---- filled when touched ---- */

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
	const struct method *how = choice_method();
	if (!usable(how))
		return -ENOTSUP;
	struct mapping *m = views_source(q->v, q->fd) < 0 ? NULL : areas_mapping(q->v, q->type, q->at, q->len);
	if (!m)
		return -ENOTSUP;
	m->store = q->store;
	m->written = q->prot & PROT_WRITE;
	long base = areas_reserve(q->addr, q->len, q->flags), e = base;
	if (!sys_failed(base)) {
		e = areas_put(m, (uintptr_t)base, q->at, q->len, q->prot);
		if (e < 0 && !q->fixed)
			sys2(SYS_munmap, base, q->len);
	}
	mapping_put(m);
	if (sys_failed(e))
		return e == -ENOMEM || e == -EEXIST ? e : -ENOTSUP;
	if (q->store)
		choice_explain_stores();
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
		base = areas_reserve(q->addr, q->len, q->flags);
		e = sys_failed(base) ? base : 0;
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
	if (!lazily && config.mmap == MMAP_LAZY) {
		config_log(LOG_ERROR, "%s: ENODEV: no way to fill pages when they are touched, and CTSHIM_MMAP=lazy forbids filling all at once; "
		           "ct doctor says why: %s", v->name, choice_why());
		p = -ENODEV;
	} else if (!lazily) {
		p = map_eagerly(&q);
	}
	if (!sys_failed(p)) {
		stats_mapped();
		config_log(LOG_DEBUG, "%s: mapped %zu bytes at offset %lld, %s", v->name, len, (long long)at,
		           lazily ? choice_name() : "filled at once");
	}
	errno = sys_failed(p) ? (int)-p : saved;
	return sys_failed(p) ? MAP_FAILED : (void *)p; /* NOLINT(performance-no-int-to-ptr): the kernel's answer */
}

const char *maps_method(char *why, size_t cap)
{
	const struct method *how = choice_method();
	snprintf(why, cap, "%s", choice_why());
	return how ? how->name : "eager";
}
