#include "deepbind.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "objects.h"
#include "real.h"
#include "sys.h"

#if defined(__x86_64__)
#define JUMP_SLOT R_X86_64_JUMP_SLOT
#define GLOB_DAT R_X86_64_GLOB_DAT
#define ABSOLUTE R_X86_64_64
#elif defined(__aarch64__)
#define JUMP_SLOT R_AARCH64_JUMP_SLOT
#define GLOB_DAT R_AARCH64_GLOB_DAT
#define ABSOLUTE R_AARCH64_ABS64
#endif

/* What of a library's dynamic section is needed. */
struct tables {
	const ElfW(Sym) *symbols;
	const char *names;
	const ElfW(Rela) *calls, *data;
	size_t call_bytes, data_bytes;
};

static const void *address(const struct object *o, ElfW(Addr) a)
{
	return (const void *)(a < o->base ? o->base + a : a); /* NOLINT(performance-no-int-to-ptr): some loaders leave it as it is in the file */
}

static bool read_tables(const struct object *o, struct tables *t)
{
	*t = (struct tables){ 0 };
	for (const ElfW(Dyn) *d = o->dynamic; d && d->d_tag != DT_NULL; d++) {
		switch (d->d_tag) {
		case DT_SYMTAB:
			t->symbols = address(o, d->d_un.d_ptr);
			break;
		case DT_STRTAB:
			t->names = address(o, d->d_un.d_ptr);
			break;
		case DT_JMPREL:
			t->calls = address(o, d->d_un.d_ptr);
			break;
		case DT_PLTRELSZ:
			t->call_bytes = d->d_un.d_val;
			break;
		case DT_RELA:
			t->data = address(o, d->d_un.d_ptr);
			break;
		case DT_RELASZ:
			t->data_bytes = d->d_un.d_val;
			break;
		default:
			break;
		}
	}
	return t->symbols && t->names;
}

/* What the word at *slot must be: a hook, or what it is. A call that was never made leads into the library itself, which finds out later. */
static void *wanted(const struct object *o, const struct tables *t, void *handle, const ElfW(Rela) *r, void *now)
{
	unsigned long type = ELF64_R_TYPE(r->r_info);
	const ElfW(Sym) *symbol = &t->symbols[ELF64_R_SYM(r->r_info)];
	if ((type != JUMP_SLOT && type != GLOB_DAT && type != ABSOLUTE) || symbol->st_shndx != SHN_UNDEF || r->r_addend != 0)
		return now;
	if (type == JUMP_SLOT && (uintptr_t)now >= o->start && (uintptr_t)now < o->end) {
		void *volatile found = handle ? real_dlsym()(handle, t->names + symbol->st_name) : NULL;
		void *hook = real_hook_of(found);
		return hook == found ? now : hook;
	}
	return real_hook_of(now);
}

static _Atomic int writing; /* held over stores alone: never over a call into the loader, whose lock another thread may hold while it waits for this one */

/* Finds out first, asking the loader; then writes. */
static void change(const struct object *o, const struct tables *t, void *handle, const ElfW(Rela) *r, size_t bytes)
{
	size_t n = r ? bytes / sizeof *r : 0, differ = 0;
	void **to = n ? calloc(n, sizeof *to) : NULL;
	for (size_t i = 0; to && i < n; i++) {
		void *now = __atomic_load_n((void **)(o->base + r[i].r_offset), __ATOMIC_RELAXED); /* NOLINT(performance-no-int-to-ptr) */
		to[i] = wanted(o, t, handle, &r[i], now);
		if (to[i] == now)
			to[i] = NULL;
		else
			differ++;
	}
	if (differ) {
		while (atomic_exchange(&writing, 1))
			sys0(SYS_sched_yield);
		if (objects_open(o)) {
			for (size_t i = 0; i < n; i++)
				if (to[i])
					__atomic_store_n((void **)(o->base + r[i].r_offset), to[i], __ATOMIC_RELAXED); /* NOLINT(performance-no-int-to-ptr) */
			objects_close(o);
		}
		atomic_store(&writing, 0);
	}
	free(to);
}

/* The handle comes first: it waits until the object is relocated, since another thread may just be loading it, and keeps it. */
static void bind_to_hooks(const struct object *seen)
{
	struct tables t;
	struct object o;
	void *handle = seen->name[0] ? dlopen(seen->name, RTLD_LAZY | RTLD_NOLOAD) : NULL;
	if (!handle)
		return;
	if (objects_find(seen->dynamic, &o) && o.base == seen->base && read_tables(&o, &t)) {
		change(&o, &t, handle, t.calls, t.call_bytes);
		change(&o, &t, handle, t.data, t.data_bytes);
	}
	dlclose(handle);
}

static bool among(const struct object *o, const struct object *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].base == o->base && list[i].dynamic == o->dynamic)
			return true;
	return false;
}

void *deepbind_open(const char *path, int flags)
{
	void *(*next)(const char *, int) = NULL;
	void *volatile found = real_dlsym()(RTLD_NEXT, "dlopen");
	void *p = found;
	memcpy(&next, &p, sizeof next);
	struct object *before = NULL, *after = NULL;
	size_t known = objects_list(&before), count = 0;
	void *handle = next(path, flags);
	if (handle && before) /* without it everything would look new */
		count = objects_list(&after);
	for (size_t i = 0; i < count; i++)
		if (!among(&after[i], before, known))
			bind_to_hooks(&after[i]);
	free(before);
	free(after);
	return handle;
}
