/*
 * lazy_storm ENCRYPTED VIEW SECONDS: a mapping that is touched from everywhere at once, compared byte for byte with VIEW, its plain content.
 * lazy_storm ENCRYPTED VIEW all: every page of a mapping once, in an order drawn at random, by four threads.
 *
 * 32 threads touch pages of one shared mapping at random. Beside them others map, write, hand to the kernel, unmap in parts and whole; give
 * pages of the shared mapping back and ask for them (madvise); read by pread; fork children that look at pages of both mappings, touched or not;
 * start programs (posix_spawn). At the first wrong byte a line and status 1; status 3 and a line a thread, what it was doing and for how
 * long, when one of them has not moved for STORM_HANG seconds (default 30). Prints its pid and what it did.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TOUCHERS = 32, THREADS = TOUCHERS + 8, PASSES = 4 };

struct thread {
	pthread_t id;
	const char *name;
	void (*step)(struct thread *);
	uint64_t random, touched; /* pages */
	_Atomic(const char *) doing;
	_Atomic size_t at; /* of the page it looked at last */
	_Atomic uint64_t steps;
	_Atomic pid_t child;
	unsigned char *buf;
};

static const char *path;
static const unsigned char *want, *mapping;
static unsigned char *private_map; /* of the forker: its children see what it wrote */
static size_t size, page, pages;
static int descriptor;
static atomic_bool stop;
static struct thread threads[THREADS];
static size_t *order; /* of the pages, for "all" */
static atomic_size_t next_page;

_Noreturn static void wrong(const char *what, size_t at, size_t len)
{
	dprintf(2, "lazy_storm: %s: wrong at %zu + %zu (pid %d, errno %d)\n", what, at, len, (int)getpid(), errno);
	_exit(1);
}

static void *must(void *p, const char *what)
{
	if (p == MAP_FAILED)
		wrong(what, 0, 0);
	return p;
}

static size_t draw(struct thread *t, size_t below)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return t->random % below;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* One page of a mapping of the whole file: most of the time a few of its bytes, as code does that looks at a tensor. */
static void check_page(struct thread *t, const char *what, const unsigned char *map, size_t at)
{
	size_t len = smaller(page, size - at);
	t->at = at;
	t->touched++;
	if (draw(t, 4) && len > 64) {
		at += draw(t, len - 64);
		len = 64;
	}
	if (memcmp(map + at, want + at, len) != 0)
		wrong(what, at, len);
}

/* The pause leaves the others a share of the processor; it is short against their steps. */
static void touch(struct thread *t)
{
	t->doing = "touching";
	for (int i = 0; i < 50; i++)
		check_page(t, "shared mapping", mapping, draw(t, pages) * page);
	usleep(2000);
}

static void give_back(struct thread *t)
{
	static const int advice[] = { MADV_DONTNEED, MADV_DONTNEED, MADV_DONTNEED, MADV_WILLNEED, MADV_RANDOM, MADV_SEQUENTIAL, MADV_NORMAL };
	size_t first = draw(t, pages), count = 1 + draw(t, draw(t, 8) ? 64 : 4096);
	t->doing = "madvise";
	if (madvise((void *)(uintptr_t)(mapping + first * page), smaller(count, pages - first) * page, advice[draw(t, 7)]) != 0)
		wrong("madvise", first * page, count * page);
	t->doing = "looking at what was given back";
	for (size_t i = 0; i < 16; i++)
		check_page(t, "after madvise", mapping, smaller(first + draw(t, count), pages - 1) * page);
	usleep(1000);
}

static void read_some(struct thread *t)
{
	size_t at = draw(t, size), len = smaller(1 + draw(t, 1 << 20), size - at), done = 0;
	t->doing = "pread";
	while (done < len) {
		ssize_t n = pread(descriptor, t->buf + done, len - done, (off_t)(at + done));
		if (n <= 0)
			wrong("pread", at + done, len - done);
		done += (size_t)n;
	}
	if (memcmp(t->buf, want + at, len) != 0)
		wrong("pread", at, len);
	usleep(1000);
}

/* What was written to a private mapping stays, and only there; its neighbours are the file's. */
static void write_some(struct thread *t, unsigned char *map, size_t len, size_t from)
{
	size_t first = draw(t, len / page) * page, n = smaller(page, len - first);
	t->doing = "writing to a private mapping";
	memset(map + first, 0xa5, n);
	madvise(map + first, n, MADV_WILLNEED);
	for (size_t i = 0; i < n; i++)
		if (map[first + i] != 0xa5)
			wrong("written page", from + first, n);
	if (first >= page && memcmp(map + first - page, want + from + first - page, page) != 0)
		wrong("page before a written one", from + first - page, page);
	memcpy(map + first, want + from + first, n);
}

/* The kernel reads the pages: where it cannot fault them in, they must have been filled before. */
static void hand_over(struct thread *t, const unsigned char *map, size_t len, size_t from)
{
	int fd = (int)syscall(SYS_memfd_create, "storm", MFD_CLOEXEC);
	size_t at = draw(t, len), n = smaller(1 + draw(t, 300000), len - at);
	t->doing = "pwrite from a mapping";
	if (fd < 0 || pwrite(fd, map + at, n, 0) != (ssize_t)n)
		wrong("pwrite", from + at, n);
	if (pread(fd, t->buf, n, 0) != (ssize_t)n || memcmp(t->buf, want + from + at, n) != 0)
		wrong("what pwrite wrote", from + at, n);
	close(fd);
}

static void map_some(struct thread *t)
{
	bool private = draw(t, 2);
	size_t from = draw(t, pages) * page, len = smaller((1 + draw(t, 2048)) * page, size - from), half = (len / 2 + page - 1) / page * page;
	t->doing = "open and mmap";
	int fd = draw(t, 2) ? open(path, O_RDONLY | O_CLOEXEC) : dup(descriptor);
	unsigned char *p = must(mmap(NULL, len, private ? PROT_READ | PROT_WRITE : PROT_READ, private ? MAP_PRIVATE : MAP_SHARED, fd, (off_t)from),
	                        "mmap");
	close(fd);
	t->doing = "reading a mapping of its own";
	for (size_t i = 0; i < 16; i++) {
		size_t at = draw(t, len), n = smaller(1 + draw(t, 3 * page), len - at);
		if (memcmp(p + at, want + from + at, n) != 0)
			wrong("own mapping", from + at, n);
	}
	if (private && len >= page)
		write_some(t, p, len, from);
	hand_over(t, p, len, from);
	t->doing = "munmap of a part";
	if (half < len) {
		munmap(p + half, len - half);
		if (memcmp(p + half - page, want + from + half - page, page) != 0)
			wrong("before the unmapped part", from + half - page, page);
		len = half;
	}
	t->doing = "munmap";
	munmap(p, len);
}

static void wait_for(struct thread *t, pid_t pid, const char *what)
{
	int status;
	t->child = pid;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			wrong("waitpid", 0, 0);
	t->child = 0;
	if (status != 0)
		wrong(what, 0, (size_t)status);
}

/* The child looks at pages that were touched before, at others, and at what its parent wrote; then the parent at what it wrote itself. */
static void fork_one(struct thread *t)
{
	size_t mine = draw(t, pages - 1) * page;
	t->doing = "writing before a fork";
	memset(private_map + mine, 0x5a, page);
	t->doing = "fork";
	pid_t pid = fork();
	if (pid < 0)
		wrong("fork", 0, 0);
	if (pid == 0) {
		for (int i = 0; i < 40; i++)
			check_page(t, "shared mapping in a child", mapping, draw(t, pages) * page);
		for (size_t i = 0; i < page; i++)
			if (private_map[mine + i] != 0x5a)
				wrong("written page in a child", mine, page);
		memcpy(private_map + mine, want + mine, page);
		for (int i = 0; i < 10; i++)
			check_page(t, "private mapping in a child", private_map, draw(t, pages) * page);
		read_some(t);
		_exit(0);
	}
	t->doing = "waiting for a fork child";
	wait_for(t, pid, "fork child");
	t->doing = "looking at what it wrote before a fork";
	for (size_t i = 0; i < page; i++)
		if (private_map[mine + i] != 0x5a)
			wrong("written page after a fork", mine, page);
	memcpy(private_map + mine, want + mine, page);
	for (int i = 0; i < 10; i++)
		check_page(t, "private mapping after a fork", private_map, draw(t, pages) * page);
}

static void spawn_one(struct thread *t)
{
	char *argv[] = { (char[]){ "true" }, NULL };
	pid_t pid;
	t->doing = "posix_spawn";
	if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) != 0)
		wrong("posix_spawn", 0, 0);
	t->doing = "waiting for a spawned program";
	wait_for(t, pid, "spawned program");
	check_page(t, "after a spawned program", mapping, draw(t, pages) * page);
}

static void *run(void *arg)
{
	struct thread *t = arg;
	while (!stop) {
		t->step(t);
		t->steps++;
	}
	t->doing = "ended";
	return NULL;
}

static void *run_all(void *arg)
{
	struct thread *t = arg;
	size_t i;
	while ((i = next_page++) < pages) {
		size_t at = order[i] * page;
		t->doing = "touching";
		t->at = at;
		t->touched++;
		if (memcmp(mapping + at, want + at, smaller(page, size - at)) != 0)
			wrong("page", at, page);
		t->steps++;
	}
	t->doing = "ended";
	return NULL;
}

_Noreturn static void give_up(int count, const time_t *moved, time_t now)
{
	for (int i = 0; i < count; i++) {
		struct thread *t = &threads[i];
		if (now - moved[i] < 2)
			continue;
		dprintf(2, "lazy_storm: hangs: thread %d, %s: %s for %ld s after %llu steps, last page at %zu, child %d\n", i, t->name, t->doing,
		        (long)(now - moved[i]), (unsigned long long)t->steps, t->at, (int)t->child);
		if (t->child)
			kill(t->child, SIGKILL);
	}
	_exit(3);
}

/* Waits until all threads have ended or, `seconds` after the start, were told to; a thread that does not move ends the process. */
static void watch(int count, int seconds)
{
	uint64_t seen[THREADS] = { 0 };
	time_t moved[THREADS], start = time(NULL), now = start;
	const char *limit = getenv("STORM_HANG");
	int patience = limit ? atoi(limit) : 30, running = count;
	for (int i = 0; i < count; i++)
		moved[i] = start;
	while (running > 0) {
		bool hang = false;
		usleep(50000);
		now = time(NULL);
		if (seconds > 0 && now - start >= seconds)
			stop = true;
		running = 0;
		for (int i = 0; i < count; i++) {
			bool ended = strcmp(threads[i].doing, "ended") == 0;
			if (threads[i].steps != seen[i] || ended)
				moved[i] = now;
			seen[i] = threads[i].steps;
			running += !ended;
			hang |= now - moved[i] >= patience;
		}
		if (hang)
			give_up(count, moved, now);
	}
}

static void start(int count, void *(*body)(void *))
{
	static const struct {
		const char *name;
		void (*step)(struct thread *);
	} others[THREADS - TOUCHERS] = {
		{ "mapper", map_some }, { "mapper", map_some }, { "mapper", map_some }, { "reader", read_some }, { "adviser", give_back },
		{ "adviser", give_back }, { "forker", fork_one }, { "spawner", spawn_one },
	};
	for (int i = 0; i < count; i++) {
		struct thread *t = &threads[i];
		t->name = i < TOUCHERS ? "toucher" : others[i - TOUCHERS].name;
		t->step = i < TOUCHERS ? touch : others[i - TOUCHERS].step;
		t->random = 88172645463325252u + (uint64_t)i * 0x9e3779b97f4a7c15u;
		t->doing = "starting";
		t->buf = malloc(1 << 20);
		if (!t->buf || pthread_create(&t->id, NULL, body, t) != 0)
			wrong("starting a thread", 0, 0);
	}
}

static void shuffle(void)
{
	struct thread t = { .random = 4 };
	order = malloc(pages * sizeof *order);
	if (!order)
		wrong("malloc", 0, 0);
	for (size_t i = 0; i < pages; i++) {
		size_t j = draw(&t, i + 1);
		order[i] = order[j];
		order[j] = i;
	}
}

static uint64_t pages_touched(void)
{
	uint64_t sum = 0;
	for (int i = 0; i < THREADS; i++)
		sum += threads[i].touched;
	return sum;
}

static uint64_t steps_of(const char *name)
{
	uint64_t sum = 0;
	for (int i = 0; i < THREADS; i++)
		if (threads[i].name && strcmp(threads[i].name, name) == 0)
			sum += threads[i].steps;
	return sum;
}

int main(int argc, char **argv)
{
	struct stat st;
	if (argc != 4)
		return 2;
	bool all = strcmp(argv[3], "all") == 0;
	int view = open(argv[2], O_RDONLY | O_CLOEXEC), count = all ? PASSES : THREADS;
	path = argv[1];
	descriptor = open(path, O_RDONLY | O_CLOEXEC);
	if (view < 0 || descriptor < 0 || fstat(view, &st) < 0)
		wrong("open", 0, 0);
	size = (size_t)st.st_size;
	page = (size_t)sysconf(_SC_PAGESIZE);
	pages = (size + page - 1) / page;
	want = must(mmap(NULL, size, PROT_READ, MAP_PRIVATE, view, 0), "mmap of the view");
	mapping = must(mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0), "mmap");
	if (!all)
		private_map = must(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0), "private mmap");
	else
		shuffle();
	start(count, all ? run_all : run);
	watch(count, all ? 0 : atoi(argv[3]));
	for (int i = 0; i < count; i++)
		pthread_join(threads[i].id, NULL);
	printf("right, pid %d, pages %llu, maps %llu, reads %llu, advices %llu, forks %llu, spawns %llu\n", (int)getpid(),
	       (unsigned long long)pages_touched(), (unsigned long long)steps_of("mapper"), (unsigned long long)steps_of("reader"),
	       (unsigned long long)steps_of("adviser"), (unsigned long long)steps_of("forker"), (unsigned long long)steps_of("spawner"));
	return 0;
}
