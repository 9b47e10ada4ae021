/*
 * lazy_bound FILE REFERENCE COMMAND KIND: a file larger than the memory that its plaintext may take. KIND: private, shared, writable.
 *
 *   pass      reads everything from front to back, twice
 *   jump      reads pieces of 64 KiB at random places
 *   written   writes into a page of every MiB, then as pass; what was written must be there still (KIND is writable)
 *   threads   four threads read a quarter each, at once
 *
 * Prints whether all was right, and "peak MIB": by how much VmHWM grew, which counts what is mapped of us at any time.
 */
#include <pthread.h>

#include "probe.h"

enum { PIECE = 1 << 20 };

static unsigned char *map;
static const char *reference;
static size_t (*own)(size_t); /* own(at): the offset of the byte that we wrote in the MiB at `at`, or probe_len */

static size_t none(size_t at)
{
	(void)at;
	return probe_len;
}

static size_t one_per_piece(size_t at)
{
	return at + (at / PIECE * 4099) % PIECE;
}

/* Compares [at, at + n) with the reference, which is read into buf. */
static const char *piece(int fd, unsigned char *buf, size_t at, size_t n)
{
	static _Thread_local char text[64];
	size_t mine = own(at / PIECE * PIECE);
	if (pread(fd, buf, n, (off_t)at) != (ssize_t)n)
		probe_die(reference);
	if (mine >= at && mine < at + n)
		buf[mine - at] = (unsigned char)~buf[mine - at];
	if (memcmp(map + at, buf, n) == 0)
		return "right";
	size_t i = 0;
	while (map[at + i] == buf[i])
		i++;
	snprintf(text, sizeof text, "wrong at %zu", at + i);
	return text;
}

struct part {
	pthread_t thread;
	size_t from, to;
	const char *says;
};

static void *read_part(void *arg)
{
	struct part *p = arg;
	unsigned char *buf = malloc(PIECE);
	int fd = open(reference, O_RDONLY | O_CLOEXEC);
	p->says = "right";
	for (size_t at = p->from; at < p->to && strcmp(p->says, "right") == 0; at += PIECE)
		p->says = piece(fd, buf, at, p->to - at < PIECE ? p->to - at : PIECE);
	p->says = strdup(p->says);
	close(fd);
	free(buf);
	return NULL;
}

static const char *pass(void)
{
	struct part p = { .to = probe_len };
	read_part(&p);
	return p.says;
}

static const char *jump(void)
{
	unsigned int seed = 4711;
	const char *says = "right";
	unsigned char *buf = malloc(PIECE);
	int fd = open(reference, O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 300 && strcmp(says, "right") == 0; i++) {
		size_t at = (size_t)rand_r(&seed) % (probe_len / 4096 - 16) * 4096;
		says = piece(fd, buf, at, PIECE / 16);
	}
	close(fd);
	free(buf);
	return says;
}

static const char *four_threads(void)
{
	struct part p[4];
	const char *says = "right";
	size_t quarter = probe_len / 4 / PIECE * PIECE;
	for (size_t i = 0; i < 4; i++) {
		p[i].from = i * quarter;
		p[i].to = i == 3 ? probe_len : (i + 1) * quarter;
		pthread_create(&p[i].thread, NULL, read_part, &p[i]);
	}
	for (size_t i = 0; i < 4; i++) {
		pthread_join(p[i].thread, NULL);
		if (strcmp(p[i].says, "right") != 0)
			says = p[i].says;
	}
	return says;
}

static long peak_kib(void)
{
	char text[256];
	long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(text, sizeof text, f))
		if (sscanf(text, "VmHWM: %ld kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	reference = argv[2];
	own = none;
	int writable = strcmp(argv[4], "writable") == 0;
	struct stat st;
	probe_path = argv[1];
	probe_fd = open(argv[1], O_RDONLY | O_CLOEXEC); /* not probe_open(): it would hold the whole reference */
	if (probe_fd < 0 || fstat(probe_fd, &st) < 0)
		probe_die(argv[1]);
	probe_len = (size_t)st.st_size;
	long base = peak_kib();
	map = mmap(NULL, probe_len, PROT_READ | (writable ? PROT_WRITE : 0), strcmp(argv[4], "shared") == 0 ? MAP_SHARED : MAP_PRIVATE,
	           probe_fd, 0);
	if (map == MAP_FAILED) {
		line("mmap", "%s", err_name(errno));
		return 0;
	}
	if (strcmp(argv[3], "written") == 0) {
		own = one_per_piece;
		for (size_t at = 0; at < probe_len; at += PIECE)
			if (own(at) < probe_len)
				map[own(at)] = (unsigned char)~map[own(at)];
	}
	const char *says = strcmp(argv[3], "jump") == 0 ? jump() : strcmp(argv[3], "threads") == 0 ? four_threads() : pass();
	if (strcmp(argv[3], "pass") == 0 && strcmp(says, "right") == 0)
		says = pass();
	line("read", "%s", says);
	line("peak", "%ld", (peak_kib() - base) >> 10);
	return 0;
}
