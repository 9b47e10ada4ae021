/*
 * librego for the tests of ct-policy-rego: an engine that does what a hostile policy would have it do, once it is asked. A rule do := `NAME` in
 * the policy says what. The verdict is true if it worked, false if it failed; what ends the process gives none.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char wanted[64];
static const char *text = "undefined";
static pid_t parent;
static char **old_environ;

#ifdef WITH_THREAD /* one that would stay outside of the lock */
static void *stay(void *p)
{
	pause();
	return p;
}
#endif

/* Before the process is locked. */
__attribute__((constructor)) static void start(int argc, char **argv)
{
	parent = getppid();
	old_environ = argv + argc + 1; /* where the kernel has put it */
#ifdef WITH_THREAD
	pthread_create(&(pthread_t){ 0 }, NULL, stay, NULL);
#endif
}

static int can_open(void)
{
	return open("/proc/self/status", O_RDONLY) >= 0 || open("/etc/passwd", O_RDONLY) >= 0 || syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY) >= 0;
}

static int can_create(void)
{
	return open("made-by-the-engine", O_CREAT | O_WRONLY, 0600) >= 0 || mkdirat(AT_FDCWD, "made-by-the-engine", 0700) == 0;
}

static int can_fork(void)
{
	pid_t p = fork();

	if (p == 0)
		_exit(0);
	return p > 0;
}

static int can_exec(void)
{
	char *argv[] = { "sh", "-c", "printf true >&4", NULL };

	execv("/bin/sh", argv);
	return 0;
}

static void *nothing(void *p)
{
	return p;
}

static int can_thread(void)
{
	pthread_t t;

	return pthread_create(&t, NULL, nothing, NULL) == 0;
}

static int can_read_parent(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)(uintptr_t)&text, 1 };

	return process_vm_readv(parent, &here, 1, &there, 1, 0) == 1;
}

static int can_run_data(void)
{
	static const unsigned char code[] = { 0xc3 };
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 0;
	memcpy(p, code, sizeof code);
	return mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
}

static int can_raise_limits(void)
{
	const struct rlimit more = { 60, 60 };

	return setrlimit(RLIMIT_CPU, &more) == 0;
}

static int can_see_environment(void)
{
	for (char **e = environ; e && *e; e++)
		return 1;
	for (char **e = old_environ; e && *e; e++)
		if (strstr(*e, "hunter2"))
			return 1;
	return 0;
}

static int eat(void)
{
	for (size_t i = 0; i < 400; i++) {
		char *p = malloc(1 << 20);

		if (!p)
			return 0;
		memset(p, 1, 1 << 20);
	}
	return 1;
}

__attribute__((noreturn)) static int wait_long(void)
{
	static uint32_t word;

	for (;;)
		syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static int act(const char *name)
{
	char big[4096];

	memset(big, 'x', sizeof big);
	if (!strcmp(name, "nothing"))
		return 1;
	if (!strcmp(name, "open"))
		return can_open();
	if (!strcmp(name, "create"))
		return can_create();
	if (!strcmp(name, "socket"))
		return socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0 || socket(AF_NETLINK, SOCK_RAW, 0) >= 0;
	if (!strcmp(name, "fork"))
		return can_fork();
	if (!strcmp(name, "vfork"))
		return syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0) >= 0;
	if (!strcmp(name, "thread"))
		return can_thread();
	if (!strcmp(name, "exec"))
		return can_exec();
	if (!strcmp(name, "kill"))
		return kill(parent, SIGTERM) == 0;
	if (!strcmp(name, "ptrace"))
		return ptrace(PTRACE_ATTACH, parent, NULL, NULL) == 0;
	if (!strcmp(name, "read-parent"))
		return can_read_parent();
	if (!strcmp(name, "write-1"))
		return write(1, "true", 4) == 4;
	if (!strcmp(name, "write-2"))
		return write(2, big, sizeof big) > 0;
	if (!strcmp(name, "write-3"))
		return write(3, "true", 4) == 4;
	if (!strcmp(name, "read-4"))
		return read(4, big, 1) >= 0;
	if (!strcmp(name, "run-data"))
		return can_run_data();
	if (!strcmp(name, "map-code"))
		return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
	if (!strcmp(name, "limits"))
		return can_raise_limits();
	if (!strcmp(name, "dumpable"))
		return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
	if (!strcmp(name, "memfd"))
		return memfd_create("x", 0) >= 0;
	if (!strcmp(name, "io_uring"))
		return syscall(SYS_io_uring_setup, 1, big) >= 0;
	if (!strcmp(name, "userfaultfd"))
		return syscall(SYS_userfaultfd, 0) >= 0;
	if (!strcmp(name, "alarm"))
		return alarm(0) < 1000;
#ifdef __x86_64__
	if (!strcmp(name, "int80")) { /* the 32-bit getpid */
		long r = 20;

		__asm__ volatile("int $0x80" : "+a"(r) : : "memory");
		return r > 0;
	}
	if (!strcmp(name, "x32"))
		return syscall(0x40000000 + SYS_getpid) > 0;
#endif
	if (!strcmp(name, "environment"))
		return can_see_environment();
	if (!strcmp(name, "eat"))
		return eat();
	if (!strcmp(name, "spin"))
		for (volatile int i = 0;; i++)
			;
	if (!strcmp(name, "wait"))
		return wait_long();
	if (!strcmp(name, "crash"))
		raise(SIGSEGV);
	if (!strcmp(name, "abort"))
		abort();
	if (!strcmp(name, "leave"))
		_exit(0);
	fprintf(stderr, "no such thing to do\n");
	abort();
}

/* --- the interface --- */

void *regoNew(void)
{
	return &wanted;
}

uint_least32_t regoAddModule(void *rego, const char *name, const char *policy)
{
	const char *what = strstr(policy, "do := `");

	(void)rego;
	(void)name;
	if (what)
		snprintf(wanted, sizeof wanted, "%.*s", (int)strcspn(what + 7, "`"), what + 7);
	return what ? 0 : 1;
}

uint_least32_t regoSetInputTerm(void *rego, const char *term)
{
	(void)rego;
	(void)term;
	return 0;
}

void regoSetStrictBuiltInErrors(void *rego, uint_least8_t on)
{
	(void)rego;
	(void)on;
}

void *regoQuery(void *rego, const char *query)
{
	(void)rego;
	(void)query;
	if (!strcmp(wanted, "say not ok") || !strcmp(wanted, "say too much"))
		text = "{\"expressions\":[[true]]}";
	else if (!strncmp(wanted, "say ", 4))
		text = wanted + 4;
	else if (act(wanted))
		text = "{\"expressions\":[[true]]}";
	else
		text = "{\"expressions\":[[false]]}";
	return &wanted;
}

uint_least8_t regoOutputOk(void *output)
{
	(void)output;
	return strcmp(wanted, "say not ok") != 0;
}

uint_least32_t regoOutputJSONSize(void *output)
{
	(void)output;
	return !strcmp(wanted, "say too much") ? UINT32_MAX : (uint_least32_t)strlen(text) + 1;
}

uint_least32_t regoOutputJSON(void *output, char *dst, uint_least32_t cap)
{
	(void)output;
	if (strlen(text) + 1 > cap)
		return 2;
	memcpy(dst, text, strlen(text) + 1);
	return 0;
}

uint_least32_t regoErrorSize(void *rego)
{
	(void)rego;
	return 6;
}

uint_least32_t regoError(void *rego, char *dst, uint_least32_t cap)
{
	(void)rego;
	if (cap < 6)
		return 2;
	memcpy(dst, "a\x1b[1m", 6);
	return 0;
}
