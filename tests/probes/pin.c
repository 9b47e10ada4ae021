/*
 * pin HOW FILE LIBRARY: maps FILE, private and writable as torch does, touches nothing, registers all of it with the driver (a stand-in of
 * it: tests/standins) and prints the result, a hash of what the kernel found there, and whose function was called.
 *
 * HOW: dlsym NAME, proc VERSION (cuGetProcAddress), proc2 VERSION, default (RTLD_DEFAULT), cudart (LIBRARY is a libcudart), linked.
 * PIN_LOADED in the environment: the driver is loaded before the mapping is made, else after it.
 * none: prints what RTLD_DEFAULT, the program's own handle and RTLD_NEXT say of CUDA where there is none.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int (*register_fn)(void *, size_t, unsigned int);
typedef int (*proc_fn)(const char *, void **, int, uint64_t, int *);

#ifdef LINKED
extern int cuMemHostRegister_v2(void *p, size_t len, unsigned int flags);
#endif

static int none(void)
{
	static const char *const names[] = { "cuMemHostRegister", "cuMemHostRegister_v2", "cudaHostRegister", "cuGetProcAddress" };
	void *self = dlopen(NULL, RTLD_NOW);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		int found = 0, said = 0;
		dlerror();
		found += dlsym(RTLD_DEFAULT, names[i]) != NULL;
		said += dlerror() != NULL;
		found += dlsym(self, names[i]) != NULL;
		said += dlerror() != NULL;
		printf("%s: found %d, said %d\n", names[i], found, said);
	}
	return 0;
}

static void *function_of(const char *how, const char *detail, void *library)
{
	void *f = NULL;
	int status = -1;
	if (strcmp(how, "dlsym") == 0)
		return dlsym(library, detail);
	if (strcmp(how, "cudart") == 0)
		return dlsym(library, "cudaHostRegister");
	if (strcmp(how, "default") == 0)
		return dlsym(RTLD_DEFAULT, detail);
	if (strncmp(how, "proc", 4) == 0) {
		proc_fn find = (proc_fn)dlsym(library, how[4] ? "cuGetProcAddress_v2" : "cuGetProcAddress");
		return find && find("cuMemHostRegister", &f, atoi(detail), 0, &status) == 0 ? f : NULL;
	}
#ifdef LINKED
	return (void *)cuMemHostRegister_v2;
#endif
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "none") == 0)
		return none();
	if (argc != 5)
		return 2;
	int global = strcmp(argv[1], "default") == 0 ? RTLD_GLOBAL : RTLD_LOCAL;
	struct stat s = { 0 };
	Dl_info whose = { .dli_fname = "?" };
	void *library = NULL, *p = MAP_FAILED;
	if (getenv("PIN_LOADED"))
		library = dlopen(argv[4], RTLD_NOW | global);
	int fd = open(argv[3], O_RDONLY);
	if (fd >= 0 && fstat(fd, &s) == 0)
		p = mmap(NULL, (size_t)s.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (fd >= 0)
		close(fd);
	if (!library)
		library = dlopen(argv[4], RTLD_NOW | global);
	if (!library)
		fprintf(stderr, "%s\n", dlerror());
	register_fn f = (register_fn)function_of(argv[1], argv[2], library);
	if (!f || p == MAP_FAILED) {
		fprintf(stderr, "pin: no function, or no file\n");
		return 1;
	}
	int r = f(p, (size_t)s.st_size, 0);
	void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	unsigned long long *seen = driver ? dlsym(driver, "standin_seen") : NULL;
	unsigned long long hash = seen ? *seen : 0;
	if (driver)
		dlclose(driver);
	dladdr((void *)f, &whose);
	const char *slash = strrchr(whose.dli_fname, '/');
	printf("%d %016llx\n", r, hash);
	fprintf(stderr, "by %s\n", slash ? slash + 1 : whose.dli_fname);
	return r;
}
