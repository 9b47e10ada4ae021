/* A malloc of somebody's that finds libc's by dlsym() at its first use, long before any constructor; it does not expect to be called by that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

unsigned int standin_mallocs;

static void *find(const char *name)
{
	static int finding;
	if (finding++)
		_exit(99);
	void *p = dlsym(RTLD_NEXT, name);
	finding--;
	return p;
}

void *malloc(size_t len)
{
	static void *(*next)(size_t);
	if (!next)
		next = (void *(*)(size_t))find("malloc");
	standin_mallocs++;
	return next(len);
}

void free(void *p)
{
	static void (*next)(void *);
	if (!next)
		next = (void (*)(void *))find("free");
	next(p);
}

__attribute__((constructor)) static void early(void)
{
	void *(*again)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "malloc");
	if (again != malloc || dlsym(RTLD_NEXT, "malloc") == (void *)malloc)
		_exit(98);
	free(malloc(10));
}
