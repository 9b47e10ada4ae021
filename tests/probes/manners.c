/*
 * manners MODE FILE REFERENCE [HOW]: a program that does what only its own author would think of, while it reads FILE.
 *
 *   read            read, pread, a mapping, stdio: the whole file by each
 *   forks [HOW]     threads that allocate and touch a mapping; meanwhile children that touch what they inherited, and allocate. HOW: a folder of
 *                   libraries that are loaded when the shim has threads already
 *   close HOW       a mapping partly touched; every descriptor from 3 on closed, by closefrom, close_range, a loop, or raw: a loop of system calls
 *                   by syscall(); the rest of the mapping
 *   exit            main ends by pthread_exit() while other threads read
 *   cancel          threads cancelled while they read
 *   errno           errno after calls that succeed
 *   share [clone]   a child on the same memory, by vfork() or clone(), puts another file in the place of FILE's descriptor, and reads it
 *   handler         a handler that reads and touches the file, in the middle of everything
 */
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "probe.h"

#define THREADS 4

static unsigned char *map;
static const char *how; /* NULL: none */
static _Atomic int stop, wrong, rounds;

/* pread() into memory of malloc's; false: other bytes. */
static int pread_right(size_t at, size_t len)
{
	unsigned char *buf = malloc(len);
	size_t want = probe_len - at < len ? probe_len - at : len;
	ssize_t n = pread(probe_fd, buf, len, (off_t)at);
	int right = n == (ssize_t)want && memcmp(buf, probe_want + at, want) == 0;
	free(buf);
	return right;
}

static int touch_right(unsigned int *seed)
{
	size_t at = (size_t)rand_r(seed) % (probe_len - 100);
	return memcmp(map + at, probe_want + at, 100) == 0;
}

static int one_right(unsigned int *seed)
{
	return touch_right(seed) && pread_right((size_t)rand_r(seed) % probe_len, 1 + (size_t)rand_r(seed) % 50000);
}

static void *reader(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	while (!stop) {
		wrong += !one_right(&seed);
		rounds++;
	}
	return NULL;
}

/* ---- read ---- */

static void read_each(void)
{
	unsigned char *buf = malloc(probe_len + 1);
	size_t at = 0;
	ssize_t n;
	while ((n = read(probe_fd, buf + at, 100003)) > 0)
		at += (size_t)n;
	line("read", "%zu %s", at, memcmp(buf, probe_want, probe_len) ? "wrong" : "right");
	memset(buf, 0, probe_len);
	for (at = 0; (n = pread(probe_fd, buf + at, 70001, (off_t)at)) > 0;)
		at += (size_t)n;
	line("pread", "%zu %s", at, memcmp(buf, probe_want, probe_len) ? "wrong" : "right");
	map = map_whole(PROT_READ, MAP_SHARED);
	line("mmap", "%s", verdict(map, 0, probe_len));
	munmap(map, probe_len);
	memset(buf, 0, probe_len);
	FILE *f = fopen(probe_path, "rb");
	at = f ? fread(buf, 1, probe_len + 1, f) : 0;
	line("fread", "%zu %s", at, memcmp(buf, probe_want, probe_len) ? "wrong" : "right");
	if (f)
		fclose(f);
	free(buf);
}

/* ---- forks ---- */

static void load_all(const char *folder)
{
	char path[4096];
	struct dirent *entry;
	DIR *d = folder ? opendir(folder) : NULL;
	int count = 0;
	while (d && (entry = readdir(d))) {
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (entry->d_name[0] == '.')
			continue;
		void *library = dlopen(path, RTLD_NOW);
		if (!library)
			probe_die(path);
		count++;
	}
	line("libraries", "%d", count);
	if (d)
		closedir(d);
}

static void forks(void)
{
	pthread_t threads[THREADS];
	int bad = 0;
	map = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	load_all(how);
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, reader, (void *)(i + 1));
	for (unsigned int i = 0; i < 60; i++) {
		if (i % 20 == 0) { /* untouched again */
			map = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE); /* a reader may still be in the old one */
			usleep(10000);
		}
		pid_t child = fork();
		if (child == 0) {
			unsigned int seed = 1000 + i, ok = 1;
			for (int k = 0; k < 20; k++)
				ok &= (unsigned int)one_right(&seed);
			_exit(ok ? 0 : 1);
		}
		int status = -1;
		waitpid(child, &status, 0);
		bad += status != 0;
	}
	stop = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	line("children", "%s", bad ? "wrong" : "right");
	line("threads", "%s", wrong || !rounds ? "wrong" : "right");
}

/* ---- close ---- */

static void close_all(void)
{
	unsigned int seed = 5;
	map = map_whole(PROT_READ, MAP_SHARED);
	for (int i = 0; i < 3; i++)
		wrong += !touch_right(&seed);
	if (!how)
		exit(2);
	if (strcmp(how, "closefrom") == 0)
		closefrom(3);
	else if (strcmp(how, "close_range") == 0)
		close_range(3, ~0u, 0);
	else if (strcmp(how, "raw") == 0)
		for (int fd = 3; fd < 65536; fd++)
			syscall(SYS_close, fd);
	else
		for (int fd = 3; fd < 65536; fd++)
			close(fd);
	line("touched before", "%s", wrong ? "wrong" : "right");
	line("touched after", "%s", verdict(map, 0, probe_len));
	madvise(map, probe_len, MADV_DONTNEED);
	line("dropped and touched", "%s", verdict(map, 0, probe_len));
	probe_fd = open(probe_path, O_RDONLY);
	line("opened again", "%d %s", probe_fd, pread_right(0, probe_len) ? "right" : "wrong");
	int status = -1;
	pid_t child = fork();
	if (child == 0)
		_exit(memcmp(map, probe_want, probe_len) ? 1 : 0);
	waitpid(child, &status, 0);
	line("child", "%s", status ? "wrong" : "right");
}

/* ---- exit ---- */

static pthread_t main_thread;

static void *after_main(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	pthread_join(main_thread, NULL);
	for (int i = 0; i < 200; i++)
		wrong += !one_right(&seed);
	line("after main", "%s", wrong ? "wrong" : "right");
	return NULL;
}

static void at_exit(void)
{
	unsigned int seed = 77;
	line("atexit", "%s", one_right(&seed) ? "right" : "wrong");
}

static void exit_early(void)
{
	pthread_t t;
	map = map_whole(PROT_READ, MAP_SHARED);
	main_thread = pthread_self();
	atexit(at_exit);
	pthread_create(&t, NULL, after_main, (void *)9);
	pthread_detach(t);
	pthread_exit(NULL);
}

/* ---- cancel ---- */

static void *endless(void *arg)
{
	unsigned char buf[3000];
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	for (;;) {
		size_t at = (size_t)rand_r(&seed) % (probe_len - sizeof buf);
		if (seed & 1)
			wrong += pread(probe_fd, buf, sizeof buf, (off_t)at) != sizeof buf || memcmp(buf, probe_want + at, sizeof buf);
		else
			wrong += read(probe_fd, buf, sizeof buf) < 0;
		lseek(probe_fd, (off_t)at, SEEK_SET);
		rounds++;
	}
	return NULL;
}

/* Already cancelled when it comes to read: nothing may have been read then. */
static void *never(void *arg)
{
	unsigned char *buf = arg;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	if (pread(probe_fd, buf, 100, 4000) < 0)
		return NULL;
	return buf;
}

static void cancel(void)
{
	unsigned char first[100];
	pthread_t bystander, t;
	void *ended;
	int cancelled = 0;
	map = map_whole(PROT_READ, MAP_SHARED);
	pthread_create(&bystander, NULL, reader, (void *)3);
	for (size_t i = 0; i < 200; i++) {
		int before = rounds;
		pthread_create(&t, NULL, endless, (void *)(i + 1));
		while (rounds < before + 3)
			sched_yield();
		pthread_cancel(t);
		pthread_join(t, &ended);
		cancelled += ended == PTHREAD_CANCELED;
	}
	memset(first, 0xee, sizeof first);
	pthread_create(&t, NULL, never, first);
	pthread_join(t, &ended);
	line("cancelled", "%d; at its entry: %s", cancelled, ended == PTHREAD_CANCELED && first[0] == 0xee && first[99] == 0xee ? "yes" : "no");
	int status = -1;
	pid_t child = fork();
	if (child == 0)
		_exit(pread_right(0, probe_len) ? 0 : 1);
	waitpid(child, &status, 0);
	stop = 1;
	pthread_join(bystander, NULL);
	line("others", "%s, child %s", wrong ? "wrong" : "right", status ? "wrong" : "right");
	/* A pin that was left behind would keep the view, so that nobody is asked for it again (CTSHIM_STATS). */
	munmap(map, probe_len);
	close(probe_fd);
	probe_fd = open(probe_path, O_RDONLY);
	line("opened again", "%s", pread_right(0, probe_len) ? "right" : "wrong");
}

/* ---- errno ---- */

#define KEPT(name, call) \
	do { \
		errno = 77; \
		long kept_r = (long)(call); \
		int kept_e = errno; \
		line(name, "%ld errno %d", kept_r, kept_e); \
	} while (0)

static void errno_kept(void)
{
	static unsigned char buf[300000];
	struct iovec v[2] = { { buf, 100000 }, { buf + 100000, 5 } };
	int p[2], copy, out = open("/tmp", O_TMPFILE | O_RDWR, 0600), null = open("/dev/null", O_WRONLY);
	off_t at = 5000, to = 0;
	FILE *f;
	if (out < 0 || null < 0 || pipe(p) < 0)
		probe_die("scratch");
	KEPT("open", (copy = open(probe_path, O_RDONLY)) < 0);
	KEPT("close", close(copy));
	KEPT("read", read(probe_fd, buf, 200000));
	KEPT("pread", pread(probe_fd, buf, 200000, 700000));
	KEPT("pread at the end", pread(probe_fd, buf, 10, (off_t)probe_len));
	KEPT("readv", readv(probe_fd, v, 2));
	KEPT("preadv", preadv(probe_fd, v, 2, 3));
	KEPT("preadv2", preadv2(probe_fd, v, 2, 3, 0));
	KEPT("syscall", syscall(SYS_pread64, probe_fd, buf, 1000, 5000));
	KEPT("sendfile", sendfile(out, probe_fd, &at, 50000));
	KEPT("copy_file_range", copy_file_range(probe_fd, &at, out, &to, 50000, 0));
	KEPT("splice", splice(probe_fd, &at, p[1], NULL, 4096, 0));
	KEPT("mmap", (map = mmap(NULL, probe_len, PROT_READ, MAP_SHARED, probe_fd, 0)) == MAP_FAILED);
	KEPT("touch", memcmp(map, probe_want, probe_len));
	KEPT("write from it", write(null, map, probe_len) != (ssize_t)probe_len);
	KEPT("madvise", madvise(map, probe_len, MADV_WILLNEED));
	KEPT("mprotect", mprotect(map, 4096, PROT_NONE));
	KEPT("munmap", munmap(map, probe_len));
	KEPT("dup", (copy = dup(probe_fd)) < 0);
	KEPT("dup2", dup2(probe_fd, copy) < 0);
	KEPT("fcntl", fcntl(copy, F_SETFD, FD_CLOEXEC));
	KEPT("close", close(copy));
	KEPT("fopen", (f = fopen(probe_path, "rb")) == NULL);
	KEPT("fread", fread(buf, 1, 100000, f));
	KEPT("fseek", fseek(f, 200000, SEEK_SET));
	KEPT("fread again", fread(buf, 1, 3, f));
	KEPT("fclose", fclose(f));
}

/* ---- share ---- */

static int put_other(void *arg)
{
	char c;
	int other = open("/proc/self/exe", O_RDONLY);
	(void)arg;
	if (dup2(other, probe_fd) != probe_fd || pread(probe_fd, &c, 1, 1) != 1 || c != 'E')
		_exit(1);
	close(probe_fd);
	if (dup2(other, probe_fd) != probe_fd || pread(probe_fd, &c, 1, 1) != 1)
		_exit(1);
	_exit(0);
}

static void shared_once(const char *name, pid_t pid)
{
	int status = -1;
	waitpid(pid, &status, 0);
	line(name, "%d %s", status, pread_right(100, 100000) ? "right" : "wrong");
}

static void share(void)
{
	static char stack[1 << 18] __attribute__((aligned(16)));
	wrong += !pread_right(0, 1000);
	if (how && strcmp(how, "clone") == 0) {
		shared_once("clone", clone(put_other, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
		return;
	}
	pid_t pid = vfork();
	if (pid == 0)
		put_other(NULL);
	shared_once("vfork", pid);
}

/* ---- handler ---- */

static volatile sig_atomic_t handled;
static unsigned char *handler_map;

static void on_timer(int signo)
{
	unsigned char buf[5000];
	int saved = errno;
	(void)signo;
	size_t at = (size_t)handled * 7919 * 4096 % (probe_len - sizeof buf);
	if (pread(probe_fd, buf, sizeof buf, (off_t)at) != sizeof buf || memcmp(buf, probe_want + at, sizeof buf) != 0)
		wrong++;
	if (memcmp(handler_map + at, probe_want + at, 300) != 0)
		wrong++;
	handled++;
	errno = saved;
}

static void handler(void)
{
	struct sigaction sa = { .sa_handler = on_timer, .sa_flags = SA_RESTART };
	struct itimerval every = { { 0, 700 }, { 0, 700 } }, off = { 0 };
	unsigned char *buf = malloc(probe_len);
	int streams = 0, maps = 0;
	handler_map = map_whole(PROT_READ, MAP_SHARED);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < 2000 && (i < 10 || handled < 100); i++) {
		FILE *f = fopen(probe_path, "rb");
		size_t n = 0;
		for (size_t piece = 1; f && n < probe_len; piece = piece * 2 + 1) {
			size_t got = fread(buf + n, 1, piece < probe_len - n ? piece : probe_len - n, f);
			if (got == 0)
				break;
			n += got;
		}
		streams += n == probe_len && memcmp(buf, probe_want, probe_len) == 0 ? 0 : 1;
		if (f)
			fclose(f);
		map = map_whole(PROT_READ, MAP_PRIVATE);
		maps += memcmp(map, probe_want, probe_len) != 0;
		munmap(map, probe_len);
		madvise(handler_map, probe_len, MADV_DONTNEED);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	line("streams", "%s", streams ? "wrong" : "right");
	line("mappings", "%s", maps ? "wrong" : "right");
	line("handler", "%s", wrong || handled < 10 ? "wrong" : "right");
	free(buf);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{ "read", read_each }, { "forks", forks }, { "close", close_all }, { "exit", exit_early }, { "cancel", cancel }, { "errno", errno_kept }, { "handler", handler },
		{ "share", share },
	};
	if (argc < 4)
		return 2;
	probe_open(argv[2], argv[3]);
	how = argv[4];
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		if (strcmp(argv[1], modes[i].name) == 0) {
			modes[i].run();
			return 0;
		}
	return 2;
}
