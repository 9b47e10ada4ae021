/*
 * Counts the calls of malloc that come from libctshim.so, by their return addresses. Linked with -z initfirst and preloaded behind it, its
 * constructor is the first of all: there it calls the hooks before they are ready. Prints what was counted until then, until main
 * (standin_main, tests/probes/early.c) and until the end.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

extern void *__libc_malloc(size_t len);
extern void *__libc_calloc(size_t count, size_t len);
extern void *__libc_realloc(void *p, size_t len);

static uintptr_t from, to;
static unsigned int mallocs;

static int find(struct dl_phdr_info *o, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	if (!strstr(o->dlpi_name, "libctshim.so"))
		return 0;
	for (int i = 0; i < o->dlpi_phnum; i++)
		if (o->dlpi_phdr[i].p_type == PT_LOAD && (o->dlpi_phdr[i].p_flags & PF_X)) {
			from = o->dlpi_addr + o->dlpi_phdr[i].p_vaddr;
			to = from + o->dlpi_phdr[i].p_memsz;
		}
	return 1;
}

static unsigned int is(const void *caller)
{
	return (uintptr_t)caller - from < to - from;
}

void *malloc(size_t len)
{
	mallocs += is(__builtin_return_address(0)) && len > 1; /* one of one byte: see shim/main.c */
	return __libc_malloc(len);
}

void *calloc(size_t count, size_t len)
{
	mallocs += is(__builtin_return_address(0));
	return __libc_calloc(count, len);
}

void *realloc(void *p, size_t len)
{
	mallocs += is(__builtin_return_address(0));
	return __libc_realloc(p, len);
}

static void print(const char *when)
{
	char text[100];
	int n = snprintf(text, sizeof text, "%s: %u mallocs\n", when, mallocs);
	if (write(1, text, (size_t)n) != n)
		_exit(3);
	mallocs = 0;
}

static void call_hooks(int fd)
{
	static char buf[100];
	struct iovec v = { buf, sizeof buf };
	int p[2] = { -1, -1 }, copy = dup(fd);
	off_t at = 0;
	void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	long sum = read(fd, buf, 10) + pread(fd, buf, 10, 0) + readv(fd, &v, 1) + preadv(fd, &v, 1, 0) + preadv2(fd, &v, 1, 0, 0);
	sum += pipe(p) + splice(fd, &at, p[1], NULL, 10, 0) + sendfile(p[1], fd, &at, 10) + copy_file_range(fd, &at, p[1], NULL, 10, 0);
	sum += write(p[1], buf, 1) + dup2(fd, p[0]) + dup3(fd, p[1], 0) + fcntl(fd, F_GETFL) + ioctl(fd, FIONREAD, buf);
	sum += syscall(SYS_pread64, fd, buf, 10, 0) + close(copy) + close(p[0]) + close_range((unsigned int)p[1], (unsigned int)p[1], 0);
	sum += mprotect(map, 4096, PROT_NONE) + madvise(map, 4096, MADV_NORMAL) + munmap(map, 4096);
	if (map == MAP_FAILED || sum == 0)
		_exit(4);
}

__attribute__((constructor)) static void first(int argc, char **argv, char **env)
{
	(void)argc;
	(void)argv;
	(void)env;
	dl_iterate_phdr(find, NULL);
	if (!from)
		_exit(5);
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	call_hooks(fd);
	close(fd);
	print("before the constructor");
}

void standin_main(void);

void standin_main(void)
{
	print("in it");
}

__attribute__((destructor)) static void last(void)
{
	print("after it");
}
