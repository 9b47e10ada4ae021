/* bench: what the measured programs share: a clock, a checksum, an end. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline double bench_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

_Noreturn static inline void bench_fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Fletcher's checksum over 64-bit words; bytes behind the last whole word of a piece count as words of their own. */
struct sum {
	uint64_t a, b;
};

static inline void sum_add(struct sum *s, const unsigned char *p, size_t len)
{
	uint64_t a = s->a, b = s->b, word;
	for (; len >= sizeof word; p += sizeof word, len -= sizeof word) {
		memcpy(&word, p, sizeof word);
		a += word;
		b += a;
	}
	for (; len > 0; p++, len--) {
		a += *p;
		b += a;
	}
	s->a = a;
	s->b = b;
}

#endif
