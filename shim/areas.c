#include "areas.h"

#include <errno.h>
#include <sys/mman.h>

#include "budget.h"
#include "method.h"
#include "segv.h"
#include "source.h"
#include "sys.h"

#ifndef MAP_32BIT
#define MAP_32BIT 0 /* x86-64 only */
#endif

long areas_forget(uintptr_t from, uintptr_t to)
{
	budget_forget(from, to - from);
	return ranges_cut(from, to);
}

long areas_put(struct mapping *m, uintptr_t base, uint64_t at, size_t len, int prot)
{
	struct change c;
	uint64_t size = file_size(m->v->file), page = ranges_page(), rest = at < size ? (size - at + page - 1) / page * page : 0;
	size_t in_file = rest < len ? (size_t)rest : len;
	struct range r = { .base = base, .len = in_file, .at = at, .m = m, .prot = prot, .advice = MADV_NORMAL };
	ranges_change(&c, base, base + len);
	long e = areas_forget(base, base + len);
	if (e == 0 && in_file > 0)
		e = method_now()->reserve(&r);
	if (e == 0 && in_file > 0)
		e = ranges_add(&r);
	if (e == 0 && in_file < len) /* as behind the end of a file */
		e = method_map_empty(base + in_file, len - in_file, prot, at + in_file);
	ranges_change_end(&c);
	return e;
}

long areas_reserve(uintptr_t at, size_t len, int flags)
{
	if ((flags & MAP_FIXED) && !(flags & MAP_FIXED_NOREPLACE)) /* it is replaced when there is something to replace it by */
		return (long)at;
	return sys6(SYS_mmap, at, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (flags & (MAP_32BIT | MAP_FIXED_NOREPLACE)), -1, 0);
}

struct mapping *areas_mapping(struct view *v, int type, uint64_t at, size_t len)
{
	int fd = views_source(v, -1);
	struct mapping *m = fd < 0 ? NULL : mapping_new(v, fd, type, at, at + len);
	if (m && method_now() == &segv_method) {
		m->pages = source_alloc(mapping_states(m));
		if (!m->pages) {
			mapping_put(m);
			m = NULL;
		}
	}
	return m;
}

long areas_again(struct mapping *old, uintptr_t to, uint64_t at, size_t len, int prot)
{
	struct mapping *m = areas_mapping(old->v, old->type, at, len);
	long base = m ? areas_reserve(to, len, to ? MAP_FIXED : 0) : -ENOMEM, e = base;
	if (!sys_failed(base)) {
		m->store = old->store;
		e = areas_put(m, (uintptr_t)base, at, len, prot);
		if (e < 0)
			sys2(SYS_munmap, base, len);
	}
	if (m)
		mapping_put(m);
	return e < 0 && sys_failed(e) ? e : base;
}
