#include "writer_io.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CREW_MAX 256u

int writer_write_at(int fd, const void *buf, size_t len, uint64_t at, struct err *err)
{
	const uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(err, n < 0 ? errno : EIO, "cannot write the output at byte %llu", (unsigned long long)at);
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

void writer_crew_init(struct writer_crew *c, struct writer_progress *progress, uint64_t total)
{
	*c = (struct writer_crew){ .lock = PTHREAD_MUTEX_INITIALIZER, .progress = progress };
	if (progress) {
		progress->done = 0;
		progress->total = total;
	}
}

void writer_crew_fail(struct writer_crew *c, uint64_t at, const struct err *err)
{
	pthread_mutex_lock(&c->lock);
	if (!c->failed || at < c->failed_at) {
		c->failed_at = at;
		c->err = *err;
	}
	c->failed = true;
	pthread_mutex_unlock(&c->lock);
}

bool writer_crew_goes_on(struct writer_crew *c)
{
	if (c->progress && c->progress->cancel) {
		struct err e;
		err_sys(&e, EINTR, "stopped before the end");
		writer_crew_fail(c, 0, &e);
	}
	return !c->failed;
}

void writer_crew_done(struct writer_crew *c, uint64_t bytes)
{
	if (c->progress)
		c->progress->done += bytes;
}

struct member {
	pthread_t thread;
	void (*work)(void *arg);
	void *arg;
};

static void *member_main(void *p)
{
	struct member *m = p;
	m->work(m->arg);
	return NULL;
}

int writer_crew_run(struct writer_crew *c, unsigned int jobs, void (*work)(void *arg), void *arg, struct err *err)
{
	struct member crew[CREW_MAX];
	unsigned int started = 0;

	if (jobs > CREW_MAX)
		jobs = CREW_MAX;
	/* Fewer threads than asked for is slower, not wrong. */
	for (; started + 1 < jobs; started++) {
		crew[started] = (struct member){ .work = work, .arg = arg };
		if (pthread_create(&crew[started].thread, NULL, member_main, &crew[started]) != 0)
			break;
	}
	work(arg);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(crew[i].thread, NULL);
	pthread_mutex_destroy(&c->lock);
	if (!c->failed)
		return 0;
	if (err)
		*err = c->err;
	return -1;
}
