/*
 * What a program asks about signals: actions, masks, waits. Until one is taken (signals.h) all of it is the real functions' after one atomic load; from
 * then on the two languages of masks are translated here, and actions of kept signals go to signals_action().
 *
 * Masks are 64 bits of the kernel's, the first word of a sigset_t.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/signalfd.h>

#include "hooks.h"
#include "real.h"
#include "signals_app.h"
#include "sys.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define SIZE sizeof(uint64_t)
#define SPECIAL signals_mask_special(signals_mask_taken())

static uint64_t get(const sigset_t *set)
{
	uint64_t mask;
	memcpy(&mask, set, sizeof mask);
	return mask;
}

static void put(sigset_t *set, uint64_t mask)
{
	if (set)
		memcpy(set, &mask, sizeof mask);
}

/* `set` for the kernel, in `room` where it differs. */
static const sigset_t *translated(const sigset_t *set, sigset_t *room)
{
	uint64_t taken = signals_mask_taken();
	if (!taken || !set)
		return set;
	*room = *set;
	put(room, signals_mask_to_kernel(get(set), taken));
	return room;
}

/* After a call that set this thread's mask as it stood: what was taken during the call does not stay blocked. */
static void adopt(uint64_t before)
{
	if (signals_mask_taken() != before)
		signals_mask_adopt(before);
}

/* A set to wait for: what was sent while it was blocked waits as its stand-in. */
static uint64_t awaited(uint64_t set)
{
	uint64_t taken = signals_mask_taken();
	if (set & taken & SIGNALS_BIT(SIGSEGV))
		set |= SIGNALS_BIT(SIGNALS_FOR_SEGV);
	if (set & taken & SIGNALS_BIT(SIGBUS))
		set |= SIGNALS_BIT(SIGNALS_FOR_BUS);
	return set;
}

static int answer(long r)
{
	return (int)real_answer(r);
}

/* ---- actions ---- */

static long action_raw(int signo, const struct sigaction *set, struct sigaction *old)
{
	struct signals_action to = { 0 }, from;
	if (signo == 32 || signo == 33) /* glibc's own */
		return -EINVAL;
	if (set) {
		to.handler.plain = set->sa_handler;
		to.flags = (unsigned int)set->sa_flags & ~0x04000000u; /* SA_RESTORER: whatever its field says, libc ignores it */
		to.mask = get(&set->sa_mask);
	}
	long r = signals_action(signo, set ? &to : NULL, &from);
	if (r == 0 && old) {
		old->sa_handler = from.handler.plain;
		old->sa_flags = (int)from.flags;
		put(&old->sa_mask, from.mask);
		void (*restorer)(void);
		memcpy(&restorer, &from.restorer, sizeof restorer);
		old->sa_restorer = restorer;
	}
	return r;
}

HOOK int sigaction(int signo, const struct sigaction *set, struct sigaction *old)
{
	uint64_t taken = signals_mask_taken();
	struct sigaction to;
	if (!real_ready || signals_kept(signo))
		return answer(action_raw(signo, set, old));
	if (taken && set) {
		to = *set;
		put(&to.sa_mask, signals_mask_to_kernel(get(&set->sa_mask), taken));
		set = &to;
	}
	int r = real.sigaction(signo, set, old);
	if (r == 0 && old && taken)
		put(&old->sa_mask, signals_mask_to_application(get(&old->sa_mask), taken));
	if (r == 0 && set && signals_mask_taken() != taken)
		signals_action_late(signo);
	return r;
}

HOOK_ALIAS(int, __sigaction, sigaction, (int, const struct sigaction *, struct sigaction *))

static sighandler_t simple(int signo, sighandler_t handler, uint64_t mask, int flags)
{
	struct sigaction set = { .sa_handler = handler, .sa_flags = flags }, old;
	put(&set.sa_mask, mask);
	return sigaction(signo, &set, &old) < 0 ? SIG_ERR : old.sa_handler;
}

static _Atomic uint64_t interrupting; /* siginterrupt() of kept signals, for signal() */

HOOK sighandler_t signal(int signo, sighandler_t handler)
{
	if (real_ready && !signals_kept(signo)) {
		uint64_t taken = signals_mask_taken();
		sighandler_t old = real.signal(signo, handler);
		if (signals_mask_taken() != taken)
			signals_action_late(signo);
		return old;
	}
	if (handler == SIG_ERR || signo < 1 || signo > 64) {
		errno = EINVAL;
		return SIG_ERR;
	}
	return simple(signo, handler, SIGNALS_BIT(signo), (atomic_load(&interrupting) & SIGNALS_BIT(signo)) ? 0 : SA_RESTART);
}

HOOK_ALIAS(sighandler_t, bsd_signal, signal, (int, sighandler_t))
HOOK_ALIAS(sighandler_t, ssignal, signal, (int, sighandler_t))

HOOK sighandler_t sysv_signal(int signo, sighandler_t handler)
{
	if (handler == SIG_ERR || signo < 1 || signo > 64) {
		errno = EINVAL;
		return SIG_ERR;
	}
	return simple(signo, handler, 0, (int)SA_RESETHAND | SA_NODEFER | SA_INTERRUPT);
}

HOOK_ALIAS(sighandler_t, __sysv_signal, sysv_signal, (int, sighandler_t))

HOOK int siginterrupt(int signo, int interrupt)
{
	struct sigaction a;
	if (real_ready && !signals_kept(signo))
		return real.siginterrupt(signo, interrupt);
	if (sigaction(signo, NULL, &a) < 0)
		return -1;
	if (interrupt)
		atomic_fetch_or(&interrupting, SIGNALS_BIT(signo));
	else
		atomic_fetch_and(&interrupting, ~SIGNALS_BIT(signo));
	a.sa_flags = interrupt ? a.sa_flags & ~SA_RESTART : a.sa_flags | SA_RESTART;
	return sigaction(signo, &a, NULL);
}

HOOK int sigignore(int signo)
{
	return simple(signo, SIG_IGN, 0, 0) == SIG_ERR ? -1 : 0;
}

/* ---- masks ---- */

static long mask_raw(int how, const uint64_t *set, uint64_t *old)
{
	return sys4(SYS_rt_sigprocmask, how, set, old, SIZE);
}

static int mask_real(int how, const sigset_t *set, sigset_t *old)
{
	if (real_ready)
		return real.pthread_sigmask(how, set, old);
	uint64_t to = set ? get(set) & ~(SIGNALS_BIT(32) | SIGNALS_BIT(33)) : 0, from = 0;
	long r = mask_raw(how, set ? &to : NULL, &from);
	if (r == 0)
		put(old, from);
	return (int)-r;
}

/* 0 or an errno, as pthread_sigmask(). */
static int mask_change(int how, const sigset_t *set, sigset_t *old)
{
	uint64_t taken = signals_mask_taken(), from = 0;
	sigset_t to;
	if (!taken) {
		int r = mask_real(how, set, old);
		if (set)
			adopt(0);
		return r;
	}
	mask_raw(SIG_SETMASK, NULL, &from);
	uint64_t mask = signals_mask_to_application(from, taken);
	if (set) {
		int r;
		to = *set;
		if (how != SIG_SETMASK && !(get(set) & SPECIAL)) {
			r = mask_real(how, &to, NULL);
		} else if (how != SIG_BLOCK && how != SIG_UNBLOCK && how != SIG_SETMASK) {
			r = EINVAL;
		} else {
			uint64_t want = how == SIG_BLOCK ? mask | get(set) : how == SIG_UNBLOCK ? mask & ~get(set) : get(set);
			put(&to, signals_mask_to_kernel(want, taken));
			r = mask_real(SIG_SETMASK, &to, NULL);
		}
		if (r != 0)
			return r;
		adopt(taken);
	}
	put(old, mask);
	return 0;
}

HOOK int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	return mask_change(how, set, old);
}

HOOK int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int r = mask_change(how, set, old);
	if (r != 0)
		errno = r;
	return r ? -1 : 0;
}

static int one(int how, int signo, sigset_t *old)
{
	sigset_t set;
	sigemptyset(&set);
	return sigaddset(&set, signo) < 0 ? -1 : sigprocmask(how, &set, old);
}

HOOK int sighold(int signo)
{
	return one(SIG_BLOCK, signo, NULL);
}

HOOK int sigrelse(int signo)
{
	return one(SIG_UNBLOCK, signo, NULL);
}

HOOK sighandler_t sigset(int signo, sighandler_t disposition)
{
	sigset_t before;
	sighandler_t old;
	if (disposition == SIG_HOLD) {
		struct sigaction a;
		if (one(SIG_BLOCK, signo, &before) < 0 || sigaction(signo, NULL, &a) < 0)
			return SIG_ERR;
		old = a.sa_handler;
	} else {
		old = simple(signo, disposition, 0, 0);
		if (old == SIG_ERR || one(SIG_UNBLOCK, signo, &before) < 0)
			return SIG_ERR;
	}
	return sigismember(&before, signo) ? SIG_HOLD : old;
}

static int old_mask(int how, int mask)
{
	sigset_t set, old;
	sigemptyset(&set);
	sigemptyset(&old);
	put(&set, (unsigned int)mask);
	return sigprocmask(how, &set, &old) < 0 ? -1 : (int)get(&old);
}

HOOK int sigblock(int mask)
{
	return old_mask(SIG_BLOCK, mask);
}

HOOK int sigsetmask(int mask)
{
	return old_mask(SIG_SETMASK, mask);
}

HOOK int siggetmask(void)
{
	return old_mask(SIG_BLOCK, 0);
}

HOOK int pthread_attr_setsigmask_np(pthread_attr_t *attr, const sigset_t *set)
{
	sigset_t room;
	if (!real_ready && !real.pthread_attr_setsigmask_np)
		real_resolve();
	return real.pthread_attr_setsigmask_np ? real.pthread_attr_setsigmask_np(attr, translated(set, &room)) : ENOSYS;
}

HOOK int pthread_attr_getsigmask_np(const pthread_attr_t *attr, sigset_t *set)
{
	uint64_t taken = signals_mask_taken();
	if (!real_ready && !real.pthread_attr_getsigmask_np)
		real_resolve();
	int r = real.pthread_attr_getsigmask_np ? real.pthread_attr_getsigmask_np(attr, set) : ENOSYS;
	if (r == 0 && taken)
		put(set, signals_mask_to_application(get(set), taken));
	return r;
}

/* ---- waits ---- */

HOOK int sigsuspend(const sigset_t *set)
{
	sigset_t room;
	uint64_t taken = signals_mask_taken();
	const sigset_t *to = translated(set, &room);
	int r = real_ready ? real.sigsuspend(to) : answer(sys2(SYS_rt_sigsuspend, to, SIZE));
	adopt(taken);
	return r;
}

HOOK_ALIAS(int, __sigsuspend, sigsuspend, (const sigset_t *))

/* BSD's: a mask of the first 32 signals. In C <signal.h> gives the name to System V's. */
HOOK int hooks_sigpause(int mask) __asm__("sigpause");
HOOK int hooks_sigpause(int mask)
{
	sigset_t set;
	sigemptyset(&set);
	put(&set, (unsigned int)mask);
	return sigsuspend(&set);
}

/* System V's: a signal that is let in. */
HOOK int __xpg_sigpause(int signo)
{
	sigset_t set;
	if (sigprocmask(SIG_BLOCK, NULL, &set) < 0 || sigdelset(&set, signo) < 0)
		return -1;
	return sigsuspend(&set);
}

HOOK int __sigpause(int signo_or_mask, int is_signo)
{
	return is_signo ? __xpg_sigpause(signo_or_mask) : hooks_sigpause(signo_or_mask);
}

HOOK int sigpending(sigset_t *set)
{
	uint64_t taken = signals_mask_taken(), mask = 0;
	int r = real_ready ? real.sigpending(set) : answer(sys2(SYS_rt_sigpending, set, SIZE));
	if (r < 0 || !taken)
		return r;
	mask_raw(SIG_SETMASK, NULL, &mask);
	mask = signals_mask_to_application(mask, taken) & taken;
	uint64_t pending = get(set);
	for (int signo = 1; signo <= 64; signo++)
		if ((mask & SIGNALS_BIT(signo)) && (pending & SIGNALS_BIT(signals_mask_stand_in(signo))))
			pending = (pending & ~SIGNALS_BIT(signals_mask_stand_in(signo))) | SIGNALS_BIT(signo);
	put(set, pending);
	return r;
}

/* For sets with a taken signal in them. */
static int wait_for(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	siginfo_t got;
	sigset_t to = *set;
	put(&to, awaited(get(set)));
	int r = real_ready ? real.sigtimedwait(&to, &got, timeout) : answer(sys4(SYS_rt_sigtimedwait, &to, &got, timeout, SIZE));
	if (r < 0)
		return r;
	r = signals_unwrap(&got);
	if (got.si_code == SI_TKILL) /* as glibc says it */
		got.si_code = SI_USER;
	if (info)
		*info = got;
	return r;
}

#define AWAITS_TAKEN(set) (get(set) & signals_mask_taken())

HOOK int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	return real_ready && !AWAITS_TAKEN(set) ? real.sigtimedwait(set, info, timeout) : wait_for(set, info, timeout);
}

HOOK int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	return sigtimedwait(set, info, NULL);
}

HOOK int sigwait(const sigset_t *set, int *signo)
{
	int saved = errno, r;
	if (real_ready && !AWAITS_TAKEN(set))
		return real.sigwait(set, signo);
	do
		r = wait_for(set, NULL, NULL);
	while (r < 0 && errno == EINTR);
	if (r < 0) {
		r = errno;
		errno = saved;
		return r;
	}
	errno = saved;
	*signo = r;
	return 0;
}

HOOK int signalfd(int fd, const sigset_t *set, int flags)
{
	sigset_t to = *set;
	if (AWAITS_TAKEN(set)) {
		put(&to, awaited(get(set)));
		atomic_store(&signals_fd_made, true);
	}
	return real_ready ? real.signalfd(fd, &to, flags) : answer(sys4(SYS_signalfd4, fd, &to, SIZE, flags));
}

/* ---- calls that set a mask while they wait ---- */

HOOK int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *set)
{
	sigset_t room;
	uint64_t taken = signals_mask_taken();
	const sigset_t *to = translated(set, &room);
	if (!real_ready) {
		struct timespec t = timeout ? *timeout : (struct timespec){ 0 }; /* the kernel writes what is left */
		return answer(sys5(SYS_ppoll, fds, count, timeout ? &t : NULL, to, SIZE));
	}
	int r = real.ppoll(fds, count, timeout, to);
	adopt(taken);
	return r;
}

extern void __chk_fail(void) __attribute__((noreturn));

HOOK int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *set, size_t room)
{
	if (room / sizeof *fds < count)
		__chk_fail();
	return ppoll(fds, count, timeout, set);
}

HOOK int pselect(int count, fd_set *in, fd_set *out, fd_set *bad, const struct timespec *timeout, const sigset_t *set)
{
	sigset_t room;
	uint64_t taken = signals_mask_taken();
	const sigset_t *to = translated(set, &room);
	if (!real_ready) {
		struct timespec t = timeout ? *timeout : (struct timespec){ 0 };
		struct {
			const sigset_t *set;
			size_t size;
		} mask = { to, SIZE };
		return answer(sys6(SYS_pselect6, count, in, out, bad, timeout ? &t : NULL, &mask));
	}
	int r = real.pselect(count, in, out, bad, timeout, to);
	adopt(taken);
	return r;
}

HOOK int epoll_pwait(int fd, struct epoll_event *events, int max, int timeout_ms, const sigset_t *set)
{
	sigset_t room;
	uint64_t taken = signals_mask_taken();
	const sigset_t *to = translated(set, &room);
	if (!real_ready)
		return answer(sys6(SYS_epoll_pwait, fd, events, max, timeout_ms, to, SIZE));
	int r = real.epoll_pwait(fd, events, max, timeout_ms, to);
	adopt(taken);
	return r;
}

HOOK int epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout, const sigset_t *set)
{
	sigset_t room;
	uint64_t taken = signals_mask_taken();
	const sigset_t *to = translated(set, &room);
	if (!real_ready || !real.epoll_pwait2)
		return answer(sys6(SYS_epoll_pwait2, fd, events, max, timeout, to, SIZE));
	int r = real.epoll_pwait2(fd, events, max, timeout, to);
	adopt(taken);
	return r;
}

/* ---- through syscall() ---- */

long hooks_rt_sigaction(int signo, const struct signals_action *set, struct signals_action *old, size_t size)
{
	if (size != SIZE || !signals_mask_taken())
		return real_answer(sys4(SYS_rt_sigaction, signo, set, old, size));
	return real_answer(signals_action(signo, set, old));
}

long hooks_rt_sigprocmask(int how, const uint64_t *set, uint64_t *old, size_t size)
{
	sigset_t to, from;
	uint64_t taken = signals_mask_taken();
	if (size != SIZE || !taken) {
		long r = sys4(SYS_rt_sigprocmask, how, set, old, size);
		adopt(taken);
		return real_answer(r);
	}
	if (set)
		put(&to, *set);
	int r = mask_change(how, set ? &to : NULL, &from);
	if (r == 0 && old)
		*old = get(&from);
	return r ? real_answer(-r) : 0;
}
