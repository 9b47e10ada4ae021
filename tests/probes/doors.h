/*
 * doors.h: what the doors_* probes share. Each takes a file and prints a line "DOOR CASE OUTCOME" for every way into it; the same program on
 * the plain file, without the shim, is the judge. A door is called by its name (dlsym), so that each alias is one row of a table.
 */
#ifndef DOORS_H
#define DOORS_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DOORS __attribute__((unused)) static

static const char *doors_path;
static size_t doors_size;              /* bytes of the file */
static off_t doors_header, doors_edge; /* where its data begins, and a chunk in the middle */
static unsigned char *doors_buf;       /* doors_size bytes and some pages, then a page that cannot be touched */
static size_t doors_room;

__attribute__((noreturn)) DOORS void doors_die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(2);
}

DOORS uint64_t doors_hash(const void *p, size_t len)
{
	const unsigned char *b = p;
	uint64_t h = 14695981039346656037u;
	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 1099511628211u;
	return h;
}

/* A count of bytes at p, or an errno. */
DOORS const char *doors_outcome(char text[64], long n, const void *p)
{
	if (n < 0)
		snprintf(text, 64, "%s", strerrorname_np(errno) ? strerrorname_np(errno) : "unknown errno");
	else
		snprintf(text, 64, "%ld:%016llx", n, (unsigned long long)doors_hash(p, (size_t)n));
	return text;
}

DOORS void *doors_find(const char *name)
{
	void *p = dlsym(RTLD_DEFAULT, name);
	if (!p) {
		fprintf(stderr, "libc has no %s\n", name);
		exit(2);
	}
	return p;
}

/* A file without a name, on the file system of the one that is read. */
DOORS int doors_sink(void)
{
	char folder[4096];
	snprintf(folder, sizeof folder, "%s", doors_path);
	char *slash = strrchr(folder, '/');
	if (slash)
		slash[1] = '\0';
	int fd = open(slash ? folder : ".", O_TMPFILE | O_RDWR, 0600);
	if (fd < 0)
		doors_die("a sink");
	return fd;
}

/* argv: FILE HEADER EDGE */
DOORS void doors_start(int argc, char **argv)
{
	struct stat s;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (argc < 4 || stat(argv[1], &s) < 0)
		doors_die("usage: FILE HEADER EDGE");
	doors_path = argv[1];
	doors_size = (size_t)s.st_size;
	doors_header = atoll(argv[2]);
	doors_edge = atoll(argv[3]);
	doors_room = (doors_size + 8 * page) / page * page;
	/* cppcheck-suppress invalidFunctionArg ; no descriptor */
	doors_buf = mmap(NULL, doors_room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (doors_buf == MAP_FAILED || mprotect(doors_buf + doors_room, page, PROT_NONE) < 0)
		doors_die("mmap");
}

#endif
