#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "writer.h"
#include "writer_io.h"

struct job {
	struct file *f;
	int in;
	bool keys; /* else digests alone */
	struct writer_crew crew;
	struct writer_cursor cursor;  /* under crew.lock */
	struct writer_faults *faults; /* the same */
};

static bool make_room(struct writer_faults *faults)
{
	if (faults->count < faults->cap)
		return true;
	size_t cap = faults->cap ? faults->cap * 2 : 16;
	struct writer_fault *list = realloc(faults->list, cap * sizeof *list);
	if (!list)
		return false;
	faults->list = list;
	faults->cap = cap;
	return true;
}

/* Notes the chunk that holds `at`; returns its end, or 0: no memory. */
static uint64_t note(struct job *j, uint64_t at, struct err *err)
{
	struct file_extent x;

	file_extent(j->f, at, &x);
	pthread_mutex_lock(&j->crew.lock);
	bool room = make_room(j->faults);
	if (room)
		j->faults->list[j->faults->count++] = (struct writer_fault){ x.tensor, x.chunk, x.chunk, x.begin, x.end };
	pthread_mutex_unlock(&j->crew.lock);
	if (!room)
		err_sys(err, ENOMEM, "the list of damaged chunks");
	return room ? x.end : 0;
}

/* A piece of whole chunks, small enough for buf or a single one. -1: it could not be looked at. */
static int check(struct job *j, const struct writer_piece *p, uint8_t *buf, struct err *err)
{
	uint64_t at = p->begin, end = p->begin + p->len;

	while (at < end) {
		struct file_extent x;
		ssize_t n = -1;
		file_extent(j->f, at, &x);
		if (j->keys && (p->len <= FILE_SCRATCH || x.bare)) /* what is bare may be unreadable, if not wrong */
			n = file_read(j->f, j->in, at, buf, end - at < FILE_SCRATCH ? (size_t)(end - at) : FILE_SCRATCH, err);
		else if (file_check(j->f, j->in, at, buf, err) == 0)
			n = (ssize_t)(x.end - at);
		if (n > 0) {
			at += (uint64_t)n;
			continue;
		}
		if (n == 0 || err->code != ERR_DAMAGED)
			return n == 0 ? err_sys(err, EIO, "the file ends too early") : -1;
		at = note(j, at, err);
		if (at == 0)
			return -1;
	}
	return 0;
}

static void work(void *arg)
{
	struct job *j = arg;
	uint8_t *buf = malloc(FILE_SCRATCH);
	struct err e = { 0 };
	struct writer_piece p;

	if (!buf) {
		err_sys(&e, ENOMEM, "a thread's buffer");
		writer_crew_fail(&j->crew, 0, &e);
		return;
	}
	while (writer_crew_goes_on(&j->crew) && writer_take(&j->crew, &j->cursor, &p)) {
		if (check(j, &p, buf, &e) < 0) {
			writer_crew_fail(&j->crew, p.begin, &e);
			break;
		}
		writer_crew_done(&j->crew, p.len);
	}
	secret_wipe(buf, FILE_SCRATCH);
	free(buf);
}

static int by_begin(const void *a, const void *b)
{
	uint64_t x = ((const struct writer_fault *)a)->begin, y = ((const struct writer_fault *)b)->begin;

	return x < y ? -1 : x > y;
}

/* Neighbours in a tensor become one. */
static void merge(struct writer_faults *faults)
{
	size_t n = 0;

	if (faults->count > 0)
		qsort(faults->list, faults->count, sizeof *faults->list, by_begin);
	for (size_t i = 0; i < faults->count; i++) {
		struct writer_fault *last = n > 0 ? &faults->list[n - 1] : NULL, *x = &faults->list[i];
		faults->chunks++;
		if (last && last->tensor == x->tensor && last->end == x->begin) {
			last->end = x->end;
			last->last = x->last;
		} else {
			faults->list[n++] = *x;
		}
	}
	faults->count = n;
}

int writer_verify(struct file *f, int in, bool keys, unsigned int jobs, struct writer_progress *pr, struct writer_faults *faults,
                  struct err *err)
{
	struct job j = { .f = f, .in = in, .keys = keys, .faults = faults, .cursor = { .f = f, .batch = FILE_SCRATCH } };

	*faults = (struct writer_faults){ 0 };
	writer_crew_init(&j.crew, pr, file_header(f)->data_len);
	if (writer_crew_run(&j.crew, jobs, work, &j, err) < 0) {
		writer_faults_release(faults);
		return -1;
	}
	merge(faults);
	return 0;
}

void writer_faults_release(struct writer_faults *faults)
{
	free(faults->list);
	*faults = (struct writer_faults){ 0 };
}
