/*
 * pin: memory that a program registers with a GPU.
 *
 * cudaHostRegister(), cuMemHostRegister() and cuMemHostRegister_v2() pin pages inside the kernel, where nothing may have filled them yet:
 * so they are filled first (lazy_prepare(), for writing), then the real function is called. A program comes to these functions
 *   - by dlsym(), as libcudart does for all it needs of the driver: our dlsym() answers with a wrapper of what the real one found;
 *   - by cuGetProcAddress(), cuGetProcAddress_v2(), whose own pointers come from dlsym(): wrapped, they answer with wrappers;
 *   - by being linked with libcuda: we export cuMemHostRegister and cuMemHostRegister_v2. dlsym() never answers with these: a program that
 *     looks whether there is CUDA must not find it in us.
 * cudaHostRegister is not exported: each libcudart (there may be several, known to their own libraries only) calls the driver, and which one a
 * linked caller meant could not be told. Each real function has its own wrapper, as there may be several of a name; more than PIN_MAX of a
 * kind are handed out bare: pinning what is not filled then fails in the driver.
 *
 * Not seen: dlvsym(), inline system calls to the driver's device, tables of cuGetExportTable().
 */
#ifndef SHIM_PIN_H
#define SHIM_PIN_H

#include <stdbool.h>
#include <stddef.h>

#define PIN_MAX 16

/* One of the five names above. Works at any time, signal safe. */
bool pin_wants(const char *name);

/*
 * dlsym(handle, name) for such a name, asked for by code at `caller`: NULL where the real one finds nothing but us (dlerror() says so),
 * else a wrapper (with CTSHIM_DISABLE=1 what was found). Not for RTLD_NEXT. Thread safe; takes the loader's locks as dlsym() does.
 */
void *pin_symbol(void *handle, const char *name, void *caller);

/* A call of our exported function `name` from code at `caller`: CUresult. */
int pin_linked(const char *name, void *caller, void *p, size_t len, unsigned int flags);

/*
 * The driver (libcuda.so*) is, or was, mapped into this process: memory may be pinned in ways that we don't see. Takes the loader's lock
 * for a moment; while nothing new was loaded since the last call it looks at one object only.
 */
bool pin_gpu_mapped(void);

#endif
