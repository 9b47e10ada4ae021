#include "signals.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <ucontext.h>

#include "lock.h"
#include "signals_app.h"
#include "signals_mask.h"
#include "signals_stack.h"
#include "sys.h"

#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000
#endif
#ifndef SA_EXPOSE_TAGBITS
#define SA_EXPOSE_TAGBITS 0x00000800
#endif

/* The flags that decide where the kernel puts our frame and what becomes of an interrupted system call are the application's own. */
#define FLAGS_MIRRORED (SA_ONSTACK | SA_RESTART | SA_EXPOSE_TAGBITS)

#define FLAGS_KNOWN \
	((unsigned long)(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_NODEFER | SA_RESETHAND | SA_RESTORER) | FLAGS_MIRRORED)

/* si_errno of a stand-in that was sent for its signal; the low byte is the signal's own si_code. */
#define SENT_FOR 0x63740000

enum { SEGV, BUS, FOR_SEGV, FOR_BUS, KEPT };

/* The application's action. Two copies, so that a reader needs no lock, and a fork child never finds half of one. */
struct slot {
	_Atomic unsigned int writes; /* the newest copy is [writes & 1] */
	struct {
		_Atomic uintptr_t handler, flags, restorer;
		_Atomic uint64_t mask;
	} copy[2];
	_Atomic(signals_fault) fault;
};

static struct slot slots[KEPT];

/*
 * Zeroed by the kernel in a child that has memory of its own, however it was made: there nobody holds a lock or a stack, and the child becomes the
 * owner of its copy. A vfork child finds its parent here.
 */
struct fresh {
	_Atomic int owner; /* pid */
	struct lock lock;  /* over writes to slots together with the kernel's action; all zeros is a free one */
	_Atomic int taking;
	struct signals_stack_use stacks;
};

static _Atomic(struct fresh *) fresh;

_Atomic bool signals_fd_made;

static int slot_index(int signo)
{
	switch (signo) {
	case SIGSEGV:
		return SEGV;
	case SIGBUS:
		return BUS;
	case SIGNALS_FOR_SEGV:
		return FOR_SEGV;
	case SIGNALS_FOR_BUS:
		return FOR_BUS;
	default:
		return -1;
	}
}

static struct slot *slot_of(int signo)
{
	int i = slot_index(signo);
	return i < 0 ? NULL : &slots[i];
}

bool signals_kept(int signo)
{
	uint64_t taken = signals_mask_taken();
	if (!taken || signo < 1 || signo > 64)
		return false;
	return (signals_mask_special(taken) & SIGNALS_BIT(signo)) && slot_index(signo) >= 0;
}

static bool is_owner(void)
{
	struct fresh *f = atomic_load(&fresh);
	int self = (int)sys0(SYS_getpid), owner = 0;
	return atomic_compare_exchange_strong(&f->owner, &owner, self) || owner == self;
}

static void slot_read(struct slot *s, struct signals_action *a)
{
	unsigned int writes;
	do {
		writes = atomic_load_explicit(&s->writes, memory_order_acquire);
		a->handler.word = atomic_load_explicit(&s->copy[writes & 1].handler, memory_order_relaxed);
		a->flags = atomic_load_explicit(&s->copy[writes & 1].flags, memory_order_relaxed);
		a->restorer = (void *)atomic_load_explicit(&s->copy[writes & 1].restorer, memory_order_relaxed); /* NOLINT */
		a->mask = atomic_load_explicit(&s->copy[writes & 1].mask, memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
	} while (atomic_load_explicit(&s->writes, memory_order_relaxed) != writes);
}

/* Under the lock, or before anybody reads. */
static void slot_write(struct slot *s, const struct signals_action *a)
{
	unsigned int writes = atomic_load_explicit(&s->writes, memory_order_relaxed) + 1;
	atomic_thread_fence(memory_order_release); /* whoever sees one of these stores sees that its copy is not the newest */
	atomic_store_explicit(&s->copy[writes & 1].handler, a->handler.word, memory_order_relaxed);
	atomic_store_explicit(&s->copy[writes & 1].flags, a->flags, memory_order_relaxed);
	atomic_store_explicit(&s->copy[writes & 1].restorer, (uintptr_t)a->restorer, memory_order_relaxed);
	atomic_store_explicit(&s->copy[writes & 1].mask, a->mask, memory_order_relaxed);
	atomic_store_explicit(&s->writes, writes, memory_order_release);
}

/* ---- the kernel's side ---- */

static void on_signal(int signo, siginfo_t *info, void *ucontext);

#if defined(__x86_64__)
/*
 * Where a handler returns to. Debuggers and unwinders know the frame by these very bytes, and gdb by glibc's name; the nop keeps the search for
 * "return address - 1" away from what lies before.
 */
extern char signals_restorer[] __asm__("__restore_rt") __attribute__((visibility("hidden")));
__asm__(".text\n"
        ".balign 16\n"
        "	nop\n"
        ".type __restore_rt, @function\n"
        "__restore_rt:\n"
        "	movq	$15, %rax\n"
        "	syscall\n"
        ".size __restore_rt, .-__restore_rt\n");
#define RESTORER ((void *)signals_restorer)
#define FLAGS_RESTORER ((unsigned long)SA_RESTORER)
#else
#define RESTORER NULL /* the kernel's own */
#define FLAGS_RESTORER 0ul
#endif

/* Masks as they are. */
static long kernel_action(int signo, const struct signals_action *set, struct signals_action *old)
{
	return sys4(SYS_rt_sigaction, signo, set, old, sizeof(uint64_t));
}

static bool is_ours(const struct signals_action *kernel)
{
	return kernel->handler.info == on_signal;
}

bool signals_held(int signo)
{
	struct signals_action a = { 0 };
	return kernel_action(signo, NULL, &a) == 0 && is_ours(&a);
}

/* Ours for signo, with what the application's action asks of the kernel. */
static long install(int signo, const struct signals_action *application)
{
	bool called = application->handler.plain != SIG_DFL && application->handler.plain != SIG_IGN;
	struct signals_action ours = {
		.handler.info = on_signal,
		.flags = SA_SIGINFO | FLAGS_RESTORER | (called ? application->flags & FLAGS_MIRRORED : SA_ONSTACK | SA_RESTART),
		.restorer = RESTORER,
		.mask = ~UINT64_C(0),
	};
	return kernel_action(signo, &ours, NULL);
}

static long install_both(int signo, const struct signals_action *application)
{
	int stand_in = signals_mask_stand_in(signo);
	long r = install(signo, application);
	return r == 0 && stand_in ? install(stand_in, application) : r;
}

static void kernel_default(int signo)
{
	const struct signals_action dfl = { .handler.plain = SIG_DFL };
	kernel_action(signo, &dfl, NULL);
}

/* ---- the application's side ---- */

/* As signals_action(), by the kernel alone. */
static long action_forward(int signo, const struct signals_action *set, struct signals_action *old)
{
	struct signals_action to = { 0 }, from = { 0 };
	uint64_t taken = signals_mask_taken();
	if (set) {
		to = *set;
		to.mask = signals_mask_to_kernel(set->mask, taken);
		if (FLAGS_RESTORER && !(to.flags & SA_RESTORER)) {
			to.flags |= FLAGS_RESTORER;
			to.restorer = RESTORER;
		}
	}
	long r = kernel_action(signo, set ? &to : NULL, &from);
	from.mask = signals_mask_to_application(from.mask, taken);
	if (r == 0 && is_ours(&from) && slot_of(signo)) /* a vfork child that has not set its own yet */
		slot_read(slot_of(signo), &from);
	if (r == 0 && old)
		*old = from;
	return r;
}

/* Under the lock. */
static long action_kept(int signo, const struct signals_action *set, struct signals_action *old)
{
	struct slot *s = slot_of(signo);
	struct signals_action before = { 0 };
	slot_read(s, &before);
	if (set && is_ours(set)) { /* asked from the kernel by somebody who replaced it past us, and puts it back now */
		install_both(signo, &before);
	} else if (set) {
		struct signals_action a = *set;
		a.flags = (a.flags & FLAGS_KNOWN) | FLAGS_RESTORER;
		a.mask &= ~(SIGNALS_BIT(SIGKILL) | SIGNALS_BIT(SIGSTOP));
		if (!a.restorer)
			a.restorer = RESTORER;
		slot_write(s, &a);
		if (signals_mask_stand_in(signo) && signals_held(signo))
			install_both(signo, &a);
	}
	if (old)
		*old = before;
	return 0;
}

long signals_action(int signo, const struct signals_action *set, struct signals_action *old)
{
	if (!signals_kept(signo) || !is_owner())
		return action_forward(signo, set, old);
	struct fresh *f = atomic_load(&fresh);
	lock_saved saved = lock_acquire(&f->lock);
	long r = action_kept(signo, set, old);
	lock_release(&f->lock, saved);
	return r;
}

/* ---- signals ---- */

static uint64_t *mask_of(void *ucontext)
{
	return (uint64_t *)(void *)&((ucontext_t *)ucontext)->uc_sigmask; /* the kernel's is 8 bytes long */
}

static void mask_set(uint64_t mask)
{
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof mask);
}

int signals_unwrap(siginfo_t *info)
{
	int signo = signals_mask_stands_for(info->si_signo);
	if (signo && (info->si_errno & ~0xff) == SENT_FOR) {
		info->si_code = (signed char)(info->si_errno & 0xff);
		info->si_signo = signo;
		info->si_errno = 0;
	}
	return info->si_signo;
}

/*
 * A signal that was sent while the application has it blocked waits in the kernel as its stand-in. Sent to the process it may go to
 * any thread that has it open.
 */
static void hold(const siginfo_t *info)
{
	siginfo_t to = *info;
	uint64_t pending = 0;
	long pid = sys0(SYS_getpid);
	to.si_signo = signals_mask_stand_in(info->si_signo);
	sys2(SYS_rt_sigpending, &pending, sizeof pending);
	if (pending & SIGNALS_BIT(to.si_signo)) /* signals of old times wait once only */
		return;
	to.si_errno = SENT_FOR | (info->si_code >= -128 && info->si_code <= 0 ? info->si_code & 0xff : SI_QUEUE & 0xff);
	to.si_code = SI_QUEUE; /* the kernel takes SI_USER and SI_TKILL from a thread to itself only */
	if (info->si_code == SI_TKILL)
		sys4(SYS_rt_tgsigqueueinfo, pid, sys0(SYS_gettid), to.si_signo, &to);
	else
		sys3(SYS_rt_sigqueueinfo, pid, to.si_signo, &to);
}

/*
 * The default action, by the kernel. Sent again: a page may be there by now, so that the instruction would not fault a second time.
 * Returning to the instruction as well: the first process of a container dies of faults only.
 */
static void die(const siginfo_t *info, bool fault)
{
	long pid = sys0(SYS_getpid);
	if (!fault && pid == 1)
		return;
	kernel_default(info->si_signo);
	sys4(SYS_rt_tgsigqueueinfo, pid, sys0(SYS_gettid), info->si_signo, info);
}

static void reset(int signo, struct signals_action a)
{
	a.handler.plain = SIG_DFL;
	signals_action(signo, &a, NULL);
}

/* As the kernel would have done it. waited: the kernel held it as a stand-in, so that it is open now, whatever the frame's mask says. */
static void deliver(siginfo_t *info, void *ucontext, bool fault, bool waited, int saved_errno)
{
	int signo = info->si_signo;
	uint64_t taken = signals_mask_taken(), *frame = mask_of(ucontext);
	uint64_t mask = signals_mask_to_application(*frame, taken);
	bool blocked = !waited && signals_mask_stand_in(signo) && (mask & SIGNALS_BIT(signo));
	struct signals_action a;
	slot_read(slot_of(signo), &a);
	if (blocked && !fault) {
		hold(info);
		return;
	}
	if (a.handler.plain == SIG_IGN && !fault)
		return;
	if (blocked || a.handler.plain == SIG_DFL || a.handler.plain == SIG_IGN) {
		die(info, fault);
		return;
	}
	if (a.flags & SA_RESETHAND)
		reset(signo, a);
	*frame = mask;
	mask |= a.mask | ((a.flags & SA_NODEFER) ? 0 : SIGNALS_BIT(signo));
	mask_set(signals_mask_to_kernel(mask, taken));
	errno = saved_errno;
	a.handler.info(signo, info, ucontext);
	*frame = signals_mask_to_kernel(*frame, signals_mask_taken());
}

struct call {
	signals_fault fault;
	int signo;
	const siginfo_t *info;
	const void *ucontext;
	bool handled;
};

static void call_fault(void *arg)
{
	struct call *c = arg;
	c->handled = c->fault(c->signo, c->info, c->ucontext);
}

/* On the thread's stack, or its alternate one, which may be small: little is used here. */
static void on_signal(int signo, siginfo_t *info, void *ucontext)
{
	int saved = errno;
	struct slot *s = slot_of(signo);
	bool fault = info->si_code > 0 && signals_mask_stand_in(signo);
	if (fault && info->si_code != SI_KERNEL) { /* which comes without an address */
		struct call c = { atomic_load(&s->fault), signo, info, ucontext, false };
		is_owner(); /* in a child of fork() none of the stacks is in use */
		if (c.fault)
			signals_stack_call(&atomic_load(&fresh)->stacks, call_fault, &c);
		if (c.handled) {
			errno = saved;
			return;
		}
	}
	deliver(info, ucontext, fault, signals_unwrap(info) != signo, saved);
}

bool signals_is_write(const void *ucontext)
{
	const ucontext_t *uc = ucontext;
#if defined(__x86_64__)
	return uc->uc_mcontext.gregs[REG_ERR] & 2;
#else
	const unsigned char *at = (const unsigned char *)uc->uc_mcontext.__reserved, *end = at + sizeof uc->uc_mcontext.__reserved;
	while (end - at >= 16) {
		uint32_t head[2]; /* magic, size */
		uint64_t esr;
		memcpy(head, at, sizeof head);
		if (head[0] == 0x45535201) { /* ESR_MAGIC */
			memcpy(&esr, at + 8, sizeof esr);
			return esr & 1u << 6; /* WnR */
		}
		if (head[0] == 0 || head[1] < 16 || head[1] > (size_t)(end - at))
			break;
		at += head[1];
	}
	return true;
#endif
}

/* ---- taking ---- */

static struct fresh *fresh_get(void)
{
	struct fresh *f = atomic_load(&fresh), *none = NULL;
	if (f)
		return f;
	long r = sys6(SYS_mmap, 0, sizeof *f, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_failed(r))
		return NULL;
	f = (struct fresh *)r; /* NOLINT(performance-no-int-to-ptr): a raw system call's answer */
	if (sys3(SYS_madvise, f, sizeof *f, MADV_WIPEONFORK) < 0 || !atomic_compare_exchange_strong(&fresh, &none, f))
		sys2(SYS_munmap, f, sizeof *f);
	return atomic_load(&fresh);
}

/* One at a time, with all signals blocked; not by the lock, whose waiters would be seen with all signals blocked. */
static lock_saved taking_begin(struct fresh *f)
{
	for (;;) {
		lock_saved saved = lock_signals();
		if (atomic_exchange(&f->taking, 1) == 0)
			return saved;
		lock_signals_restore(saved);
		sys0(SYS_sched_yield);
	}
}

static void taking_end(struct fresh *f, lock_saved saved)
{
	atomic_store(&f->taking, 0);
	lock_signals_restore(saved);
}

/* The masks of all handlers that are installed, said anew. Under the lock. */
static void masks_rewrite(uint64_t old, uint64_t now)
{
	for (int signo = 1; signo <= 64; signo++) {
		struct signals_action a = { 0 };
		if (kernel_action(signo, NULL, &a) < 0 || is_ours(&a))
			continue;
		uint64_t mask = signals_mask_to_kernel(signals_mask_to_application(a.mask, old), now);
		if (mask == a.mask)
			continue;
		a.mask = mask;
		kernel_action(signo, &a, NULL);
	}
}

/* The kernel's action becomes the application's, unless that has been set since (writes). Under the lock, or before the hooks look. */
static long slot_adopt(int signo, uint64_t old, const unsigned int *writes)
{
	struct slot *s = slot_of(signo);
	struct signals_action a = { 0 };
	long r = kernel_action(signo, NULL, &a);
	if (r < 0 || is_ours(&a) || (writes && atomic_load(&s->writes) != *writes))
		return r;
	a.mask = signals_mask_to_application(a.mask, old);
	slot_write(s, &a);
	return 0;
}

/* Under the lock. writes: of the slots of the signal and its stand-in, before the hooks looked there. */
static long handlers_take(int signo, uint64_t old, uint64_t now, const unsigned int *writes)
{
	struct signals_action a;
	long r = slot_adopt(signals_mask_stand_in(signo), old, &writes[1]);
	if (r == 0)
		r = slot_adopt(signo, old, &writes[0]);
	slot_read(slot_of(signo), &a);
	if (r == 0)
		r = install_both(signo, &a);
	if (r == 0)
		masks_rewrite(old, now);
	return r;
}

/* mask: the calling thread's, to be set when this returns. */
static long take(struct fresh *f, int signo, signals_fault fault, const char **why, lock_saved *mask)
{
	uint64_t old = signals_mask_taken(), now = old | SIGNALS_BIT(signo);
	struct slot *s = slot_of(signo), *stand_in = slot_of(signals_mask_stand_in(signo));
	unsigned int writes[2];
	long r = signals_stack_prepare();
	if (r < 0) {
		*why = "no memory for a handler's stack";
		return r;
	}
	if ((r = signals_mask_scan(signo, why)) < 0)
		return r;
	slot_adopt(signo, old, NULL);
	slot_adopt(signals_mask_stand_in(signo), old, NULL);
	writes[0] = atomic_load(&s->writes);
	writes[1] = atomic_load(&stand_in->writes);
	/* From here on nobody blocks it any more; who did while we looked is seen now. */
	atomic_store(&signals_mask_taken_bits, now);
	if ((r = signals_mask_scan(signo, why)) == 0) {
		atomic_store(&s->fault, fault);
		lock_saved saved = lock_acquire(&f->lock);
		if ((r = handlers_take(signo, old, now, writes)) < 0)
			*why = "the kernel refuses a signal handler";
		lock_release(&f->lock, saved);
	}
	if (r == 0)
		*mask = signals_mask_to_kernel(signals_mask_to_application(*mask, old), now);
	else
		atomic_store(&signals_mask_taken_bits, old);
	return r;
}

void signals_action_late(int signo)
{
	uint64_t taken = signals_mask_taken();
	struct fresh *f = atomic_load(&fresh);
	if (!taken || !is_owner())
		return;
	lock_saved saved = lock_acquire(&f->lock);
	struct signals_action a = { 0 };
	if (!signals_kept(signo)) {
		masks_rewrite(0, taken);
	} else if (kernel_action(signo, NULL, &a) == 0 && !is_ours(&a)) {
		slot_adopt(signo, 0, NULL);
		slot_read(slot_of(signo), &a);
		install_both(signo, &a);
	}
	lock_release(&f->lock, saved);
}

void signals_fork_child(void)
{
	if (atomic_load(&fresh))
		is_owner();
}

int signals_take(int signo, signals_fault fault, const char **why)
{
	struct fresh *f = fresh_get();
	long r = 0;
	if (!f) {
		*why = "no memory that fork() clears (MADV_WIPEONFORK)";
		return -ENOMEM;
	}
	if (!is_owner()) {
		*why = "a vfork child changes nothing of its parent";
		return -EBUSY;
	}
	lock_saved saved = taking_begin(f);
	if (!(signals_mask_taken() & SIGNALS_BIT(signo))) {
		r = take(f, signo, fault, why, &saved);
	} else if (atomic_load(&slot_of(signo)->fault) != fault) {
		*why = "taken already";
		r = -EBUSY;
	}
	taking_end(f, saved);
	return (int)r;
}

/* ---- signalfd ---- */

ssize_t signals_read_records(int fd, void *buf, ssize_t n)
{
	static const char signalfd_link[] = "anon_inode:[signalfd]";
	char path[32] = "/proc/self/fd/", link[sizeof signalfd_link];
	for (ssize_t at = 0; n % (ssize_t)sizeof(struct signalfd_siginfo) == 0 && at < n; at += (ssize_t)sizeof(struct signalfd_siginfo)) {
		struct signalfd_siginfo r;
		memcpy(&r, (char *)buf + at, sizeof r);
		siginfo_t info = { .si_signo = (int)r.ssi_signo, .si_errno = r.ssi_errno, .si_code = r.ssi_code };
		if (signals_unwrap(&info) == (int)r.ssi_signo)
			continue;
		char *p = path + 14;
		for (int digits = 1, rest = fd; (rest /= 10) > 0; digits++)
			p++;
		for (int rest = fd; p >= path + 14; rest /= 10)
			*p-- = (char)('0' + rest % 10);
		if (sys4(SYS_readlinkat, -100, path, link, sizeof link) != sizeof link - 1 || memcmp(link, signalfd_link, sizeof link - 1) != 0)
			return n;
		r.ssi_signo = (uint32_t)info.si_signo;
		r.ssi_errno = info.si_errno;
		r.ssi_code = info.si_code;
		memcpy((char *)buf + at, &r, sizeof r);
	}
	return n;
}
