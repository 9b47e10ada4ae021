/*
 * flips VIEW FILE… <MUTANTS: changes a byte of a FILE, reads it in every way, puts the byte back; then the next FILE, all being alike.
 *
 * VIEW: a plain file that holds the bytes of each FILE's view. MUTANTS: a line each, "AT OLD NEW [BEGIN-END…]", numbers in decimal: the byte's place
 * and values, and what is to be read. Without ranges everything is read: by pread byte by byte, in mappings page by page. A range is read by
 * one pread, and by another for what that one left; its pages are touched. "*" behind the ranges: read() as well.
 *
 * Prints a line a way: "AT NEW WAY RUN…", WAY being read (to the end or the first error), pread, private and shared (mappings). A RUN is
 * "BEGIN-END:WHAT", WHAT being what is not right there: wrong, BUS, or an errno; runs that touch are one. "AT NEW open:ERRNO" alone: that failed.
 * A FILE is opened anew for each mutant, and written to past the view. There should be some: a view may live on for a moment after its last
 * use, and would be taken for the changed file's.
 */
#include <stdbool.h>

#include "probe.h"

#define PIECE 70001 /* bytes a read(): a number that fits no border */

static unsigned char *copy;
static size_t run_begin, run_end;
static const char *run_what;

static void run_flush(void)
{
	if (run_what)
		printf(" %zu-%zu:%s", run_begin, run_end, run_what);
	run_what = NULL;
}

static void run_add(size_t begin, size_t end, const char *what)
{
	if (begin == end)
		return;
	if (run_what && run_end == begin && strcmp(run_what, what) == 0) {
		run_end = end;
		return;
	}
	run_flush();
	run_begin = begin;
	run_end = end;
	run_what = what;
}

/* What was read into copy, for [begin, end) of the file. */
static void compare(size_t begin, size_t end)
{
	if (memcmp(copy, probe_want + begin, end - begin) == 0)
		return;
	for (size_t at = begin; at < end; at++)
		if (copy[at - begin] != probe_want[at])
			run_add(at, at + 1, "wrong");
}

static void way_read(int fd)
{
	size_t at = 0;
	ssize_t n;
	while ((n = read(fd, copy, PIECE)) > 0) {
		compare(at, at + (size_t)n);
		at += (size_t)n;
	}
	run_add(at, probe_len, n < 0 ? err_name(errno) : "end");
}

static void way_pread(int fd, size_t begin, size_t end)
{
	while (begin < end) {
		ssize_t n = pread(fd, copy, end - begin, (off_t)begin);
		if (n <= 0) {
			run_add(begin, end, n < 0 ? err_name(errno) : "end");
			return;
		}
		compare(begin, begin + (size_t)n);
		begin += (size_t)n;
	}
}

/* The signal that reading the page into copy raises; 0: none. */
static int take_page(const unsigned char *page)
{
	int sig = sigsetjmp(probe_back, 1);
	probe_armed = sig == 0;
	if (sig == 0)
		memcpy(copy, page, probe_page);
	probe_armed = 0;
	return sig;
}

static void way_map(const unsigned char *map, size_t begin, size_t end)
{
	for (size_t at = begin / probe_page * probe_page; at < end; at += probe_page) {
		size_t stop = at + probe_page < probe_len ? at + probe_page : probe_len;
		int sig = take_page(map + at);
		if (sig) {
			run_add(at, stop, sig == SIGBUS ? "BUS" : "SEGV");
			continue;
		}
		compare(at, stop);
		for (size_t i = stop - at; i < probe_page; i++)
			if (copy[i])
				run_add(at + i, at + i + 1, "tail");
	}
}

/* The next "BEGIN-END" of a line; without any: the whole file, once. */
static bool next_range(char **rest, bool *first, size_t *begin, size_t *end)
{
	int used = 0;
	bool got = sscanf(*rest, " %zu-%zu%n", begin, end, &used) == 2;
	if (got)
		*rest += used;
	else if (*first)
		*begin = 0, *end = probe_len;
	got |= *first;
	*first = false;
	return got;
}

static void try_way(const char *way, int fd, char *rest)
{
	bool first = true, every = !strchr(rest, '-');
	size_t begin, end;
	int flags = strcmp(way, "private") == 0 ? MAP_PRIVATE : strcmp(way, "shared") == 0 ? MAP_SHARED : 0;
	void *map = flags ? mmap(NULL, probe_len, PROT_READ, flags, fd, 0) : NULL;
	if (map == MAP_FAILED)
		run_add(0, probe_len, err_name(errno));
	else if (strcmp(way, "read") == 0)
		way_read(fd);
	else
		while (next_range(&rest, &first, &begin, &end)) {
			if (map)
				way_map(map, begin, end);
			else if (!every)
				way_pread(fd, begin, end);
			else
				for (size_t at = begin; at < end; at++)
					way_pread(fd, at, at + 1);
		}
	run_flush();
	if (flags && map != MAP_FAILED)
		munmap(map, probe_len);
}

static void mutant(const char *path, size_t at, int new, char *rest)
{
	static const char *const ways[] = { "read", "pread", "private", "shared" };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		printf("%zu %d open:%s\n", at, new, err_name(errno));
		return;
	}
	for (size_t i = strchr(rest, '-') && !strchr(rest, '*'); i < sizeof ways / sizeof ways[0]; i++) {
		printf("%zu %d %s", at, new, ways[i]);
		try_way(ways[i], fd, rest);
		putchar('\n');
	}
	close(fd);
}

int main(int argc, char **argv)
{
	enum { FILES_MAX = 64 };
	char text[4096];
	int old, new, used, files = argc - 2, out[FILES_MAX];
	size_t at;
	if (files < 1 || files > FILES_MAX)
		return 2;
	probe_open(argv[1], argv[1]);
	copy = malloc(probe_len + probe_page + PIECE);
	if (!copy)
		probe_die("malloc");
	for (int i = 0; i < files; i++) {
		out[i] = open(argv[2 + i], O_WRONLY | O_CLOEXEC);
		if (out[i] < 0)
			probe_die(argv[2 + i]);
	}
	for (int i = 0; fgets(text, sizeof text, stdin); i = (i + 1) % files) {
		if (sscanf(text, "%zu %d %d%n", &at, &old, &new, &used) != 3)
			probe_die("a line that is no mutant");
		unsigned char bytes[2] = { (unsigned char)new, (unsigned char)old };
		if (pwrite(out[i], &bytes[0], 1, (off_t)at) != 1)
			probe_die("pwrite");
		mutant(argv[2 + i], at, new, text + used);
		if (pwrite(out[i], &bytes[1], 1, (off_t)at) != 1)
			probe_die("pwrite");
	}
	return 0;
}
