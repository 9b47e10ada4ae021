#include "choice.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "budget.h"
#include "config.h"
#include "err.h"
#include "fragments.h"
#include "lazy.h"
#include "pool.h"
#include "segv.h"
#include "signals.h"
#include "source.h"
#include "sys.h"
#include "touch.h"
#include "uffd.h"
#include "window.h"

enum { NOT_CHOSEN, CHOOSING, CHOSEN };
static _Atomic int chosen;
static char why[256];

/*
 * A page that a child without our knowledge (clone by an inline system call) finds wiped: what it inherited of our tables is in
 * the state of some moment, and the threads are not there.
 */
static _Atomic int *alive;

void choice_check(void)
{
	if (alive && atomic_load(alive) == 0)
		choice_fork_child(false);
}

static bool fault(int signo, const siginfo_t *info, const void *context)
{
	choice_check();
	return touch_fault(signo, info, context);
}

/* ---- the choice ---- */

static void add_why(const char *name, const char *text)
{
	size_t len = strlen(why);
	snprintf(why + len, sizeof why - len, "%s%s: %s", len ? "; " : "", name, text);
}

static const char *uffd_text(int e)
{
	switch (-e) {
	case EPERM:
		return "EPERM (a seccomp filter, or this user may not)";
	case ENOSYS:
		return "ENOSYS (the kernel, or a seccomp filter)";
	default:
		return strerrordesc_np(-e);
	}
}

/* Before there are threads that use it. */
static void use(const struct method *m)
{
	method_use(m);
	atomic_store(&lazy_unserved, m && !m->serves_kernel);
}

static const struct method *choose_uffd(void)
{
	int not_full, e = uffd_start(true, &not_full);
	const struct method *m = not_full ? &uffd_user : &uffd_full;
	if (e == 0) {
		use(m);
		e = pool_start(true);
	}
	if (e < 0) {
		add_why("userfaultfd", uffd_text(e));
		return NULL;
	}
	if (not_full == -EPERM)
		add_why("userfaultfd in full mode", "EPERM (needs CAP_SYS_PTRACE, /dev/userfaultfd or vm.unprivileged_userfaultfd=1)");
	else if (not_full)
		add_why("userfaultfd in full mode", uffd_text(not_full));
	return m;
}

void choice_explain_stores(void)
{
	const char *text; /* without it the fault is the same, and nothing is said */
	signals_take(SIGSEGV, fault, &text);
}

static const struct method *choose_segv(void)
{
	const char *text = "";
	int e = segv_start(&text);
	if (e == 0)
		e = signals_take(SIGSEGV, fault, &text);
	if (e < 0) {
		add_why("sigsegv", text);
		return NULL;
	}
	use(&segv_method);
	pool_start(false); /* without threads nothing is read ahead */
	return &segv_method;
}

static void choose(void)
{
	const struct method *m = NULL;
	why[0] = '\0';
	if (!alive) {
		alive = source_alloc(ranges_page());
		if (alive)
			sys3(SYS_madvise, alive, ranges_page(), MADV_WIPEONFORK);
	}
	if (config.mmap == MMAP_EAGER) {
		add_why("lazy methods", "CTSHIM_MMAP=eager");
	} else if (config.valgrind) {
		add_why("lazy methods", "valgrind, which runs one thread at a time: while one waits for a page, none could fill it");
	} else if (!alive || fragments_start() < 0 || window_start() < 0) {
		add_why("lazy methods", "no memory");
	} else {
		atomic_store(alive, 1);
		m = choose_uffd();
		if (!m)
			m = choose_segv();
	}
	if (!m)
		use(NULL);
	config_log(LOG_INFO, "mappings are filled %s%s%s%s", m ? "when they are touched: " : "at once", m ? m->name : "", *why ? "; " : "", why);
}

const struct method *choice_method(void)
{
	for (;;) {
		int expected = NOT_CHOSEN;
		if (atomic_load(&chosen) == CHOSEN)
			return method_now();
		if (atomic_compare_exchange_strong(&chosen, &expected, CHOOSING)) {
			choose();
			atomic_store(&chosen, CHOSEN);
			return method_now();
		}
		struct timespec nap = { 0, 100 * 1000 };
		sys2(SYS_nanosleep, &nap, NULL);
	}
}

const char *choice_why(void)
{
	return why;
}

const char *choice_name(void)
{
	const struct method *m = method_now();
	return atomic_load(&chosen) != CHOSEN ? "none" : m ? m->name : "eager";
}

/* ---- fork ---- */

static bool by_uffd(void)
{
	const struct method *m = method_now();
	return atomic_load(&chosen) == CHOSEN && m && m != &segv_method;
}

void choice_fork_before(void)
{
	if (by_uffd())
		uffd_fork_before();
}

void choice_fork_after(void)
{
	if (by_uffd())
		uffd_fork_after();
}

/* A userfaultfd of one's own, and threads or a handler of SIGBUS to answer it. */
static void uffd_again(bool threads)
{
	const char *text = "";
	int not_full, e = uffd_start(threads, &not_full);
	if (e == 0 && !threads)
		e = signals_take(SIGBUS, fault, &text);
	use(not_full ? &uffd_user : &uffd_full);
	if (e == 0 && threads && pool_start(true) < 0) { /* no thread could be made */
		uffd_again(false);
		return;
	}
	uffd_fork_child(); /* without a userfaultfd this takes the mappings away: better than zeros */
	if (e < 0)
		config_log(LOG_ERROR, "a child process cannot have mappings filled when they are touched: %s", strerrordesc_np(-e));
}

void choice_fork_child(bool threads)
{
	ranges_fork_child();
	fragments_fork_child();
	window_fork_child();
	budget_fork_child();
	pool_fork_child();
	touch_fork_child();
	if (alive)
		atomic_store(alive, 1);
	if (atomic_load(&chosen) != CHOSEN || !ranges_any()) {
		atomic_store(&chosen, NOT_CHOSEN);
		return;
	}
	if (by_uffd())
		uffd_again(threads);
	else if (method_now() && threads)
		pool_start(false);
}
