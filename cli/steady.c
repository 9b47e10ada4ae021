#include "steady.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define SECOND INT64_C(1000000000)
#define TICK (SECOND / 50) /* longer than any kernel's: HZ is 100 at least */
#define COARSE (2 * SECOND) /* file systems that keep whole seconds, or even ones only */

static int64_t ns(struct timespec t)
{
	return t.tv_sec * SECOND + t.tv_nsec;
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && ns(a->st_mtim) == ns(b->st_mtim) &&
	       ns(a->st_ctim) == ns(b->st_ctim);
}

static int changed(struct err *err)
{
	return cli_err(err, EBUSY, "was changed while it was read: try again when nobody writes it");
}

int steady_begin(const char *path, struct stat *st, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), ret = -1;
	struct timespec now;
	struct stat later;

	if (fd < 0)
		return err_sys(err, errno, "cannot be opened");
	if (fdatasync(fd) < 0 && errno == EIO) {
		err_sys(err, errno, "what was written to it cannot be brought to disk");
		goto out;
	}
	if (fstat(fd, st) < 0) {
		err_sys(err, errno, "cannot be looked at");
		goto out;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	int64_t age = ns(now) - ns(st->st_ctim), tick = st->st_ctim.tv_nsec == 0 ? COARSE : TICK;
	if (age > -tick && age < tick) {
		struct timespec rest = { (tick - age) / SECOND, (tick - age) % SECOND };
		clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, NULL);
		if (fstat(fd, &later) < 0 || !same(st, &later)) {
			changed(err);
			goto out;
		}
	}
	ret = 0;
out:
	close(fd);
	return ret;
}

int steady_end(const char *path, const struct stat *st, struct err *err)
{
	struct stat now;

	return stat(path, &now) == 0 && same(st, &now) ? 0 : changed(err);
}
