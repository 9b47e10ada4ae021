/*
 * signals FILE REFERENCE [BYTES]: a program with signal handlers of its own that maps FILE and touches it wherever a program may: in handlers, on small
 * stacks, with everything blocked. What it prints must not depend on who fills the pages; every byte is compared with REFERENCE.
 * BYTES: the alternate stack's, beyond two frames of the kernel's.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8

static const char *path;
static const unsigned char *want;
static size_t size;
static unsigned char *map;
static sigjmp_buf env;
static volatile sig_atomic_t calls;

/* A mapping that nobody has touched. */
static void fresh(void)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (map)
		munmap(map, size);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	if (map == MAP_FAILED) {
		printf("mmap: %s\n", strerror(errno));
		exit(2);
	}
}

static void touch(size_t seed)
{
	size_t at = seed * 2654435761u % (size - 64);
	if (memcmp(map + at, want + at, 64) != 0) {
		static const char text[] = "a wrong byte\n";
		(void)!write(1, text, sizeof text - 1);
		_exit(9);
	}
}

static void on_fault(int signo, siginfo_t *info, void *ucontext)
{
	(void)ucontext;
	calls++;
	touch((size_t)calls * 17);
	printf("fault: %d at %p\n", signo, info->si_addr);
	siglongjmp(env, 1);
}

static void on_count(int signo)
{
	int saved = errno;
	(void)signo;
	calls++;
	touch((size_t)calls * 7919);
	errno = saved;
}

static void null_checks(void)
{
	struct sigaction a = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	sigaction(SIGSEGV, &a, NULL);
	fresh();
	for (volatile int i = 0; i < 20; i++) {
		touch((size_t)i);
		if (sigsetjmp(env, 1) == 0)
			*(volatile int *volatile)(uintptr_t)(16 + i) = 1; /* NOLINT */
	}
	sigset_t now;
	sigprocmask(SIG_BLOCK, NULL, &now);
	printf("blocked afterwards: %d\n", sigismember(&now, SIGSEGV));
}

static void *blocked(void *arg)
{
	sigset_t fill, old;
	sigfillset(&fill);
	for (size_t i = 0; i < 300; i++) {
		pthread_sigmask(SIG_SETMASK, &fill, &old);
		touch((size_t)(uintptr_t)arg * 1000 + i);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		touch((size_t)(uintptr_t)arg * 1000 + i + 500);
	}
	return NULL;
}

/* Signals that come all the time, to threads that fault all the time, some with everything blocked. */
static void busy(void)
{
	pthread_t t[THREADS];
	struct sigaction a = { .sa_handler = on_count, .sa_flags = SA_RESTART | SA_ONSTACK };
	sigset_t all;
	sigfillset(&a.sa_mask);
	sigaction(SIGUSR1, &a, NULL);
	fresh();
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, blocked, (void *)(i + 1));
	for (int i = 0; i < 400; i++)
		pthread_kill(t[i % THREADS], SIGUSR1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, NULL, &all);
	printf("busy: blocked afterwards: %d\n", sigismember(&all, SIGSEGV));
}

static size_t room = 6144; /* for its own handler, over what the kernel needs */

static void small_stack(void)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ) ? getauxval(AT_MINSIGSTKSZ) : 2048;
	stack_t ss = { .ss_size = 2 * frame + room };
	struct sigaction a = { .sa_handler = on_count, .sa_flags = SA_ONSTACK };
	sigaction(SIGUSR2, &a, NULL);
	ss.ss_sp = malloc(ss.ss_size);
	printf("alternate stack: %d\n", sigaltstack(&ss, NULL));
	fresh();
	calls = 0;
	for (int i = 0; i < 10; i++)
		raise(SIGUSR2);
	printf("on it: %d calls\n", (int)calls);
	ss.ss_flags = SS_DISABLE;
	sigaltstack(&ss, NULL);
	free(ss.ss_sp);
}

static void waiting(void)
{
	sigset_t set, was;
	siginfo_t info;
	const struct timespec second = { .tv_sec = 10 };
	fresh();
	signal(SIGSEGV, on_count);
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigprocmask(SIG_BLOCK, &set, &was);
	calls = 0;
	kill(getpid(), SIGSEGV);
	touch(3);
	printf("held back: %d\n", (int)calls);
	printf("sigtimedwait: %d", sigtimedwait(&set, &info, &second));
	printf(" from us %d\n", info.si_pid == getpid());
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	struct signalfd_siginfo s = { 0 };
	kill(getpid(), SIGSEGV);
	ssize_t n = read(fd, &s, sizeof s);
	printf("signalfd: %zd %d\n", n, (int)s.ssi_signo);
	close(fd);
	raise(SIGSEGV);
	touch(4);
	sigprocmask(SIG_SETMASK, &was, NULL);
	printf("let in: %d\n", (int)calls);
}

static void ends(int how)
{
	int status, ready[2];
	char byte;
	fflush(NULL);
	if (pipe(ready) != 0)
		exit(2);
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, how == 1 ? SIG_IGN : SIG_DFL);
		fresh();
		touch(5);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		if (how == 2)
			raise(SIGSEGV);
		else if (how == 3)
			for (;;)
				pause();
		else
			*(volatile int *volatile)(uintptr_t)8 = 1; /* NOLINT */
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1 && how == 3)
		kill(pid, SIGSEGV);
	close(ready[0]);
	while (waitpid(pid, &status, 0) < 0)
		;
	printf("end %d: signal %d\n", how, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

int main(int argc, char **argv)
{
	struct stat st;
	if (argc < 3)
		return 2;
	if (argc > 3)
		room = (size_t)atol(argv[3]);
	path = argv[1];
	int fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		return 2;
	size = (size_t)st.st_size;
	want = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	setvbuf(stdout, NULL, _IOLBF, 0);
	null_checks();
	busy();
	small_stack();
	waiting();
	for (int how = 0; how < 4; how++)
		ends(how);
	printf("right\n");
	return 0;
}
