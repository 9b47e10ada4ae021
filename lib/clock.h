/*
 * clock: milliseconds that never go back. Raw system calls where libc's may be hooked; thread and signal safe.
 */
#ifndef CT_CLOCK_H
#define CT_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "sys.h"

/* For timeouts: stands still while the machine sleeps. */
static inline int64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* For lifetimes: goes on while the machine sleeps. */
static inline int64_t clock_boot_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Sleeps that long, or shorter if a signal comes. */
static inline void clock_pause(int64_t ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	sys2(SYS_nanosleep, &t, 0);
}

#endif
