/*
 * lazy_order FILE REFERENCE COMMAND…: in what order pages are asked for, and what madvise() makes of it.
 *
 *   pass private|shared ADVICE   everything from front to back, after madvise(ADVICE) (normal, sequential, random, willneed)
 *   touch ADVICE PAGE…           these pages, in this order
 *   fill HOW FROM PAGES          makes the pages be filled without touching one (willneed, posix_willneed, populate_read, populate_write,
 *                                map_populate), waits for it and ends
 *   firsts BYTE… await BYTE…     touches the bytes at these offsets in this order, waits until the pages of the others are there, and reads those
 *   dontneed                     fills all, gives all back, ends; says whether the memory went
 *   advice                       every advice there is: what it returns, what is there afterwards
 */
#include <time.h>

#include "probe.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static int advice_of(const char *name)
{
	return strcmp(name, "sequential") == 0 ? MADV_SEQUENTIAL : strcmp(name, "random") == 0 ? MADV_RANDOM :
	       strcmp(name, "willneed") == 0 ? MADV_WILLNEED : MADV_NORMAL;
}

static void check_page(const unsigned char *map, size_t page)
{
	size_t off = page * probe_page, left = probe_len - off;
	const char *says = verdict(map + off, off, left < probe_page ? left : probe_page);
	if (strcmp(says, "right") != 0) {
		line("touch", "page %zu: %s", page, says);
		exit(1);
	}
}

static size_t resident(void *p, size_t pages)
{
	static unsigned char in[1 << 17];
	size_t n = 0;
	if (mincore(p, pages * probe_page, in) < 0)
		probe_die("mincore");
	for (size_t i = 0; i < pages; i++)
		n += in[i] & 1u;
	return n;
}

static void await(void *p, size_t pages)
{
	struct timespec ms = { 0, 1000000 };
	for (int i = 0; i < 20000 && resident(p, pages) < pages; i++)
		nanosleep(&ms, NULL);
	line("fill", "%s", resident(p, pages) == pages ? "all there" : "pages missing after 20 s");
}

static void fill(const char *how, size_t from, size_t pages)
{
	int err = 0, populate = strcmp(how, "map_populate") == 0 ? MAP_POPULATE : 0;
	size_t len = pages * probe_page;
	unsigned char *p;
	if (populate) {
		p = map_part(PROT_READ, MAP_PRIVATE | populate, from * probe_page, len);
	} else {
		p = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE) + from * probe_page;
		if (strcmp(how, "willneed") == 0)
			err = madvise(p, len, MADV_WILLNEED) ? errno : 0;
		else if (strcmp(how, "posix_willneed") == 0)
			err = posix_madvise(p, len, POSIX_MADV_WILLNEED);
		else
			err = madvise(p, len, strcmp(how, "populate_write") == 0 ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) ? errno : 0;
	}
	line(how, "%s", err ? err_name(err) : "ok");
	await(p, pages);
}

static void firsts(char **arg)
{
	unsigned char *map = map_whole(PROT_READ, MAP_PRIVATE);
	for (; *arg && strcmp(*arg, "await") != 0; arg++) {
		size_t at = strtoul(*arg, NULL, 10);
		line("first", "%s", verdict(map + at, at, 1));
	}
	for (arg += *arg != NULL; *arg; arg++) {
		size_t at = strtoul(*arg, NULL, 10);
		await(map + at / probe_page * probe_page, 1);
		line("awaited", "%s", verdict(map + at, at, 1));
	}
}

/* Resident bytes of [p, p + len), as /proc/self/smaps has them. */
static size_t rss(const unsigned char *p, size_t len)
{
	char text[512];
	unsigned long a = 0, b = 0, kib;
	size_t sum = 0;
	FILE *f = fopen("/proc/self/smaps", "r");
	if (!f)
		probe_die("/proc/self/smaps");
	while (fgets(text, sizeof text, f)) {
		unsigned long x, y;
		if (sscanf(text, "%lx-%lx ", &x, &y) == 2) {
			a = x;
			b = y;
		} else if (sscanf(text, "Rss: %lu kB", &kib) == 1 && a < (uintptr_t)p + len && b > (uintptr_t)p) {
			sum += kib << 10;
		}
	}
	fclose(f);
	return sum;
}

static void dontneed(void)
{
	unsigned char *map = map_whole(PROT_READ, MAP_PRIVATE);
	line("before", "%s", verdict(map, 0, probe_len));
	size_t full = rss(map, probe_len);
	line("held", "%s", full + (1u << 20) > probe_len ? "all" : "not all");
	int r = madvise(map, probe_len, MADV_DONTNEED);
	line("dontneed", "%s, %s", r ? err_name(errno) : "ok", rss(map, probe_len) < probe_len / 16 ? "gave it back" : "still holds it");
}

/* ---- every advice ---- */

static void one(const char *name, const char *kind, int prot, int flags, int advice)
{
	static const char *const when[] = { "fresh", "filled", "amid" };
	for (int i = 0; i < 3; i++) {
		char text[96];
		unsigned char *map = map_whole(prot, flags);
		size_t from = i == 2 ? 37 * probe_page : 0, len = i == 2 ? 300 * probe_page : probe_len;
		if (i > 0)
			verdict(map, 0, probe_len);
		int r = madvise(map + from, len, advice), err = errno;
		snprintf(text, sizeof text, "%s.%s.%s", name, kind, when[i]);
		line(text, "%s, then %s", r ? err_name(err) : "ok", verdict(map, 0, probe_len));
		munmap(map, probe_len);
	}
}

static void wrong_ranges(void)
{
	size_t len = whole_pages(probe_len);
	unsigned char *map = map_whole(PROT_READ, MAP_PRIVATE);
	int r = madvise(map + 100, probe_page, MADV_DONTNEED);
	line("unaligned", "%s", r ? err_name(errno) : "ok");
	r = madvise(map + probe_page, 0, MADV_DONTNEED);
	line("no-length", "%s", r ? err_name(errno) : "ok");
	r = madvise(map, probe_page, 12345);
	line("no-such-advice", "%s", r ? err_name(errno) : "ok");
	munmap(map + 10 * probe_page, probe_page);
	r = madvise(map, 30 * probe_page, MADV_DONTNEED);
	line("over-a-hole", "%s", r ? err_name(errno) : "ok");
	r = madvise(map, 30 * probe_page, MADV_WILLNEED);
	line("willneed-over-a-hole", "%s", r ? err_name(errno) : "ok");
	line("around-the-hole", "%s", verdict(map + 11 * probe_page, 11 * probe_page, probe_len - 11 * probe_page));
	munmap(map, 10 * probe_page);
	munmap(map + 11 * probe_page, len - 11 * probe_page);
}

/* What the application wrote: gone where the kernel says that it goes, kept everywhere else. */
static void written(void)
{
	static const struct { const char *name; int advice; } keep[] = {
		{ "willneed", MADV_WILLNEED }, { "sequential", MADV_SEQUENTIAL }, { "cold", MADV_COLD }, { "pageout", MADV_PAGEOUT },
		{ "free", MADV_FREE }, { "populate_read", MADV_POPULATE_READ }, { "populate_write", MADV_POPULATE_WRITE },
		{ "dontneed", MADV_DONTNEED },
	};
	for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
		char text[64];
		unsigned char *map = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE);
		size_t a = 5 * probe_page + 7, b = probe_len / 2; /* one page amid filled ones, one that is touched by the store alone */
		verdict(map, 0, 20 * probe_page);
		map[a] = (unsigned char)~probe_want[a];
		map[b] = (unsigned char)~probe_want[b];
		madvise(map, probe_len, keep[i].advice);
		int kept_a = map[a] != probe_want[a], kept_b = map[b] != probe_want[b];
		map[a] = probe_want[a];
		map[b] = probe_want[b];
		snprintf(text, sizeof text, "written.%s", keep[i].name);
		line(text, "%s %s, the rest %s", kept_a ? "kept" : "gone", kept_b ? "kept" : "gone", verdict(map, 0, probe_len));
		munmap(map, probe_len);
	}
}

static void all_advice(void)
{
	static const struct { const char *name; int advice; } known[] = {
		{ "normal", MADV_NORMAL }, { "sequential", MADV_SEQUENTIAL }, { "random", MADV_RANDOM }, { "willneed", MADV_WILLNEED },
		{ "dontneed", MADV_DONTNEED }, { "free", MADV_FREE }, { "remove", MADV_REMOVE }, { "cold", MADV_COLD },
		{ "pageout", MADV_PAGEOUT }, { "populate_read", MADV_POPULATE_READ }, { "populate_write", MADV_POPULATE_WRITE },
		{ "dontfork", MADV_DONTFORK }, { "dofork", MADV_DOFORK }, { "wipeonfork", MADV_WIPEONFORK },
		{ "keeponfork", MADV_KEEPONFORK }, { "dontdump", MADV_DONTDUMP }, { "hugepage", MADV_HUGEPAGE },
		{ "nohugepage", MADV_NOHUGEPAGE }, { "collapse", MADV_COLLAPSE }, { "mergeable", MADV_MERGEABLE },
		{ "unmergeable", MADV_UNMERGEABLE }, { "dontneed_locked", MADV_DONTNEED_LOCKED },
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		one(known[i].name, "private", PROT_READ, MAP_PRIVATE, known[i].advice);
		one(known[i].name, "shared", PROT_READ, MAP_SHARED, known[i].advice);
		one(known[i].name, "writable", PROT_READ | PROT_WRITE, MAP_PRIVATE, known[i].advice);
	}
	for (int a = 0; a <= POSIX_MADV_DONTNEED; a++) {
		char text[32];
		unsigned char *map = map_whole(PROT_READ, MAP_SHARED);
		int err = posix_madvise(map, probe_len, a);
		snprintf(text, sizeof text, "posix.%d", a);
		line(text, "%s, then %s", err ? err_name(err) : "ok", verdict(map, 0, probe_len));
		munmap(map, probe_len);
	}
	wrong_ranges();
	written();
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	probe_open(argv[1], argv[2]);
	if (strcmp(argv[3], "pass") == 0 && argc > 5) {
		unsigned char *map = map_whole(PROT_READ, strcmp(argv[4], "shared") == 0 ? MAP_SHARED : MAP_PRIVATE);
		madvise(map, probe_len, advice_of(argv[5]));
		line("pass", "%s", verdict(map, 0, probe_len));
	} else if (strcmp(argv[3], "touch") == 0 && argc > 4) {
		unsigned char *map = map_whole(PROT_READ, MAP_PRIVATE);
		madvise(map, probe_len, advice_of(argv[4]));
		for (int i = 5; i < argc; i++)
			check_page(map, strtoul(argv[i], NULL, 10));
		line("touch", "%d pages right", argc - 5);
	} else if (strcmp(argv[3], "fill") == 0 && argc > 6) {
		fill(argv[4], strtoul(argv[5], NULL, 10), strtoul(argv[6], NULL, 10));
	} else if (strcmp(argv[3], "firsts") == 0) {
		firsts(argv + 4);
	} else if (strcmp(argv[3], "dontneed") == 0) {
		dontneed();
	} else if (strcmp(argv[3], "advice") == 0) {
		all_advice();
	} else {
		return 2;
	}
	return 0;
}
