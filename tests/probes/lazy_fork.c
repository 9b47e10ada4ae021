/*
 * lazy_fork FILE REFERENCE: every way to make a process. Parent and child read pages that were touched before, by the other only, and by
 * nobody; what one wrote before is seen by both, what one writes afterwards by itself alone.
 */
#include <linux/sched.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "probe.h"

extern char **environ;

static unsigned char *rw, *ro; /* private writable; shared read only */

enum { MARKS = 8 };
static size_t marks[MARKS], mark_count; /* bytes of rw that differ from the file, ascending */

static void map_both(void)
{
	rw = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	ro = map_whole(PROT_READ, MAP_SHARED);
	mark_count = 0;
}

static void unmap_both(void)
{
	munmap(rw, probe_len);
	munmap(ro, probe_len);
}

static void mark(size_t at)
{
	size_t i = mark_count++;
	rw[at] = (unsigned char)~probe_want[at];
	for (; i > 0 && marks[i - 1] > at; i--)
		marks[i] = marks[i - 1];
	marks[i] = at;
}

/* rw is the file with the marks. */
static const char *marked(void)
{
	size_t at = 0;
	for (size_t i = 0; i < mark_count; i++) {
		const char *says = verdict(rw + at, at, marks[i] - at);
		if (strcmp(says, "right") != 0)
			return says;
		if (rw[marks[i]] != (unsigned char)~probe_want[marks[i]])
			return "mark lost";
		at = marks[i] + 1;
	}
	return verdict(rw + at, at, probe_len - at);
}

/* Quarter 0 is touched by the parent first, 1 by the child first, 2 by the parent afterwards; one page each is written, too. */
static size_t quarter(int i)
{
	return probe_len / 4 / probe_page * probe_page * (size_t)i;
}

static void before(void)
{
	map_both();
	verdict(rw, 0, quarter(1));
	verdict(ro, 0, quarter(1));
	mark(5 * probe_page + 3);	      /* a page that was filled */
	mark(quarter(3) + 9 * probe_page + 8); /* a page that was not */
}

static int child(void)
{
	const char *says = verdict(ro + quarter(1), quarter(1), quarter(1));
	if (strcmp(says, "right") == 0)
		says = marked();
	if (strcmp(says, "right") == 0) {
		mark(7 * probe_page + 1);
		mark(quarter(1) + 77);
		mark(quarter(2) + 5 * probe_page);
		says = marked();
	}
	if (strcmp(says, "right") == 0)
		says = verdict(ro, 0, probe_len);
	if (strcmp(says, "right") != 0)
		line("child", "%s", says);
	return strcmp(says, "right") != 0;
}

static const char *status_text(int status)
{
	static char text[40];
	if (WIFSIGNALED(status))
		snprintf(text, sizeof text, "child killed by %s", sigabbrev_np(WTERMSIG(status)));
	else if (status != 0)
		snprintf(text, sizeof text, "child's status %d", WEXITSTATUS(status));
	else
		return "child right";
	return text;
}

static void after(const char *name, int status)
{
	const char *says = verdict(rw + quarter(2), quarter(2), quarter(1) / 2);
	mark(quarter(2) + quarter(1) / 2 + 5);
	if (strcmp(says, "right") == 0)
		says = marked();
	if (strcmp(says, "right") == 0)
		says = verdict(ro, 0, probe_len);
	line(name, "%s, parent %s", status_text(status), says);
	unmap_both();
}

/* ---- the ways ---- */

static pid_t by_fork(void)
{
	return fork();
}

static pid_t by__Fork(void)
{
	return _Fork();
}

static pid_t by_syscall_clone(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

#ifdef SYS_fork
static pid_t by_syscall_fork(void)
{
	return (pid_t)syscall(SYS_fork);
}
#endif

static pid_t by_syscall_clone3(void)
{
	struct clone_args a = { .exit_signal = SIGCHLD };
	return (pid_t)syscall(SYS_clone3, &a, sizeof a);
}

/* glibc's own fork(), which no preload comes between */
static pid_t by_forkpty(void)
{
	int pty, out = dup(1);
	pid_t pid = forkpty(&pty, NULL, NULL, NULL);
	if (pid == 0)
		dup2(out, 1);
	close(out);
	return pid;
}

/* No library at all. */
static pid_t by_machine_code(void)
{
	long r;
#if defined __x86_64__
	register long flags __asm__("rdi") = SIGCHLD;
	register long stack __asm__("rsi") = 0;
	register long parent_tid __asm__("rdx") = 0;
	register long child_tid __asm__("r10") = 0;
	register long tls __asm__("r8") = 0;
	__asm__ volatile("syscall" : "=a"(r) : "a"((long)SYS_clone), "r"(flags), "r"(stack), "r"(parent_tid), "r"(child_tid), "r"(tls)
			 : "rcx", "r11", "memory");
#elif defined __aarch64__
	register long x8 __asm__("x8") = SYS_clone;
	register long x0 __asm__("x0") = SIGCHLD;
	register long x1 __asm__("x1") = 0;
	register long x2 __asm__("x2") = 0;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	r = x0;
#endif
	if (r == 0)
		signal(SIGSEGV, SIG_DFL); /* so that its parent sees how it ends */
	return (pid_t)r;
}

static int in_clone(void *arg)
{
	(void)arg;
	return child();
}

static pid_t by_clone(void)
{
	enum { STACK = 1 << 18 };
	static char *stack;
	stack = stack ? stack : malloc(STACK);
	return clone(in_clone, stack + STACK, SIGCHLD, NULL);
}

static void way(const char *name, pid_t (*make)(void))
{
	int status = 0;
	before();
	pid_t pid = make();
	if (pid == 0)
		_exit(child());
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		line(name, "%s", err_name(errno));
		unmap_both();
		return;
	}
	after(name, status);
}

/* The child runs on the parent's memory. */
static __attribute__((noinline)) void by_vfork(const char *name)
{
	int status = 0;
	before();
	pid_t pid = vfork();
	if (pid == 0) {
		for (size_t at = quarter(1); at < quarter(2); at += probe_page)
			if (*(volatile unsigned char *)(ro + at) != probe_want[at] || *(volatile unsigned char *)(rw + at) != probe_want[at])
				_exit(1);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	after(name, status);
}

/* ---- programs ---- */

static void by_spawn(const char *name, const char *reference)
{
	char *argv[] = { "/proc/self/exe", (char *)probe_path, (char *)reference, "spawned", NULL };
	pid_t pid;
	int status = 0;
	before();
	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid)
		probe_die("posix_spawn");
	after(name, status);
}

static int spawned(void)
{
	map_both();
	return strcmp(verdict(ro, 0, probe_len), "right") != 0 || strcmp(marked(), "right") != 0;
}

/* ---- generations ---- */

static void nested(const char *name, pid_t (*make)(void))
{
	int status = 0;
	before();
	pid_t pid = make();
	if (pid == 0) {
		mark(11 * probe_page);
		pid = make();
		if (pid == 0) {
			mark(quarter(1) + 3 * probe_page + 1);
			pid = make();
			if (pid == 0)
				_exit(child());
		}
		if (waitpid(pid, &status, 0) != pid || status != 0)
			_exit(7);
		_exit(strcmp(marked(), "right") != 0 ? 1 : 0);
	}
	waitpid(pid, &status, 0);
	after(name, status);
}

/* The process that made the mapping ends, by _exit() or by SIGKILL; its child goes on. */
static void orphan(const char *name, pid_t (*make)(void), int killed)
{
	int alive[2], result[2], status = 9;
	if (pipe(alive) < 0 || pipe(result) < 0)
		probe_die("pipe");
	pid_t pid = fork();
	if (pid == 0) {
		before();
		pid = make();
		if (pid == 0) {
			char c;
			close(alive[1]);
			while (read(alive[0], &c, 1) > 0) /* until the parent is gone */
				;
			status = child();
			_exit(write(result[1], &status, sizeof status) < 0 ? 1 : 0);
		}
		if (killed)
			raise(SIGKILL);
		_exit(0);
	}
	close(alive[1]);
	close(result[1]);
	waitpid(pid, NULL, 0);
	if (read(result[0], &status, sizeof status) != sizeof status)
		status = 8;
	line(name, status == 0 ? "child right" : "child's status %d", status);
	close(alive[0]);
	close(result[0]);
}

/* ---- a threaded program ---- */

static atomic_int stop;

static void *roam(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	while (!stop) {
		size_t at = (size_t)(rand_r(&seed)) % (probe_len - 64);
		if (memcmp(ro + at, probe_want + at, 64) != 0) {
			line("thread", "wrong at %zu", at);
			break;
		}
	}
	return NULL;
}

static void threaded(const char *name, pid_t (*make)(void))
{
	enum { N = 4, FORKS = 10 };
	pthread_t t[N];
	int bad = 0;
	stop = 0;
	before();
	for (int i = 0; i < N; i++)
		pthread_create(&t[i], NULL, roam, (void *)(uintptr_t)(i + 1));
	for (int i = 0; i < FORKS; i++) {
		int status = 0;
		pid_t pid = make();
		if (pid == 0)
			_exit(child());
		waitpid(pid, &status, 0);
		bad += status != 0;
		madvise(ro, probe_len, MADV_DONTNEED); /* so that the threads always have pages to fill */
	}
	stop = 1;
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	after(name, bad << 8);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	probe_open(argv[1], argv[2]);
	if (argc > 3)
		return spawned();
	way("fork", by_fork);
	way("_Fork", by__Fork);
	way("clone", by_clone);
	way("syscall-clone", by_syscall_clone);
	way("syscall-clone3", by_syscall_clone3);
#ifdef SYS_fork
	way("syscall-fork", by_syscall_fork);
#endif
	way("forkpty", by_forkpty);
	way("machine-code", by_machine_code);
	by_vfork("vfork");
	by_spawn("posix_spawn", argv[2]);
	nested("nested-fork", by_fork);
	nested("nested-_Fork", by__Fork);
	orphan("parent-exits.fork", by_fork, 0);
	orphan("parent-killed.fork", by_fork, 1);
	orphan("parent-killed._Fork", by__Fork, 1);
	orphan("parent-killed.syscall-clone", by_syscall_clone, 1);
	threaded("threaded.fork", by_fork);
	threaded("threaded._Fork", by__Fork);
	return 0;
}
