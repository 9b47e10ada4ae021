#include "pin.h"

#include <dlfcn.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "config.h"
#include "lazy.h"
#include "real.h"

#define NOT_FOUND 500 /* CUDA_ERROR_NOT_FOUND */

/* cudaError_t and CUresult are ints, 0 is success. */
typedef int (*register_fn)(void *p, size_t len, unsigned int flags);
/* The older one has no `status`; one more argument in a register does it no harm. */
typedef int (*proc_fn)(const char *symbol, void **function, int version, uint64_t flags, void *status);

/* POSIX lets dlsym's answer become a function only through memory. */
union function {
	void *p;
	register_fn reg;
	proc_fn proc;
};

/* The real functions behind the wrappers of each kind; once set, never changed. */
static _Atomic(void *) registers[PIN_MAX], procs[PIN_MAX];

static void *wrapped(const char *name, void *function);

static int do_register(int slot, void *p, size_t len, unsigned int flags)
{
	union function real_one = { atomic_load(&registers[slot]) };
	lazy_prepare(p, len, true);
	return real_one.reg(p, len, flags);
}

static int do_proc(int slot, const char *symbol, void **function, int version, uint64_t flags, void *status)
{
	union function real_one = { atomic_load(&procs[slot]) };
	int r = real_one.proc(symbol, function, version, flags, status);
	if (r == 0 && symbol && function && *function && pin_wants(symbol))
		*function = wrapped(symbol, *function);
	return r;
}

#define SLOTS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

#define WRAPPERS(n) \
	static int register_##n(void *p, size_t len, unsigned int flags) \
	{ \
		return do_register(n, p, len, flags); \
	} \
	static int proc_##n(const char *symbol, void **function, int version, uint64_t flags, void *status) \
	{ \
		return do_proc(n, symbol, function, version, flags, status); \
	}
SLOTS(WRAPPERS)

#define REGISTER_NAME(n) register_##n,
#define PROC_NAME(n) proc_##n,
static const register_fn register_wrappers[PIN_MAX] = { SLOTS(REGISTER_NAME) };
static const proc_fn proc_wrappers[PIN_MAX] = { SLOTS(PROC_NAME) };

/* The slot that holds `function`, taken for it if none does; -1: full. */
static int slot_of(_Atomic(void *) *table, void *function)
{
	for (int i = 0; i < PIN_MAX; i++) {
		void *is = NULL;
		if (atomic_compare_exchange_strong(&table[i], &is, function) || is == function)
			return i;
	}
	return -1;
}

static const char *const register_names[] = { "cudaHostRegister", "cuMemHostRegister", "cuMemHostRegister_v2", NULL };
static const char *const proc_names[] = { "cuGetProcAddress", "cuGetProcAddress_v2", NULL };

/* Not strcmp(): a sanitizer, or whoever comes before the constructor, may have one that asks us for the real one. */
#define EARLY __attribute__((no_sanitize_address, no_sanitize_undefined))

EARLY static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

EARLY static bool among(const char *const *names, const char *name)
{
	for (; *names; names++)
		if (same(*names, name))
			return true;
	return false;
}

EARLY bool pin_wants(const char *name)
{
	return name && name[0] == 'c' && name[1] == 'u' && (among(register_names, name) || among(proc_names, name));
}

static void *wrapped(const char *name, void *function)
{
	union function u = { function };
	bool registers_memory = among(register_names, name);
	for (int i = 0; i < PIN_MAX; i++) /* from a driver that asks dlsym() itself */
		if (u.reg == register_wrappers[i] || u.proc == proc_wrappers[i])
			return function;
	int slot = slot_of(registers_memory ? registers : procs, function);
	if (slot >= 0 && registers_memory)
		u.reg = register_wrappers[slot];
	else if (slot >= 0)
		u.proc = proc_wrappers[slot];
	return u.p;
}

/* ---- finding the real one ---- */

extern int cuMemHostRegister(void *p, size_t len, unsigned int flags);
extern int cuMemHostRegister_v2(void *p, size_t len, unsigned int flags);

static bool is_own(void *function)
{
	union function one = { .reg = cuMemHostRegister }, two = { .reg = cuMemHostRegister_v2 };
	return function == one.p || function == two.p;
}

/* dlsym() as asked by us. The answer is looked at before it is returned, so that this stays a call: see real_dlsym(). */
static void *ask(void *handle, const char *name)
{
	void *volatile p = real_dlsym()(handle, name);
	return p;
}

/* In an object that is loaded already and what it was linked with. */
static void *ask_object(const char *path, const char *name)
{
	void *handle = path[0] ? dlopen(path, RTLD_LAZY | RTLD_NOLOAD) : NULL; /* "": the program; its scope was asked before */
	if (!handle)
		return NULL;
	void *p = ask(handle, name);
	dlclose(handle);
	return is_own(p) ? NULL : p;
}

/* Libraries that were loaded with RTLD_LOCAL are known to those only that were linked with them. */
static void *ask_caller(void *caller, const char *name)
{
	Dl_info info;
	return caller && dladdr(caller, &info) && info.dli_fname ? ask_object(info.dli_fname, name) : NULL;
}

void *pin_symbol(void *handle, const char *name, void *caller)
{
	void *p = ask(handle, name);
	if (is_own(p))
		p = ask(RTLD_NEXT, name);
	if (!p && handle == RTLD_DEFAULT) {
		p = ask_caller(caller, name);
		if (!p)
			ask(RTLD_NEXT, name); /* for dlerror() */
	}
	return p && !config.off ? wrapped(name, p) : p;
}

int pin_linked(const char *name, void *caller, void *p, size_t len, unsigned int flags)
{
	union function u = { ask(RTLD_NEXT, name) };
	if (!u.p)
		u.p = ask_caller(caller, name);
	if (!u.p)
		u.p = ask_object("libcuda.so.1", name);
	if (!u.p)
		return NOT_FOUND;
	lazy_prepare(p, len, true);
	return u.reg(p, len, flags);
}

/* ---- is there a driver ---- */

static _Atomic uint64_t looked_at; /* dlpi_adds of the last look */
static _Atomic bool mapped;

enum { GO_ON, FOUND, UNCHANGED };

static int look(struct dl_phdr_info *info, size_t size, void *adds)
{
	const char *slash = strrchr(info->dlpi_name, '/'), *base = slash ? slash + 1 : info->dlpi_name;
	if (size >= offsetof(struct dl_phdr_info, dlpi_subs)) {
		if (info->dlpi_adds == atomic_load(&looked_at))
			return UNCHANGED;
		*(uint64_t *)adds = info->dlpi_adds;
	}
	return strncmp(base, "libcuda.so", 10) == 0 ? FOUND : GO_ON;
}

bool pin_gpu_mapped(void)
{
	uint64_t adds = 0;
	if (atomic_load(&mapped))
		return true;
	int r = dl_iterate_phdr(look, &adds);
	if (r == FOUND)
		atomic_store(&mapped, true);
	else if (r == GO_ON)
		atomic_store(&looked_at, adds);
	return r == FOUND;
}
