#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "file.h"
#include "text.h"
#include "writer.h"
#include "writer_io.h"

#define STEP 1048576u  /* bytes per read of what has no chunks, or chunks too large to hold */
#define HOLD 8388608u  /* the largest chunk that is read whole */
#define BATCH 2097152u /* small chunks are read together up to this */

struct job {
	struct file *f;
	int in, out;
	uint64_t data; /* file offset of the data section */

	struct writer_crew crew;
	struct writer_cursor cursor; /* under crew.lock */
};

static int damage(const struct job *j, uint64_t at, struct err *err)
{
	struct file_extent x;

	file_extent(j->f, at, &x);
	if (!x.tensor)
		return err_set(err, ERR_DAMAGED, "the header cannot be read");
	return err_set(err, ERR_DAMAGED, "tensor %s, chunk %" PRIu64 " (bytes %" PRIu64 " to %" PRIu64 " of the file) is damaged: "
	               "fetch the file again", TEXT(x.tensor->name.p, x.tensor->name.len), x.chunk, x.begin, x.end);
}

/* Plaintext [at, at + len) from f to the output. On failure *at says where. */
static int copy(struct job *j, uint64_t *at, uint64_t len, uint8_t *buf, size_t cap, struct err *err)
{
	uint64_t end = *at + len;

	while (*at < end) {
		size_t want = end - *at < cap ? (size_t)(end - *at) : cap;
		if (!writer_crew_goes_on(&j->crew))
			return 0;
		ssize_t n = file_read(j->f, j->in, *at, buf, want, err);
		if (n == 0)
			return err_set(err, ERR_DAMAGED, "the file ends at byte %" PRIu64 ": it was cut short while it was read", *at);
		if (n < 0)
			return !err || err->code == ERR_DAMAGED ? damage(j, *at, err) : -1;
		if (writer_write_at(j->out, buf, (size_t)n, *at, err) < 0)
			return -1;
		*at += (uint64_t)n;
		if (*at > j->data)
			writer_crew_done(&j->crew, (uint64_t)n);
	}
	return 0;
}

static void work(void *arg)
{
	struct job *j = arg;
	uint8_t *buf = malloc(HOLD);
	struct err e = { 0 };
	struct writer_piece p;

	if (!buf) {
		err_sys(&e, ENOMEM, "a thread's buffer");
		writer_crew_fail(&j->crew, 0, &e);
		return;
	}
	while (writer_crew_goes_on(&j->crew) && writer_take(&j->crew, &j->cursor, &p)) {
		if (copy(j, &p.begin, p.len, buf, p.len <= HOLD ? HOLD : STEP, &e) < 0) {
			writer_crew_fail(&j->crew, p.begin, &e);
			break;
		}
	}
	secret_wipe(buf, HOLD);
	free(buf);
}

int writer_decrypt(struct file *f, int in, int out, unsigned int jobs, struct writer_progress *pr, struct err *err)
{
	struct job j = { .f = f, .in = in, .out = out, .data = HEADER_PREFIX + file_header(f)->n, .cursor = { .f = f, .batch = BATCH } };
	uint64_t at = 0;
	struct err e = { 0 };
	uint8_t *buf;
	int ret;

	if (ftruncate(out, (off_t)file_size(f)) < 0)
		return err_sys(err, errno, "cannot size the output");
	buf = malloc(STEP);
	if (!buf)
		return err_sys(err, ENOMEM, "a buffer");
	writer_crew_init(&j.crew, pr, file_header(f)->data_len);
	ret = copy(&j, &at, j.data, buf, STEP, &e);
	free(buf);
	if (ret < 0)
		writer_crew_fail(&j.crew, 0, &e);
	return writer_crew_run(&j.crew, ret < 0 ? 1 : jobs, work, &j, err);
}
