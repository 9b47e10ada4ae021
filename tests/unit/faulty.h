/*
 * faulty: memory that faults until it is touched, for tests of shim/signals.h: pages of PROT_NONE with known words in them, which the handler
 * opens. Without faulty_take() all of it is open.
 */
#ifndef CT_TEST_FAULTY_H
#define CT_TEST_FAULTY_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../shim/signals.h"

#define FAULTY_PAGES 1024
#define FAULTY_PAGE 4096

static unsigned char *faulty;
static _Atomic size_t faulty_next; /* the page that faulty_touch() takes */
static _Atomic unsigned long faulty_faults, faulty_wrong;

/* More than a thread's own or alternate stack may have. */
static void __attribute__((noinline)) faulty_use_stack(void)
{
#ifndef __SANITIZE_ADDRESS__ /* there it runs on the thread's own stack */
	volatile char use[200 << 10];
	for (size_t i = 0; i < sizeof use; i += 512)
		use[i] = 1;
#endif
}

static bool faulty_fault(int signo, const siginfo_t *info, const void *ucontext)
{
	size_t at = (size_t)((unsigned char *)info->si_addr - faulty);
	if (signo != SIGSEGV || at >= (size_t)FAULTY_PAGES * FAULTY_PAGE)
		return false;
	faulty_use_stack();
	if (signals_is_write(ucontext))
		atomic_fetch_add(&faulty_wrong, 1);
	atomic_fetch_add(&faulty_faults, 1);
	mprotect(faulty + at / FAULTY_PAGE * FAULTY_PAGE, FAULTY_PAGE, PROT_READ);
	errno = ENOTTY; /* must not be seen by whom it interrupts */
	return true;
}

static inline void *faulty_map(size_t len)
{
	/* cppcheck-suppress invalidFunctionArg ; -1 is what anonymous memory wants */
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* `open`: whether pages are so from the start. */
static inline void faulty_make(bool open)
{
	size_t len = (size_t)FAULTY_PAGES * FAULTY_PAGE;
	faulty = faulty_map(len);
	for (size_t i = 0; i < FAULTY_PAGES; i++)
		memcpy(faulty + i * FAULTY_PAGE, &i, sizeof i);
	mprotect(faulty, len, open ? PROT_READ : PROT_NONE);
}

static inline void faulty_read(size_t page)
{
	size_t word;
	errno = ESRCH;
	__asm__ volatile("" ::: "memory"); /* a compiler knows of no load that changes errno */
	memcpy(&word, (const void *)(faulty + page * FAULTY_PAGE), sizeof word);
	__asm__ volatile("" : "+r"(word)::"memory");
	if (word != page || errno != ESRCH)
		atomic_fetch_add(&faulty_wrong, 1);
}

/* A test that hangs ends, by SIGALRM, and its children with it, whatever they block. In the child: */
static inline void faulty_child(void)
{
	const struct rlimit no_core = { 0, 0 };
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &no_core);
}

/* Reads a page that nobody has touched. */
static inline void faulty_touch(void)
{
	faulty_read(atomic_fetch_add(&faulty_next, 1) % FAULTY_PAGES);
}

#endif
