/*
 * reader MODE FILE [ARG]: one measured reader of a model; the same program for the plain file and, under the preload, for the encrypted one.
 *
 *   open FILE                   open and close
 *   map FILE                    open, map whole, unmap, close; no byte is touched
 *   sum FILE private|shared     one thread reads every byte of a mapping in order
 *   touch FILE RANGES           the same of the ranges alone, through a mapping
 *   pread FILE RANGES           each range by pread into one buffer
 *
 * private: PROT_READ | PROT_WRITE, copy on write, as torch maps; shared: PROT_READ, as safetensors does. RANGES: a file of pairs of
 * 64-bit words, offset and length, in bytes of the file. Prints "SECONDS CHECKSUM" and then waits for the end of its standard input, so that
 * who measures can look at the process first. The seconds run from before open() until the last byte is summed; for open and map until
 * close() has returned. The checksum (Fletcher's, on 64-bit words) depends on the order of the bytes, and is cheaper than a memory access.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

struct range {
	uint64_t at, len;
};

struct ranges {
	struct range *list;
	size_t count;
	uint64_t longest;
};

static int open_file(const char *path, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		bench_fail(path);
	*len = (size_t)st.st_size;
	return fd;
}

static struct ranges read_ranges(const char *path)
{
	size_t len;
	struct ranges r = { 0 };
	int fd = open_file(path, &len);
	r.count = len / sizeof *r.list;
	r.list = malloc(len);
	if (!r.list || read(fd, r.list, len) != (ssize_t)len)
		bench_fail(path);
	close(fd);
	for (size_t i = 0; i < r.count; i++)
		if (r.list[i].len > r.longest)
			r.longest = r.list[i].len;
	return r;
}

static unsigned char *map_file(const char *path, bool shared, size_t *len)
{
	int fd = open_file(path, len);
	void *p = mmap(NULL, *len, shared ? PROT_READ : PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		bench_fail("mmap");
	close(fd);
	return p;
}

static void pread_ranges(const char *path, const struct ranges *r, struct sum *sum)
{
	size_t len;
	int fd = open_file(path, &len);
	unsigned char *buf = malloc(r->longest);
	if (!buf)
		bench_fail("malloc");
	for (size_t i = 0; i < r->count; i++) {
		for (uint64_t done = 0; done < r->list[i].len;) {
			ssize_t n = pread(fd, buf + done, r->list[i].len - done, (off_t)(r->list[i].at + done));
			if (n <= 0)
				bench_fail("pread");
			done += (uint64_t)n;
		}
		sum_add(sum, buf, r->list[i].len);
	}
	free(buf);
	close(fd);
}

static void measure(const char *mode, const char *path, const char *arg, const struct ranges *r, struct sum *sum)
{
	size_t len;
	if (strcmp(mode, "open") == 0) {
		close(open_file(path, &len));
	} else if (strcmp(mode, "map") == 0) {
		void *p = map_file(path, true, &len);
		munmap(p, len);
	} else if (strcmp(mode, "pread") == 0) {
		pread_ranges(path, r, sum);
	} else if (strcmp(mode, "touch") == 0) {
		const unsigned char *p = map_file(path, true, &len);
		for (size_t i = 0; i < r->count; i++)
			sum_add(sum, p + r->list[i].at, r->list[i].len);
	} else {
		const unsigned char *p = map_file(path, strcmp(arg, "shared") == 0, &len);
		sum_add(sum, p, len);
	}
}

int main(int argc, char **argv)
{
	struct ranges r = { 0 };
	struct sum sum = { 0 };
	char end;
	if (argc < 3 || !strstr("open map sum touch pread", argv[1]) || (argc < 4 && !strstr("open map", argv[1])))
		return 2;
	if (!strcmp(argv[1], "touch") || !strcmp(argv[1], "pread"))
		r = read_ranges(argv[3]);
	double start = bench_now();
	measure(argv[1], argv[2], argv[3], &r, &sum);
	double took = bench_now() - start;
	printf("%.9f %016llx%016llx\n", took, (unsigned long long)sum.b, (unsigned long long)sum.a);
	fflush(stdout);
	while (read(0, &end, 1) > 0)
		;
	return 0;
}
