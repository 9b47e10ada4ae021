/*
 * lazy_damage FILE REFERENCE FROM TO: pages FROM to TO - 1 of FILE have a byte of a damaged chunk. Prints what each page raises, as runs
 * "A-B right" or "A-B SIGBUS", however and in whatever order it is touched.
 *
 * lazy_damage FILE REFERENCE FROM TO once: a single pass over a single mapping.
 */
#include <pthread.h>
#include <sys/uio.h>

#include "probe.h"

static size_t pages, bad_from, bad_to;

static const char *page_says(unsigned char *map, size_t first, size_t i)
{
	size_t off = (first + i) * probe_page, left = probe_len - off;
	const char *says = verdict(map + i * probe_page, off, left < probe_page ? left : probe_page);
	if (strcmp(says, "right") == 0)
		return "right";
	if (strncmp(says, "SIGBUS", 6) != 0)
		return strdup(says);
	if (probe_code != BUS_ADRERR)
		return "SIGBUS-of-another-code";
	size_t at = (size_t)((uintptr_t)probe_addr - (uintptr_t)map);
	return at / probe_page == i ? "SIGBUS" : "SIGBUS-at-another-page";
}

/* Page numbers are the file's; first is that of the mapping's first page. */
static void pass(const char *name, unsigned char *map, size_t first, int down)
{
	static const char *says[1 << 16];
	static char text[4096];
	size_t count = pages - first, used = 0, start = 0;
	for (size_t n = 0; n < count; n++) {
		size_t i = down ? count - 1 - n : n;
		says[i] = page_says(map, first, i);
	}
	for (size_t i = 1; i <= count; i++)
		if ((i == count || strcmp(says[i], says[start]) != 0) && used < sizeof text - 100) {
			used += (size_t)sprintf(text + used, "%s%zu-%zu %.40s", used ? " " : "", first + start, first + i - 1, says[start]);
			start = i;
		}
	printf("%s %s\n", name, text);
	fflush(stdout);
}

static void one_kind(const char *kind, int prot, int flags)
{
	char name[64];
	unsigned char *map = map_whole(prot, flags);
	snprintf(name, sizeof name, "%s.up", kind);
	pass(name, map, 0, 0);
	snprintf(name, sizeof name, "%s.again", kind);
	pass(name, map, 0, 0);
	munmap(map, probe_len);

	map = map_whole(prot, flags);
	snprintf(name, sizeof name, "%s.down", kind);
	pass(name, map, 0, 1);
	munmap(map, probe_len);

	map = map_whole(prot, flags);
	for (size_t i = 1; i <= 3; i++) { /* neighbours first */
		if (bad_from >= i)
			touch(map + (bad_from - i) * probe_page, 0);
		if (bad_to + i < pages)
			touch(map + (bad_to + i) * probe_page, 0);
	}
	snprintf(name, sizeof name, "%s.neighbours-first", kind);
	pass(name, map, 0, 0);
	munmap(map, probe_len);

	size_t first = (bad_from + bad_to) / 2; /* a mapping that begins amid the damage */
	map = map_part(prot, flags, first * probe_page, probe_len - first * probe_page);
	snprintf(name, sizeof name, "%s.offset", kind);
	pass(name, map, first, 0);
	munmap(map, probe_len - first * probe_page);
}

/* ---- several threads on the same damaged and sound pages ---- */

struct worker {
	pthread_t thread;
	unsigned char *map;
	pthread_barrier_t *start;
	size_t bus, right, other;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	size_t from = bad_from > 8 ? bad_from - 8 : 0, to = bad_to + 8 < pages ? bad_to + 8 : pages;
	pthread_barrier_wait(w->start);
	for (size_t i = from; i < to; i++) {
		const char *says = page_says(w->map, 0, i);
		int bad = i >= bad_from && i < bad_to;
		w->bus += bad && strcmp(says, "SIGBUS") == 0;
		w->right += !bad && strcmp(says, "right") == 0;
		w->other += strcmp(says, bad ? "SIGBUS" : "right") != 0;
	}
	return NULL;
}

static void threads(const char *name, int prot, int flags)
{
	enum { N = 8 };
	struct worker w[N];
	pthread_barrier_t start;
	size_t bus = 0, right = 0, other = 0;
	unsigned char *map = map_whole(prot, flags);
	pthread_barrier_init(&start, NULL, N);
	for (int i = 0; i < N; i++) {
		w[i] = (struct worker){ .map = map, .start = &start };
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (int i = 0; i < N; i++) {
		pthread_join(w[i].thread, NULL);
		bus += w[i].bus;
		right += w[i].right;
		other += w[i].other;
	}
	line(name, "%zu SIGBUS a page, %s, %zu others", bus / (bad_to - bad_from), right > 0 ? "neighbours right" : "no neighbour right",
	     other);
	pthread_barrier_destroy(&start);
	munmap(map, probe_len);
}

/* ---- the kernel ---- */

static void kernel(const char *kind, int prot, int flags)
{
	char name[64];
	unsigned char *map = map_whole(prot, flags), *bad = map + bad_from * probe_page;
	FILE *scratch = tmpfile();
	if (!scratch)
		probe_die("tmpfile");
	int fd = fileno(scratch);
	snprintf(name, sizeof name, "%s.write", kind);
	ssize_t n = write(fd, bad, probe_page);
	line(name, "%zd %s", n, n < 0 ? err_name(errno) : "written");
	struct iovec v[2] = { { bad, 100 }, { bad + probe_page, 100 } };
	n = writev(fd, v, 2);
	snprintf(name, sizeof name, "%s.writev", kind);
	line(name, "%zd %s", n, n < 0 ? err_name(errno) : "written");
	if (bad_from > 0) { /* up to the damage: that much, or an error, but no byte of the damage */
		n = pwrite(fd, bad - 1000, 3000, 0);
		snprintf(name, sizeof name, "%s.write-into-the-damage", kind);
		line(name, "%s", n <= 1000 ? "no byte of it" : "bytes of it");
	}
	if (prot & PROT_WRITE) {
		n = pwrite(fd, "news", 4, 0);
		n = pread(fd, bad + 10, 4, 0);
		snprintf(name, sizeof name, "%s.read", kind);
		line(name, "%zd %s", n, n < 0 ? err_name(errno) : "read");
		snprintf(name, sizeof name, "%s.store", kind);
		line(name, "%s", sig_name(touch(bad + 10, 1)));
	}
	snprintf(name, sizeof name, "%s.after-the-kernel", kind);
	pass(name, map, 0, 0);
	munmap(map, probe_len);
	fclose(scratch);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	probe_open(argv[1], argv[2]);
	pages = whole_pages(probe_len) / probe_page;
	bad_from = strtoul(argv[3], NULL, 10);
	bad_to = strtoul(argv[4], NULL, 10);
	if (argc > 5) {
		pass("once", map_whole(PROT_READ, MAP_PRIVATE), 0, 0);
		return 0;
	}
	one_kind("private", PROT_READ, MAP_PRIVATE);
	one_kind("shared", PROT_READ, MAP_SHARED);
	one_kind("writable", PROT_READ | PROT_WRITE, MAP_PRIVATE);
	threads("threads.private", PROT_READ, MAP_PRIVATE);
	threads("threads.shared", PROT_READ, MAP_SHARED);
	threads("threads.writable", PROT_READ | PROT_WRITE, MAP_PRIVATE);
	kernel("private", PROT_READ, MAP_PRIVATE);
	kernel("shared", PROT_READ, MAP_SHARED);
	kernel("writable", PROT_READ | PROT_WRITE, MAP_PRIVATE);
	return 0;
}
