/*
 * storm ENCRYPTED VIEW SECONDS: everything at once on one encrypted file, compared byte for byte with VIEW, its plain content.
 *
 * Threads read at random places (pread, readv, read on descriptors of their own), map and unmap, open and close; a timer's signal handler
 * preads and compares; the main thread forks children that read what they inherited. errno must survive a good call. One line
 * and status 1 at the first wrong byte. Run it under a time limit: a deadlock shows as one.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 6

static const char *path;
static const unsigned char *want;
static size_t size;
static int shared_fd;
static volatile sig_atomic_t stop, handled;

static void wrong(const char *what, size_t at, size_t len, ssize_t got)
{
	dprintf(2, "storm: %s: wrong at %zu + %zu (%zd, errno %d)\n", what, at, len, got, errno);
	_exit(1);
}

static void check_pread(const char *what, int fd, unsigned char *buf, size_t at, size_t len)
{
	size_t expect = size - at < len ? size - at : len;
	errno = 77;
	ssize_t n = pread(fd, buf, len, (off_t)at);
	if (n != (ssize_t)expect || errno != 77 || memcmp(buf, want + at, expect) != 0)
		wrong(what, at, len, n);
}

static void on_timer(int sig)
{
	unsigned char buf[5000]; /* not static: two threads may be in here */
	static unsigned int seed = 1;
	int saved = errno;
	(void)sig;
	seed = seed * 1103515245u + 12345u;
	size_t at = seed % size;
	ssize_t n = pread(shared_fd, buf, sizeof buf, (off_t)at);
	size_t expect = size - at < sizeof buf ? size - at : sizeof buf;
	if (n != (ssize_t)expect || memcmp(buf, want + at, expect) != 0)
		wrong("handler", at, sizeof buf, n);
	handled++;
	errno = saved;
}

static void one(unsigned char *buf, unsigned int *seed)
{
	size_t at = (size_t)rand_r(seed) % size, len = 1 + (size_t)rand_r(seed) % 200000;
	switch (rand_r(seed) % 6) {
	case 0: {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		check_pread("fresh descriptor", fd, buf, at, len);
		close(fd);
		break;
	}
	case 1: {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		size_t half = len / 2, expect = size - at < len ? size - at : len;
		struct iovec v[2] = { { buf, half }, { buf + half, len - half } };
		lseek(fd, (off_t)at, SEEK_SET);
		ssize_t n = readv(fd, v, 2);
		if (n != (ssize_t)expect || memcmp(buf, want + at, expect) != 0 || lseek(fd, 0, SEEK_CUR) != (off_t)(at + expect))
			wrong("readv", at, len, n);
		close(fd);
		break;
	}
	case 2: {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
		close(fd);
		if (p == MAP_FAILED || memcmp(p, want, size) != 0)
			wrong("map", 0, size, -1);
		memset(p, 0, size / 2);
		munmap(p, size);
		break;
	}
	default:
		check_pread("shared descriptor", shared_fd, buf, at, len);
	}
}

static void *thread(void *arg)
{
	unsigned int seed = (unsigned int)(size_t)arg;
	unsigned char *buf = malloc(200000);
	while (!stop)
		one(buf, &seed);
	free(buf);
	return NULL;
}

static void forked(unsigned int *seed)
{
	pid_t pid = fork();
	if (pid == 0) {
		unsigned char *buf = malloc(200000);
		for (int i = 0; i < 20; i++)
			check_pread("child", shared_fd, buf, (size_t)rand_r(seed) % size, 1 + (size_t)rand_r(seed) % 100000);
		one(buf, seed);
		_exit(0);
	}
	int status;
	while (waitpid(pid, &status, 0) < 0)
		;
	if (status != 0)
		wrong("fork", 0, 0, status);
}

/* As Python's subprocess does it: the child shares our memory, and its closing must not make us forget. */
static void vforked(void)
{
	static unsigned char buf[4096];
	pid_t pid = vfork();
	if (pid == 0) {
		close_range(3, ~0u, 0);
		_exit(0);
	}
	while (waitpid(pid, NULL, 0) < 0)
		;
	check_pread("after vfork", shared_fd, buf, size / 2, sizeof buf);
}

int main(int argc, char **argv)
{
	pthread_t t[THREADS];
	unsigned int seed = 99;
	struct stat st;
	if (argc != 4)
		return 2;
	path = argv[1];
	int fd = open(argv[2], O_RDONLY);
	fstat(fd, &st);
	size = (size_t)st.st_size;
	want = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	shared_fd = open(path, O_RDONLY);
	if (want == MAP_FAILED || shared_fd < 0)
		return 2;
	struct sigaction sa = { .sa_handler = on_timer, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	struct itimerval every = { { 0, 2000 }, { 0, 2000 } };
	setitimer(ITIMER_REAL, &every, NULL);
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, thread, (void *)(i + 1));
	time_t end = time(NULL) + atoi(argv[3]);
	int rounds = 0;
	while (time(NULL) < end) {
		forked(&seed);
		vforked();
		rounds++;
	}
	stop = 1;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	printf("right, %d forks, %d signals\n", rounds, (int)handled);
	return rounds > 0 && handled > 0 ? 0 : 1;
}
