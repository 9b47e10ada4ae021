/* Actions, masks and waits of a program while SIGSEGV and SIGBUS are taken: as by the kernel (scenes.h). */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

#include "scenes.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* old programs use them */

static void say_action(int signo)
{
	struct sigaction a;
	memset(&a, 0, sizeof a);
	sigaction(signo, NULL, &a);
	const char *h = a.sa_handler == SIG_DFL ? "default" : a.sa_handler == SIG_IGN ? "ignore" : a.sa_handler == on_plain ? "plain" :
	                a.sa_sigaction == on_info ? "info" : a.sa_sigaction == on_jump ? "jump" : "?";
	say("%d: %s flags %x mask %016llx\n", signo, h, (unsigned int)a.sa_flags, (unsigned long long)bits(&a.sa_mask));
}

/* ---- scenes ---- */

static void play_jumps(void (*fault)(void), int signo)
{
	for (volatile int i = 0; i < 4; i++) {
		if (sigsetjmp(env, 1) == 0) {
			faulty_touch();
			fault();
			say("no fault\n");
		}
		say_mask("after");
	}
	say_action(signo);
}

static void jumps_set_before(void)
{
	install(SIGSEGV, on_jump, 0, set_of(SIGUSR1, SIGBUS, 0));
	take();
	play_jumps(fault_segv, SIGSEGV);
}

static void jumps_set_after(void)
{
	take();
	install(SIGSEGV, on_jump, SA_NODEFER, set_of(0, 0, 0));
	play_jumps(fault_segv, SIGSEGV);
}

static void jumps_bus(void)
{
	take();
	install(SIGBUS, on_jump, 0, set_of(SIGSEGV, 0, 0));
	play_jumps(fault_bus, SIGBUS);
}

/* The handler mends what was wrong and goes back to the instruction, as Java's does. */
static int mended;

static void on_mend(int signo, siginfo_t *info, void *ucontext)
{
	on_info(signo, info, ucontext);
	nowhere = &mended;
#if defined(__x86_64__)
	((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RAX] = (greg_t)(uintptr_t)&mended;
#endif
}

static void __attribute__((noinline)) store_by_rax(void)
{
#if defined(__x86_64__)
	__asm__ volatile("movq $16, %%rax\n\tmovl $7, (%%rax)" ::: "rax", "memory");
#else
	mended = 7;
	raise(SIGSEGV);
#endif
}

static void returns(void)
{
	take();
	install(SIGSEGV, on_mend, SA_ONSTACK, set_of(SIGUSR2, 0, 0));
	store_by_rax();
	say("mended %d\n", mended);
	say_mask("after");
}

/* The frame's mask is the thread's when the handler returns. */
static void on_frame(int signo, siginfo_t *info, void *ucontext)
{
	ucontext_t *uc = ucontext;
	on_info(signo, info, ucontext);
	sigaddset(&uc->uc_sigmask, SIGUSR1);
	sigaddset(&uc->uc_sigmask, SIGSEGV);
}

static void frame_mask(void)
{
	take();
	install(SIGSEGV, on_frame, 0, set_of(0, 0, 0));
	raise(SIGSEGV);
	say_mask("after");
	raise(SIGSEGV);
	say("calls %d\n", calls);
	sigset_t pending;
	sigpending(&pending);
	say("pending %d\n", sigismember(&pending, SIGSEGV));
}

static void actions(void)
{
	struct sigaction a = { .sa_handler = on_plain, .sa_flags = SA_RESTART | SA_NODEFER };
	sigfillset(&a.sa_mask);
	sigaction(SIGUSR1, &a, NULL);
	install(SIGBUS, on_info, (int)SA_RESETHAND | SA_ONSTACK, set_of(SIGSEGV, SIGBUS, SIGUSR1));
	take();
	for (int i = 0; i < 2; i++) {
		const int all[] = { SIGSEGV, SIGBUS, SIGUSR1, SIGUSR2, SIGTERM };
		for (int k = 0; k < 5; k++)
			say_action(all[k]);
		install(SIGSEGV, on_info, SA_ONSTACK, set_of(SIGSEGV, SIGUSR1, SIGCHLD));
		install(SIGUSR2, on_info, 0, set_of(SIGSEGV, SIGCHLD, 0));
		sigfillset(&a.sa_mask);
		sigdelset(&a.sa_mask, SIGSEGV);
		sigdelset(&a.sa_mask, SIGBUS);
		sigaction(SIGTERM, &a, NULL);
	}
	void (*old)(int) = signal(SIGSEGV, on_plain), (*info)(int, siginfo_t *, void *) = on_info;
	say("signal %d", memcmp(&old, &info, sizeof old));
	say(" %d\n", signal(SIGSEGV, SIG_IGN) == on_plain);
	say_action(SIGSEGV);
	say("bad %d %d\n", signal(SIGSEGV, SIG_ERR) == SIG_ERR, errno);
	say("kill %d %d\n", sigaction(SIGKILL, &a, NULL), errno);
	say("65 %d %d\n", sigaction(65, &a, NULL), errno);
	say("32 %d %d\n", sigaction(32, &a, NULL), errno);
	signal(SIGSEGV, on_plain);
	say("interrupt %d\n", siginterrupt(SIGSEGV, 1));
	say_action(SIGSEGV);
	signal(SIGSEGV, on_plain);
	say_action(SIGSEGV);
	siginterrupt(SIGSEGV, 0);
	say("sysv %d\n", __sysv_signal(SIGSEGV, on_plain) == on_plain);
	say_action(SIGSEGV);
	raise(SIGSEGV);
	say_action(SIGSEGV);
	a.sa_handler = on_plain;
	long r = syscall(SYS_rt_sigaction, SIGSEGV, NULL, NULL, 4);
	say("raw %ld %d\n", r, errno);
}

static void old_names(void)
{
	take();
	say("sigset %d\n", sigset(SIGSEGV, on_plain) == SIG_DFL);
	say_action(SIGSEGV);
	say("hold %d\n", sigset(SIGSEGV, SIG_HOLD) == on_plain);
	say_mask("held");
	say("again %d\n", sigset(SIGSEGV, SIG_HOLD) == SIG_HOLD);
	raise(SIGSEGV);
	say("calls %d\n", calls);
	say("let go %d\n", sigset(SIGSEGV, on_plain) == SIG_HOLD);
	say("calls %d\n", calls);
	sighold(SIGBUS);
	say_mask("bus");
	sigrelse(SIGBUS);
	sigignore(SIGSEGV);
	say_action(SIGSEGV);
	sigset(SIGSEGV, on_plain);
	say("block %x\n", (unsigned int)sigblock(1 << (SIGSEGV - 1) | 1 << (SIGUSR1 - 1)));
	say("mask %x\n", (unsigned int)siggetmask());
	raise(SIGSEGV);
	say("set %x\n", (unsigned int)sigsetmask(1 << (SIGBUS - 1)));
	say("calls %d\n", calls);
	say_mask("end");
	sighold(SIGSEGV);
	raise(SIGSEGV);
	do /* a wait that a held signal ends may return once before */
		say("pause %d\n", sigpause(SIGSEGV));
	while (calls < 3);
}

static void masks(void)
{
	sigset_t fill, sync, old;
	sigfillset(&fill);
	sync = fill;
	sigdelset(&sync, SIGSEGV);
	sigdelset(&sync, SIGBUS);
	take();
	for (int k = 0; k < 7; k++) {
		const int some[][3] = { { 0 }, { 0 }, { SIGSEGV }, { SIGBUS }, { SIGSEGV, SIGBUS, SIGINT }, { 61 }, { SIGUSR1 } };
		sigset_t mine = k == 0 ? fill : k == 1 ? sync : *set_of(some[k][0], some[k][1], some[k][2]);
		memset(&old, 0, sizeof old);
		sigprocmask(SIG_SETMASK, &mine, &old);
		say("%d: old %016llx\n", k, (unsigned long long)bits(&old));
		say_mask("  set");
		faulty_touch();
		say("  block %d", pthread_sigmask(SIG_BLOCK, set_of(SIGSEGV, SIGTERM, 0), &old));
		say(" %016llx\n", (unsigned long long)bits(&old));
		say_mask("  blocked");
		pthread_sigmask(SIG_UNBLOCK, set_of(SIGTERM, 0, 0), NULL);
		say_mask("  plain unblocked");
		faulty_touch();
		pthread_sigmask(SIG_UNBLOCK, set_of(SIGSEGV, 0, 0), NULL);
		if (k != 0 && k != 4) /* of all, these: which of the last signals were blocked as well is guessed */
			say_mask("  unblocked");
		sigprocmask(SIG_SETMASK, set_of(0, 0, 0), NULL);
		say_mask("  none");
	}
	int r = sigprocmask(77, &fill, NULL);
	say("bad how: %d %d\n", r, errno);
	r = pthread_sigmask(77, set_of(SIGUSR1, 0, 0), NULL);
	say("bad how: %d\n", r);
	uint64_t raw = 1ull << (SIGSEGV - 1), was = 0;
	r = (int)syscall(SYS_rt_sigprocmask, SIG_BLOCK, &raw, &was, 8);
	say("raw %d\n", r);
	faulty_touch();
	r = (int)syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &was, 8);
	say("raw %d %016llx\n", r, (unsigned long long)was);
}

/* Another signal's handler that masks everything: what is sent meanwhile comes when it returns. */
static void on_masking(int signo)
{
	say("masking handler %d\n", signo);
	say_mask("  mask");
	faulty_touch();
	raise(SIGSEGV);
	say("  calls %d\n", calls);
}

static void handler_masks(void)
{
	struct sigaction a = { .sa_handler = on_masking };
	sigfillset(&a.sa_mask);
	sigaction(SIGUSR1, &a, NULL);
	take();
	sigaction(SIGUSR2, &a, NULL);
	install(SIGSEGV, on_info, 0, set_of(0, 0, 0));
	raise(SIGUSR1);
	say("calls %d\n", calls);
	raise(SIGUSR2);
	say("calls %d\n", calls);
	say_mask("after");
}

static void pending(void)
{
	sigset_t p;
	take();
	install(SIGSEGV, on_info, 0, set_of(0, 0, 0));
	install(SIGBUS, on_info, 0, set_of(0, 0, 0));
	sigprocmask(SIG_BLOCK, set_of(SIGSEGV, SIGBUS, SIGUSR1), NULL);
	raise(SIGSEGV);
	raise(SIGSEGV);
	kill(getpid(), SIGBUS);
	sigpending(&p);
	say("pending %016llx, calls %d\n", (unsigned long long)bits(&p), calls);
	faulty_touch();
	sigprocmask(SIG_UNBLOCK, set_of(SIGSEGV, 0, 0), NULL);
	say("calls %d\n", calls);
	sigprocmask(SIG_UNBLOCK, set_of(SIGBUS, 0, 0), NULL);
	say("calls %d\n", calls);
	sigprocmask(SIG_BLOCK, set_of(SIGSEGV, 0, 0), NULL);
	union sigval v = { .sival_int = 77 };
	sigqueue(getpid(), SIGSEGV, v);
	sigpending(&p);
	say("pending %016llx\n", (unsigned long long)bits(&p));
	if (sigsetjmp(env, 1) == 0) { /* leaves by the mask that was saved */
		sigprocmask(SIG_SETMASK, set_of(0, 0, 0), NULL);
		say("calls %d\n", calls);
		siglongjmp(env, 1);
	}
	say_mask("after");
	raise(SIGSEGV);
	signal(SIGSEGV, SIG_IGN);
	raise(SIGSEGV);
	sigprocmask(SIG_SETMASK, set_of(0, 0, 0), NULL);
	raise(SIGSEGV);
	say("calls %d\n", calls);
}

static void waits(void)
{
	siginfo_t info;
	const struct timespec none = { 0 };
	int signo = 0, r;
	take();
	sigset_t set = *set_of(SIGSEGV, SIGUSR1, SIGBUS);
	sigprocmask(SIG_BLOCK, &set, NULL);
	say("nothing %d", sigtimedwait(&set, &info, &none));
	say(" %d\n", errno);
	raise(SIGSEGV);
	r = sigwaitinfo(&set, &info);
	say_info("sigwaitinfo", r, &info);
	kill(getpid(), SIGSEGV);
	r = sigtimedwait(&set, &info, &none);
	say_info("sigtimedwait", r, &info);
	union sigval v = { .sival_int = -5 };
	sigqueue(getpid(), SIGBUS, v);
	r = sigtimedwait(&set, &info, NULL);
	say_info("sigqueue", r, &info);
	raise(SIGUSR1);
	raise(SIGSEGV);
	for (int i = 0; i < 2; i++) {
		r = sigwait(&set, &signo);
		say("sigwait %d\n", r);
		calls += signo; /* whichever comes first */
	}
	say("both %d\n", calls);
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	kill(getpid(), SIGSEGV);
	raise(SIGUSR1);
	struct signalfd_siginfo s[4];
	ssize_t n = read(fd, s, sizeof s);
	say("signalfd %zd\n", n);
	for (int want = 1; want < 32; want++)
		for (int i = 0; i < n / (ssize_t)sizeof *s; i++)
			if ((int)s[i].ssi_signo == want)
				say("  %d code %d errno %d us %d\n", want, s[i].ssi_code, s[i].ssi_errno, (int)s[i].ssi_pid == getpid());
	close(fd);
	faulty_touch();
}

static void on_alarm(int signo)
{
	(void)signo;
	faulty_touch();
	say_mask("  in alarm");
}

/* A mask for the time of a wait: the handler that ends it must be able to touch. */
static void waits_with_mask(void)
{
	struct sigaction a = { .sa_handler = on_alarm };
	struct timespec ten = { .tv_sec = 10 };
	struct epoll_event ev;
	sigset_t set;
	sigfillset(&set);
	sigdelset(&set, SIGALRM);
	sigaction(SIGALRM, &a, NULL);
	take();
	sigprocmask(SIG_BLOCK, set_of(SIGALRM, 0, 0), NULL);
	int ep = epoll_create1(0), r;
	for (int i = 0; i < 6; i++) {
		raise(SIGALRM);
		switch (i) {
		case 0: r = ppoll(NULL, 0, &ten, &set); break;
		case 1: r = pselect(0, NULL, NULL, NULL, &ten, &set); break;
		case 2: r = epoll_pwait(ep, &ev, 1, 10000, &set); break;
		case 3: r = epoll_pwait2(ep, &ev, 1, &ten, &set); break;
		case 4: r = sigsuspend(&set); break;
		default: r = ppoll(NULL, 0, &ten, set_of(SIGSEGV, SIGBUS, 0)); break;
		}
		say("%d: %d %d\n", i, r, errno);
		say_mask("  after");
	}
	install(SIGSEGV, on_info, 0, set_of(0, 0, 0));
	sigprocmask(SIG_SETMASK, set_of(SIGSEGV, 0, 0), NULL);
	raise(SIGSEGV);
	r = sigsuspend(set_of(0, 0, 0)); /* in its handler only the frame's mask and its own are told back */
	say("sigsuspend %d %d, calls %d\n", r, errno, calls);
}

static void *inherits(void *arg)
{
	(void)arg;
	say_mask("thread");
	faulty_touch();
	raise(SIGSEGV);
	say("calls %d\n", calls);
	return NULL;
}

static void threads_inherit(void)
{
	pthread_t t;
	pthread_attr_t attr;
	sigset_t fill, got;
	take();
	install(SIGSEGV, on_info, 0, set_of(0, 0, 0));
	sigfillset(&fill);
	pthread_attr_init(&attr);
	pthread_attr_setsigmask_np(&attr, &fill);
	memset(&got, 0, sizeof got);
	say("attr %d", pthread_attr_getsigmask_np(&attr, &got));
	say(" %016llx\n", (unsigned long long)bits(&got));
	pthread_create(&t, &attr, inherits, NULL);
	pthread_join(t, NULL);
	pthread_create(&t, NULL, inherits, NULL);
	pthread_join(t, NULL);
	sigprocmask(SIG_SETMASK, &fill, NULL);
	pthread_create(&t, NULL, inherits, NULL);
	pthread_join(t, NULL);
	sigset_t p;
	sigpending(&p);
	say("pending %016llx\n", (unsigned long long)bits(&p));
}

/* On which stack the handler runs, and what becomes of the system call that it interrupted, is the program's choice. */
static unsigned char other_stack[65536];
static int pipe_in, pipe_out;

static void on_where(int signo, siginfo_t *info, void *ucontext)
{
	unsigned char here;
	(void)ucontext;
	say("on the other stack %d\n", (uintptr_t)&here - (uintptr_t)other_stack < sizeof other_stack);
	if (info->si_code == SI_TIMER && write(pipe_out, "x", 1) != 1)
		say("no byte\n");
	if (info->si_code > 0)
		siglongjmp(env, signo);
}

static void stacks_and_calls(void)
{
	stack_t ss = { .ss_sp = other_stack, .ss_size = sizeof other_stack };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGSEGV };
	const struct itimerspec soon = { .it_value = { .tv_nsec = 20000000 } };
	timer_t timer;
	int p[2];
	sigaltstack(&ss, NULL);
	if (pipe(p) != 0 || timer_create(CLOCK_MONOTONIC, &ev, &timer) != 0)
		return;
	pipe_in = p[0], pipe_out = p[1];
	take();
	for (volatile int i = 0; i < 4; i++) {
		install(SIGSEGV, on_where, ((i & 1) ? SA_ONSTACK : 0) | ((i & 2) ? SA_RESTART : 0), set_of(0, 0, 0));
		raise(SIGSEGV);
		if (sigsetjmp(env, 1) == 0)
			fault_segv();
		char byte;
		timer_settime(timer, 0, &soon, NULL);
		ssize_t n = read(pipe_in, &byte, 1);
		say("read %zd %d\n", n, n < 0 ? errno : 0);
		if (n < 0 && read(pipe_in, &byte, 1) != 1)
			say("no byte\n");
	}
	faulty_touch();
}

static const struct scene scenes[] = {
	SCENE(jumps_set_before), SCENE(jumps_set_after), SCENE(jumps_bus), SCENE(returns), SCENE(frame_mask), SCENE(actions),
	SCENE(old_names), SCENE(masks), SCENE(handler_masks), SCENE(pending), SCENE(waits), SCENE(waits_with_mask),
	SCENE(threads_inherit), SCENE(stacks_and_calls),
};

int main(int argc, char **argv)
{
	return scenes_main("shim_signals", scenes, sizeof scenes / sizeof *scenes, argc, argv);
}
