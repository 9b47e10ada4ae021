#include "deepbind.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "objects.h"
#include "real.h"

#define OBJECTS_MAX 256 /* that one dlopen() brings */

#if defined(__x86_64__)
#define JUMP_SLOT R_X86_64_JUMP_SLOT
#define GLOB_DAT R_X86_64_GLOB_DAT
#define ABSOLUTE R_X86_64_64
#elif defined(__aarch64__)
#define JUMP_SLOT R_AARCH64_JUMP_SLOT
#define GLOB_DAT R_AARCH64_GLOB_DAT
#define ABSOLUTE R_AARCH64_ABS64
#endif

static _Atomic bool coming;
static _Atomic size_t known; /* objects that were loaded before the first that is still to be looked at */

void deepbind_coming(void)
{
	size_t all;
	if (atomic_load(&coming))
		return;
	objects_after(SIZE_MAX, NULL, 0, &all);
	atomic_store(&known, all);
	atomic_store(&coming, true);
}

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

static void change(const struct object *o, const struct tables *t, void *handle, const ElfW(Rela) *r, size_t bytes)
{
	for (size_t i = 0; r && i < bytes / sizeof *r; i++) {
		void **slot = (void **)(o->base + r[i].r_offset); /* NOLINT(performance-no-int-to-ptr) */
		void *now = __atomic_load_n(slot, __ATOMIC_RELAXED), *to = wanted(o, t, handle, &r[i], now);
		if (to != now)
			__atomic_store_n(slot, to, __ATOMIC_RELAXED);
	}
}

static void bind_to_hooks(const struct object *o)
{
	struct tables t;
	if (!o->name[0] || !read_tables(o, &t) || !objects_open(o))
		return;
	void *handle = dlopen(o->name, RTLD_LAZY | RTLD_NOLOAD);
	change(o, &t, handle, t.calls, t.call_bytes);
	change(o, &t, handle, t.data, t.data_bytes);
	objects_close(o);
	if (handle)
		dlclose(handle);
	config_log(LOG_DEBUG, "a library opened with RTLD_DEEPBIND is bound to the hooks");
}

void deepbind_look(void)
{
	size_t all, count;
	if (!atomic_load_explicit(&coming, memory_order_relaxed) || !atomic_exchange(&coming, false))
		return;
	struct object *o = calloc(OBJECTS_MAX, sizeof *o);
	if (!o)
		return;
	count = objects_after(known, o, OBJECTS_MAX, &all);
	for (size_t i = 0; i < count; i++)
		bind_to_hooks(&o[i]);
	free(o);
}
