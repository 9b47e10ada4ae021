/* check: what unit tests need: a failed CHECK says where and what, the program goes on, and main returns check_status(). */
#ifndef CT_TEST_CHECK_H
#define CT_TEST_CHECK_H

#include <stdio.h>
#include <string.h>

static unsigned int check_failures, check_count;

#define CHECK(cond) \
	do { \
		check_count++; \
		if (!(cond)) { \
			check_failures++; \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond); \
		} \
	} while (0)

/* The err must have that code, and its text must contain that part. */
#define CHECK_ERR(e, want, part) \
	do { \
		check_count++; \
		if ((e)->code != (want) || !strstr((e)->text, part)) { \
			check_failures++; \
			fprintf(stderr, "%s:%d: error is %d \"%s\", expected %d \"…%s…\"\n", __FILE__, __LINE__, (int)(e)->code, (e)->text, (int)(want), \
			        part); \
		} \
	} while (0)

static inline int check_status(const char *name)
{
	if (check_failures)
		fprintf(stderr, "%s: %u of %u checks failed\n", name, check_failures, check_count);
	return check_failures ? 1 : 0;
}

#endif
