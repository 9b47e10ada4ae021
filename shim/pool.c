#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "budget.h"
#include "config.h"
#include "sys.h"
#include "touch.h"
#include "uffd.h"
#include "window.h"

#define DEMANDS 1024
#define STACK (256u << 10)
#define WATCH_MS 500   /* between two looks at the machine's memory, where that is needed */
#define ALONE_MS 50    /* between two looks for threads of the program, once main() has left */

static _Atomic int started, ready, threads;
static _Atomic bool main_left, leave;
static _Atomic uint64_t faults_answered;

/* A fault to answer. parked: somebody works there; looked at again when a flight or a change has ended since. */
struct demand {
	struct uffd_fault fault;
	bool parked;
	uint32_t seen;
};

static struct lock lock = LOCK_INIT; /* over what follows */
static struct demand demands[DEMANDS];
static _Atomic unsigned int demand_count;

/* ---- what is to be done ---- */

static bool demand_put(const struct demand *d)
{
	lock_saved saved = lock_acquire(&lock);
	bool room = demand_count < DEMANDS;
	if (room) {
		demands[demand_count] = *d;
		demand_count++;
	}
	lock_release(&lock, saved);
	return room;
}

static bool demand_take(struct demand *d)
{
	bool found = false;
	uint32_t now = flights_seen();
	if (demand_count == 0)
		return false;
	lock_saved saved = lock_acquire(&lock);
	for (unsigned int i = 0; i < demand_count && !found; i++) {
		if (demands[i].parked && demands[i].seen == now)
			continue;
		*d = demands[i];
		demand_count--;
		demands[i] = demands[demand_count];
		found = true;
	}
	lock_release(&lock, saved);
	return found;
}

/* Whoever waits at the address looks again. */
static void wake(uintptr_t addr)
{
	struct range page = { .base = addr & ~(uintptr_t)(ranges_page() - 1), .len = ranges_page() };
	method_now()->wake(&page, 0, ranges_page());
}

static bool answer_once(const struct uffd_fault *f, bool again)
{
	struct range r;
	bool done = true;
	if (!ranges_find(f->addr, &r)) {
		wake(f->addr);
		return true;
	}
	if (f->protected) {
		done = uffd_unprotect(&r, f->addr);
	} else {
		enum window_end end = touch_once(&r, f->addr, again);
		done = end != WINDOW_BUSY;
		if (end == WINDOW_GONE)
			wake(f->addr);
	}
	mapping_put(r.m);
	return done;
}

static void answer(struct demand *d)
{
	bool again = d->parked;
	do {
		d->seen = flights_seen();
		d->parked = true;
		if (answer_once(&d->fault, again) || (atomic_load(&ready) > 0 && demand_put(d))) /* nobody else may ever look */
			return;
		again = true;
		flights_wait(d->seen);
	} while (true);
}

/* ---- threads ---- */

/* Only our threads are left. */
static bool alone(void)
{
	char buf[2048];
	int count = 0;
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n;
	if (fd < 0)
		return false;
	while ((n = sys3(SYS_getdents64, fd, buf, sizeof buf)) > 0) {
		for (long at = 0; at < n;) {
			uint16_t len;
			memcpy(&len, buf + at + 16, sizeof len); /* struct linux_dirent64: ino, off, reclen, type, name */
			count += buf[at + 19] != '.';
			at += len;
		}
	}
	sys_close((int)fd);
	return count <= threads + 1; /* a main thread that has left stays as a zombie */
}

static void look_around(void)
{
	if (main_left && alone())
		atomic_store(&leave, true);
}

static void *filler(void *arg)
{
	struct demand d;
	(void)arg;
	sys2(SYS_prctl, 15 /* PR_SET_NAME */, "ctshim");
	atomic_fetch_add(&ready, 1);
	while (!leave) {
		uint32_t seen = flights_seen();
		if (demand_take(&d)) {
			answer(&d);
			continue;
		}
		if (touch_first() || window_ahead(NULL))
			continue;
		bool watching = budget_watch();
		int ms = main_left ? ALONE_MS : watching ? WATCH_MS : 0;
		flights_wait_for(seen, ms);
		look_around();
	}
	atomic_fetch_sub(&threads, 1);
	return NULL;
}

static int start_thread(void *(*run)(void *), void *arg)
{
	pthread_t t;
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);
	if (r)
		return -r;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	lock_saved saved = lock_signals(); /* it inherits the mask */
	r = pthread_create(&t, &attr, run, arg);
	lock_signals_restore(saved);
	pthread_attr_destroy(&attr);
	if (r == 0)
		atomic_fetch_add(&threads, 1);
	return -r;
}

/* Makes the others, so that mmap() need not wait for them; until one is ready the reader of faults answers himself. */
static void *first_filler(void *arg)
{
	for (int i = config_threads(); i > 1; i--)
		if (start_thread(filler, NULL) < 0)
			break;
	return filler(arg);
}

static void *reader(void *arg)
{
	struct uffd_fault faults[16];
	(void)arg;
	sys2(SYS_prctl, 15, "ctshim");
	while (!leave) {
		int n = uffd_read(faults, 16, main_left ? ALONE_MS : -1);
		if (n < 0)
			break;
		atomic_fetch_add(&faults_answered, (uint64_t)(n > 0 ? n : 0));
		for (int i = 0; i < n; i++) {
			struct demand d = { .fault = faults[i] };
			if (atomic_load(&ready) == 0 || !demand_put(&d))
				answer(&d);
		}
		if (n > 0)
			flights_poke();
		look_around();
	}
	atomic_fetch_sub(&threads, 1);
	flights_poke();
	return NULL;
}

int pool_start(bool faults)
{
	int expected = 0, r = 0;
	if (!atomic_compare_exchange_strong(&started, &expected, 1))
		return 0;
	if (faults)
		r = start_thread(reader, NULL);
	if (r == 0)
		r = start_thread(first_filler, NULL);
	if (r < 0 && threads > 0) { /* the reader answers everything by itself */
		r = 0;
	}
	if (r < 0)
		atomic_store(&started, 0);
	return r;
}

void pool_main_leaves(void)
{
	if (!started)
		return;
	atomic_store(&main_left, true);
	uffd_interrupt();
	flights_poke();
}

uint64_t pool_faults(void)
{
	return faults_answered;
}

void pool_fork_child(void)
{
	lock = (struct lock)LOCK_INIT;
	started = ready = threads = 0;
	main_left = leave = false;
	demand_count = 0;
	faults_answered = 0;
}
