/*
 * writer_io: what the two halves of the writer share: whole reads and writes at an offset, and a crew of threads that stops at
 * the first failure. Also what cli/same.c reads and compares with; nobody else's.
 */
#ifndef CT_WRITER_IO_H
#define CT_WRITER_IO_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "writer.h"

/* All of len bytes, or -1: ERR_SYSTEM, or ERR_FORMAT where the file ends before. */
int writer_read_at(int fd, void *buf, size_t len, uint64_t at, struct err *err);
int writer_write_at(int fd, const void *buf, size_t len, uint64_t at, struct err *err);

struct writer_crew {
	pthread_mutex_t lock; /* the job's cursor and what follows */
	struct writer_progress *progress; /* may be NULL */
	_Atomic bool failed;
	uint64_t failed_at; /* file offset of the failure that err tells of: the first one wins */
	struct err err;
};

void writer_crew_init(struct writer_crew *c, struct writer_progress *progress, uint64_t total);

/* Runs work(arg) on `jobs` threads, the calling one included. -1 with the crew's error if any of them failed. */
int writer_crew_run(struct writer_crew *c, unsigned int jobs, void (*work)(void *arg), void *arg, struct err *err);

/* Called by work(): reports a failure at a file offset; the one with the lowest offset is kept. */
void writer_crew_fail(struct writer_crew *c, uint64_t at, const struct err *err);

/* Called by work() between pieces: false means stop. A cancel becomes the crew's failure (EINTR). */
bool writer_crew_goes_on(struct writer_crew *c);

void writer_crew_done(struct writer_crew *c, uint64_t bytes);

#endif
