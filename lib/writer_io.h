/*
 * writer_io: what the writer's files share: whole writes, a wrapped key, and a crew of threads that stops at the first
 * failure. Private to the writer's files and to cli/same.c, which compares with such a crew.
 */
#ifndef CT_WRITER_IO_H
#define CT_WRITER_IO_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aead.h"
#include "buf.h"
#include "crypto_info.h"
#include "err.h"
#include "file.h"
#include "jwk.h"
#include "writer.h"

/* All of len bytes, or -1 with ERR_SYSTEM. */
int writer_write_at(int fd, const void *buf, size_t len, uint64_t at, struct err *err);

/* N, the header's text padded with spaces to n bytes: the first 8 + n bytes of a file. text grows. */
int writer_put_header(int fd, struct buf *text, uint64_t n, struct err *err);

/* Wraps a data key of len bytes into the entry's wrapped_key, under a new IV. false: OpenSSL fails. */
bool writer_wrap_key(struct aead *a, const struct jwk *kek, const uint8_t *dek, size_t len, struct crypto_entry *e);

/* Walks over the chunks of an opened file. */
struct writer_cursor {
	const struct file *f;
	uint64_t batch; /* bytes: small chunks that follow one another come together up to this */
	size_t tensor;
	uint64_t chunk;
};

struct writer_piece {
	uint64_t begin, len; /* bytes of the file */
};

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

/* The next piece of whole chunks; false at the end. What has no chunks comes in pieces of cur->batch. */
bool writer_take(struct writer_crew *c, struct writer_cursor *cur, struct writer_piece *p);

void writer_crew_done(struct writer_crew *c, uint64_t bytes);

#endif
