/*
 * SIGSEGV taken in a process that is busy: many threads that fault at once with other signals coming, small alternate stacks, threads that block
 * everything, children of every kind.
 */
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "check.h"
#include "faulty.h"

#define THREADS 32

static void take(void)
{
	const char *why = "";
	int r = signals_take(SIGSEGV, faulty_fault, &why);
	CHECK(r == 0);
	if (r != 0)
		fprintf(stderr, "%s\n", why);
	CHECK(signals_take(SIGSEGV, faulty_fault, &why) == 0);
	CHECK(signals_held(SIGSEGV));
}

static void wait_status(pid_t pid, int expect)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		;
	CHECK(status == expect);
}

/* Each in a process of its own. */
static void in_child(void (*f)(void))
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		faulty_child();
		check_failures = 0;
		faulty_make(false);
		f();
		_exit(check_failures != 0 || atomic_load(&faulty_wrong) != 0 ? 1 : 0);
	}
	wait_status(pid, 0);
}

/* ---- the storm ---- */

static _Atomic bool stop;
static _Atomic unsigned long rounds;

static void on_signal(int signo)
{
	static _Atomic unsigned int seed;
	(void)signo;
	faulty_read(atomic_fetch_add(&seed, 7919) % FAULTY_PAGES);
}

static void *reader(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	stack_t ss = { .ss_sp = malloc(65536), .ss_size = 65536 };
	if (seed % 2)
		sigaltstack(&ss, NULL);
	sigset_t fill;
	sigfillset(&fill);
	if (seed % 3 == 0)
		pthread_sigmask(SIG_BLOCK, &fill, NULL);
	while (!stop) {
		faulty_read((size_t)rand_r(&seed) % FAULTY_PAGES);
		if (seed % 64 == 0) {
			sigset_t old;
			pthread_sigmask(SIG_BLOCK, &fill, &old);
			faulty_read((size_t)rand_r(&seed) % FAULTY_PAGES);
			pthread_sigmask(SIG_SETMASK, &old, NULL);
		}
		atomic_fetch_add(&rounds, 1);
	}
	ss.ss_flags = SS_DISABLE;
	sigaltstack(&ss, NULL);
	free(ss.ss_sp);
	return NULL;
}

static void storm(void)
{
	pthread_t t[THREADS];
	unsigned int seed = 1;
	struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };
	sigfillset(&a.sa_mask);
	sigaction(SIGALRM, &a, NULL);
	take();
	sigaction(SIGUSR1, &a, NULL);
	signal(SIGSEGV, SIG_DFL);
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, reader, (void *)(i + 1));
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
	setitimer(ITIMER_REAL, &every, NULL);
	time_t end = time(NULL) + 4;
	while (time(NULL) < end) {
		mprotect(faulty + (size_t)rand_r(&seed) % (FAULTY_PAGES - 64) * FAULTY_PAGE, 64 * FAULTY_PAGE, PROT_NONE);
		pthread_kill(t[(size_t)rand_r(&seed) % THREADS], SIGUSR1);
	}
	stop = true;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CHECK(faulty_faults > 1000);
	CHECK(rounds > 1000);
	CHECK(faulty_wrong == 0);
	CHECK(signals_held(SIGSEGV));
}

/* ---- more faults at once than stacks are kept ---- */

#define CROWD 300

static pthread_barrier_t crowd;

static bool meet(int signo, const siginfo_t *info, const void *ucontext)
{
	pthread_barrier_wait(&crowd);
	return faulty_fault(signo, info, ucontext);
}

static void *touch_one(void *arg)
{
	faulty_read((size_t)(uintptr_t)arg);
	return NULL;
}

static void crowded(void)
{
	static pthread_t t[CROWD];
	const char *why;
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 1u << 20);
	pthread_barrier_init(&crowd, NULL, CROWD);
	CHECK(signals_take(SIGSEGV, meet, &why) == 0);
	for (int again = 0; again < 2; again++) {
		for (size_t i = 0; i < CROWD; i++)
			CHECK(pthread_create(&t[i], &small, touch_one, (void *)i) == 0);
		for (size_t i = 0; i < CROWD; i++)
			pthread_join(t[i], NULL);
		mprotect(faulty, (size_t)FAULTY_PAGES * FAULTY_PAGE, PROT_NONE);
	}
	CHECK(faulty_faults == 2 * CROWD);
}

/* ---- small stacks ---- */

static unsigned char *small_stack;
static size_t small_size;

static void on_small(int signo)
{
	unsigned char here;
	(void)signo;
	CHECK(&here > small_stack && &here < small_stack + small_size);
	faulty_touch();
}

/* What the kernel needs for two frames (a signal, and a fault in its handler), and little more. The pages below are a trap. */
static void tiny_stack(void)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ) ? getauxval(AT_MINSIGSTKSZ) : 2048;
	small_size = 2 * frame + 1024;
#ifdef __SANITIZE_ADDRESS__
	small_size += 32768;
#endif
	size_t len = (small_size + 8191) / 4096 * 4096;
	unsigned char *p = faulty_map(len);
	mprotect(p, 4096, PROT_NONE);
	small_stack = p + 4096;
	stack_t ss = { .ss_sp = small_stack, .ss_size = small_size };
	take();
	CHECK(sigaltstack(&ss, NULL) == 0);
	struct sigaction a = { .sa_handler = on_small, .sa_flags = SA_ONSTACK };
	sigfillset(&a.sa_mask);
	sigaction(SIGUSR1, &a, NULL);
	for (int i = 0; i < 10; i++) {
		faulty_touch();
		raise(SIGUSR1);
	}
	CHECK(faulty_faults == 20);
	a.sa_mask = (sigset_t){ 0 };
	sigaction(SIGSEGV, &a, NULL);
	raise(SIGSEGV);
	CHECK(faulty_faults == 21);
}

/* ---- threads that block all ---- */

static _Atomic int ready;

static void *blocks_all(void *arg)
{
	sigset_t fill;
	sigfillset(&fill);
	if (arg)
		sigdelset(&fill, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &fill, NULL);
	ready = 1;
	while (!stop)
		usleep(1000);
	faulty_touch();
	return NULL;
}

static pthread_t start_blocking(void *arg)
{
	pthread_t t;
	ready = 0;
	pthread_create(&t, NULL, blocks_all, arg);
	while (!ready)
		usleep(1000);
	return t;
}

static void refused(void)
{
	const char *why = "";
	struct sigaction a, b;
	sigaction(SIGSEGV, NULL, &a);
	pthread_t t = start_blocking(NULL);
	CHECK(signals_take(SIGSEGV, faulty_fault, &why) == -EBUSY);
	CHECK(strcmp(why, "another thread blocks SIGSEGV") == 0);
	CHECK(!signals_held(SIGSEGV));
	sigaction(SIGSEGV, NULL, &b);
	CHECK(a.sa_handler == b.sa_handler);
	mprotect(faulty, (size_t)FAULTY_PAGES * FAULTY_PAGE, PROT_READ);
	stop = true;
	pthread_join(t, NULL);
	mprotect(faulty, (size_t)FAULTY_PAGES * FAULTY_PAGE, PROT_NONE);
	take();
	faulty_touch();
	CHECK(faulty_faults == 1);
}

/* A thread that blocks everything but the fault has it open, and a fault that is its own goes to the program's handler. */
static _Atomic int handled;

static void on_segv(int signo)
{
	(void)signo;
	handled++;
}

static void not_refused(void)
{
	pthread_t t = start_blocking((void *)1);
	signal(SIGSEGV, on_segv);
	take();
	pthread_kill(t, SIGSEGV);
	while (!handled)
		usleep(1000);
	stop = true;
	pthread_join(t, NULL);
	CHECK(faulty_faults == 1);
}

/* Our own helpers block everything, and that is fine. */
static void *helper(void *arg)
{
	pthread_setname_np(pthread_self(), "ctshim");
	sigset_t fill;
	sigfillset(&fill);
	pthread_sigmask(SIG_SETMASK, &fill, NULL);
	ready = 1;
	while (!stop)
		usleep(1000);
	return arg;
}

static void helpers_allowed(void)
{
	pthread_t t;
	pthread_create(&t, NULL, helper, NULL);
	while (!ready)
		usleep(1000);
	take();
	faulty_touch();
	stop = true;
	pthread_join(t, NULL);
}

/* The thread that takes it has it blocked: it stays so for the program. */
static void blocked_here(void)
{
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	signal(SIGSEGV, on_segv);
	sigprocmask(SIG_BLOCK, &set, NULL);
	take();
	faulty_touch();
	CHECK(faulty_faults == 1);
	raise(SIGSEGV);
	CHECK(handled == 0);
	sigprocmask(SIG_UNBLOCK, &set, &old);
	CHECK(sigismember(&old, SIGSEGV) == 1);
	CHECK(handled == 1);
}

/* Sent to the process: a thread that waits for it gets it, however many others "block" it. */
static void *waiter(void *arg)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	ready = 1;
	int signo = 0, r = sigwait(&set, &signo);
	faulty_touch();
	return (void *)(uintptr_t)(r == 0 && signo == SIGSEGV ? (uintptr_t)arg : 0);
}

static void waited_for(void)
{
	pthread_t t;
	sigset_t fill;
	void *got = NULL, *token = &fill;
	take();
	sigfillset(&fill);
	pthread_sigmask(SIG_SETMASK, &fill, NULL);
	for (int i = 0; i < 50; i++) {
		ready = 0;
		pthread_create(&t, NULL, waiter, token);
		while (i % 2 && !ready)
			usleep(100);
		kill(getpid(), SIGSEGV);
		pthread_join(t, &got);
		CHECK(got == token);
	}
}

/* ---- children ---- */

static void children(void)
{
	struct sigaction a;
	take();
	faulty_touch();
	signal(SIGSEGV, on_segv);
	pid_t pid = fork();
	if (pid == 0) {
		faulty_touch();
		signal(SIGSEGV, SIG_IGN);
		raise(SIGSEGV);
		_exit(faulty_faults == 2 && signals_held(SIGSEGV) && handled == 0 ? 3 : 4);
	}
	wait_status(pid, 3 << 8);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); /* no handler of fork() runs */
	if (pid == 0) {
		faulty_touch();
		signal(SIGSEGV, SIG_IGN);
		raise(SIGSEGV);
		_exit(faulty_faults == 2 && signals_held(SIGSEGV) && handled == 0 ? 3 : 4);
	}
	wait_status(pid, 3 << 8);
	/* As Python's subprocess: the child shares our memory, and its handlers are its own. */
	pid = vfork();
	if (pid == 0) {
		faulty_touch();
		a = (struct sigaction){ .sa_handler = SIG_DFL };
		sigaction(SIGSEGV, &a, NULL);
		a.sa_handler = SIG_IGN;
		sigaction(SIGSEGV, NULL, &a);
		_exit(a.sa_handler == SIG_DFL && !signals_held(SIGSEGV) ? 3 : 4);
	}
	wait_status(pid, 3 << 8);
	CHECK(faulty_faults == 2);
	sigaction(SIGSEGV, NULL, &a);
	CHECK(a.sa_handler == on_segv);
	CHECK(signals_held(SIGSEGV));
	faulty_touch();
	raise(SIGSEGV);
	CHECK(handled == 1);
}

/* What a debugger sees of a death is the fault itself. */
static void traced(void)
{
	siginfo_t info;
	int status = 0, stops = 0;
	pid_t pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		take();
		faulty_touch();
		*(volatile int *volatile)0x1230 = 1;
		_exit(0);
	}
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		memset(&info, 0, sizeof info);
		ptrace(PTRACE_GETSIGINFO, pid, 0, &info);
		CHECK(WSTOPSIG(status) == SIGSEGV && info.si_code > 0);
		CHECK(stops == 0 || (info.si_code == SEGV_MAPERR && info.si_addr == (void *)0x1230));
		stops++;
		ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status));
	}
	CHECK(stops >= 2);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* ---- somebody installs his own past us ---- */

static void passed_by(void)
{
	struct {
		uintptr_t handler, flags, restorer;
		uint64_t mask;
	} theirs = { (uintptr_t)SIG_IGN, 0, 0, 0 }, ours;
	signal(SIGSEGV, on_segv);
	take();
	long r;
#if defined(__x86_64__) /* past syscall() as well */
	register long r10 __asm__("r10") = 8;
	__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_rt_sigaction), "D"(SIGSEGV), "S"(&theirs), "d"(&ours), "r"(r10) : "rcx", "r11", "memory");
	CHECK(r == 0);
	CHECK(!signals_held(SIGSEGV));
	r = syscall(SYS_rt_sigaction, SIGSEGV, &ours, NULL, 8); /* and gives it back */
	CHECK(r == 0);
#else
	(void)theirs;
	(void)ours;
	r = 0;
#endif
	CHECK(signals_held(SIGSEGV));
	faulty_touch();
	raise(SIGSEGV);
	CHECK(handled == 1 && faulty_faults == 1);
}

int main(void)
{
	alarm(120);
	signal(SIGSEGV, SIG_DFL); /* a sanitizer's run time has put its own there */
	void (*all[])(void) = { storm, crowded, tiny_stack, refused, not_refused, helpers_allowed, blocked_here, waited_for, children, traced, passed_by };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		unsigned int before = check_failures;
		in_child(all[i]);
		if (check_failures != before)
			fprintf(stderr, "in part %zu\n", i);
	}
	return check_status("shim_signals_many");
}
