/*
 * pages FILE…: maps each FILE whole and reads it page by page.
 *
 * Prints a line a file: "FILE open ERRNO", "FILE mmap ERRNO", or "FILE pages SIZE" and then a line a page: its bytes in hexadecimal
 * (all of the last one too, behind the end of the file), or "BUS" where it raised SIGBUS.
 * PAGES_SHARED in the environment: MAP_SHARED instead of MAP_PRIVATE.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static sigjmp_buf back;

static void on_bus(int sig)
{
	siglongjmp(back, sig);
}

static void show_page(const unsigned char *page, size_t size, unsigned char *copy)
{
	if (sigsetjmp(back, 1)) {
		puts("BUS");
		return;
	}
	for (size_t i = 0; i < size; i++)
		copy[i] = ((const volatile unsigned char *)page)[i];
	for (size_t i = 0; i < size; i++)
		printf("%02x", copy[i]);
	putchar('\n');
}

static void show_file(const char *path, int flags, size_t size, unsigned char *copy)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		printf("%s open %s\n", path, strerrorname_np(errno));
		return;
	}
	struct stat st;
	if (fstat(fd, &st) < 0) {
		printf("%s fstat %s\n", path, strerrorname_np(errno));
		close(fd);
		return;
	}
	size_t len = (size_t)st.st_size;
	unsigned char *map = mmap(NULL, len, PROT_READ, flags, fd, 0);
	int err = errno;
	close(fd);
	if (map == MAP_FAILED) {
		printf("%s mmap %s\n", path, strerrorname_np(err));
		return;
	}
	printf("%s pages %zu\n", path, size);
	for (size_t at = 0; at < len; at += size)
		show_page(map + at, size, copy);
	munmap(map, len);
}

int main(int argc, char **argv)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *copy = malloc(size);
	struct sigaction sa = { .sa_handler = on_bus };
	sigaction(SIGBUS, &sa, NULL);
	for (int i = 1; i < argc; i++)
		show_file(argv[i], getenv("PAGES_SHARED") ? MAP_SHARED : MAP_PRIVATE, size, copy);
	free(copy);
	return 0;
}
