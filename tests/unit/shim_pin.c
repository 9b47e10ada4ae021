/*
 * pin, hooks_dlsym: whichever way a program comes to the functions that register memory, the memory is filled before the real one is called.
 * lazy's functions are played here; the driver is tests/standins/libcuda.c, which reads the memory inside the kernel.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "lazy.h"
#include "pin.h"

#define LEN 8192u

typedef int (*register_fn)(void *, size_t, unsigned int);
typedef int (*proc_fn)(const char *, void **, int, uint64_t, int *);

static char *memory;
static unsigned int fills;

void lazy_fill_for_kernel(const void *p, size_t len, bool for_write)
{
	fills++;
	CHECK(p == memory && len == LEN && for_write);
	CHECK(mprotect(memory, LEN, PROT_READ | PROT_WRITE) == 0);
}

bool lazy_is(const void *p, size_t len)
{
	return (const char *)p < memory + LEN && (const char *)p + len > memory;
}

size_t lazy_at_once(void)
{
	return LEN;
}

/* The function registers the memory, which it can only if that was filled before; `calls` counts in the stand-in. */
static void registers(void *function, const unsigned int *calls)
{
	unsigned int before = *calls;
	Dl_info info = { 0 };
	CHECK(function != NULL);
	if (!function)
		return;
	CHECK(dladdr(function, &info) && !strstr(info.dli_fname, "libcuda")); /* ours */
	lazy_unserved = true;
	fills = 0;
	CHECK(mprotect(memory, LEN, PROT_NONE) == 0);
	CHECK(((register_fn)function)(memory, LEN, 2) == 0 && fills == 1 && *calls == before + 1);
	lazy_unserved = false;
	CHECK(mprotect(memory, LEN, PROT_NONE) == 0);
	CHECK(((register_fn)function)(memory, LEN, 2) == 1 && fills == 1); /* the judge can say no */
	CHECK(*calls == before + 2);
}

static void *by_proc(void *proc, const char *symbol, int version, int expect)
{
	void *function = (void *)0x10;
	int status = -1;
	CHECK(proc && ((proc_fn)proc)(symbol, &function, version, 0, &status) == expect);
	return function;
}

static void copy(const char *from, const char *to)
{
	char *command = NULL;
	CHECK(asprintf(&command, "cp '%s' '%s'", from, to) > 0 && system(command) == 0); /* NOLINT: names of ours */
	free(command);
}

/* Each has its own real function behind its wrapper, as far as wrappers go. */
static void many(const char *standin)
{
	char folder[] = "/tmp/ct-pin-XXXXXX", path[64];
	unsigned int *calls[PIN_MAX + 2];
	void *functions[PIN_MAX + 2];
	int wrapped = 0;
	CHECK(mkdtemp(folder) != NULL);
	for (size_t i = 0; i < PIN_MAX + 2; i++) {
		snprintf(path, sizeof path, "%s/%zu.so", folder, i);
		copy(standin, path);
		void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		unlink(path);
		CHECK(h != NULL);
		if (!h)
			continue;
		functions[i] = dlsym(h, "cuMemHostRegister_v2");
		calls[i] = dlsym(h, "standin_calls");
		CHECK(functions[i] && calls[i] && dlsym(h, "cuMemHostRegister_v2") == functions[i]);
		for (size_t j = 0; j < i; j++)
			CHECK(functions[i] != functions[j]);
	}
	rmdir(folder);
	lazy_unserved = true;
	for (size_t i = 0; i < PIN_MAX + 2; i++) {
		unsigned int before = fills;
		CHECK(mprotect(memory, LEN, PROT_READ) == 0);
		CHECK(((register_fn)functions[i])(memory, LEN, 0) == 0 && *calls[i] == 1);
		wrapped += fills > before;
	}
	lazy_unserved = false;
	CHECK(wrapped >= PIN_MAX - 3 && wrapped <= PIN_MAX);
}

int main(void)
{
	char standin[4096], *slash;
	ssize_t n = readlink("/proc/self/exe", standin, sizeof standin - 64);
	CHECK(n > 0);
	standin[n > 0 ? n : 0] = 0;
	slash = strrchr(standin, '/');
	strcpy(slash ? slash : standin, "/../standins/libcuda.so.1");
	memory = mmap(NULL, LEN, PROT_NONE, MAP_PRIVATE, open("/dev/zero", O_RDONLY | O_CLOEXEC), 0);
	CHECK(memory != MAP_FAILED);

	CHECK(pin_wants("cuMemHostRegister") && pin_wants("cudaHostRegister") && pin_wants("cuGetProcAddress_v2"));
	CHECK(!pin_wants("cuMemHostRegister_v3") && !pin_wants("cuMemHostUnregister") && !pin_wants("cuda") && !pin_wants("") && !pin_wants(NULL));
	CHECK(!pin_gpu_mapped() && !pin_gpu_mapped());
	CHECK(dlsym(RTLD_DEFAULT, "cuMemHostRegister_v2") == NULL && dlerror() != NULL);
	CHECK(dlsym(RTLD_DEFAULT, "getpid") != NULL && dlsym(RTLD_NEXT, "getpid") == dlsym(RTLD_DEFAULT, "getpid"));
	void *other = dlopen("libm.so.6", RTLD_NOW);
	CHECK(other && !pin_gpu_mapped());

	void *h = dlopen(standin, RTLD_NOW | RTLD_LOCAL);
	CHECK(h != NULL);
	if (!h)
		return check_status("shim_pin");
	CHECK(pin_gpu_mapped() && pin_gpu_mapped());
	const unsigned int *calls = dlsym(h, "standin_calls"), *old = dlsym(h, "standin_old");
	CHECK(calls && old);

	registers(dlsym(h, "cuMemHostRegister_v2"), calls);
	registers(dlsym(h, "cuMemHostRegister"), old);
	CHECK(dlsym(h, "cuMemHostRegister") != dlsym(h, "cuMemHostRegister_v2"));
	CHECK(dlsym(h, "cudaHostRegister") == NULL && dlerror() != NULL);

	void *proc = dlsym(h, "cuGetProcAddress"), *proc2 = dlsym(h, "cuGetProcAddress_v2");
	registers(by_proc(proc, "cuMemHostRegister", 12000, 0), calls);
	registers(by_proc(proc2, "cuMemHostRegister", 12000, 0), calls);
	registers(by_proc(proc2, "cuMemHostRegister", 3000, 0), old);
	registers(by_proc(by_proc(proc2, "cuGetProcAddress", 12000, 0), "cuMemHostRegister", 12000, 0), calls);
	registers(by_proc(by_proc(proc, "cuGetProcAddress", 11000, 0), "cuMemHostRegister", 11000, 0), calls);
	CHECK(by_proc(proc2, "cuInit", 12000, 500) == NULL);

	CHECK(dlsym(RTLD_DEFAULT, "cuMemHostRegister_v2") == NULL); /* loaded, but known to nobody */
	void *again = dlopen(standin, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
	CHECK(again == h);
	registers(dlsym(RTLD_DEFAULT, "cuMemHostRegister_v2"), calls);
	many(standin);
	return check_status("shim_pin");
}
