/*
 * What libcudart is to a program: it finds the driver's functions by dlopen(), dlsym() and cuGetProcAddress(). Built with -DLINKED it is a
 * library that is linked with the driver instead.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

typedef int (*register_fn)(void *, size_t, unsigned int);
typedef int (*proc_fn)(const char *, void **, int, uint64_t, int *);

#ifdef LINKED
extern int cuMemHostRegister_v2(void *p, size_t len, unsigned int flags);

int standin_register(void *p, size_t len, unsigned int flags)
{
	return cuMemHostRegister_v2(p, len, flags);
}
#else
int cudaHostRegister(void *p, size_t len, unsigned int flags)
{
	void *driver = dlopen("libcuda.so.1", RTLD_NOW), *find = driver ? dlsym(driver, "cuGetProcAddress_v2") : NULL;
	void *newest = NULL, *function = NULL;
	int status;
	if (!find || ((proc_fn)find)("cuGetProcAddress", &newest, 12000, 0, &status) != 0 ||
	    ((proc_fn)newest)("cuMemHostRegister", &function, 12000, 0, &status) != 0)
		return 3; /* cudaErrorInitializationError */
	return ((register_fn)function)(p, len, flags);
}
#endif

/* dlsym() as called by a library whose dependencies only it knows. */
void *standin_default(const char *name)
{
	return dlsym(RTLD_DEFAULT, name);
}

void *standin_next(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);
	return p;
}
