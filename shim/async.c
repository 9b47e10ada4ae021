#include "async.h"

#include <errno.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "copies.h"
#include "guard.h"
#include "memfd.h"
#include "reads.h"
#include "real.h"
#include "sys.h"
#include "views.h"

/* ---- POSIX aio ---- */

#define PRIORITY_MAX 20 /* libc's AIO_PRIO_DELTA_MAX */

struct told {
	void (*call)(union sigval);
	union sigval value;
};

static void *tell_thread(void *arg)
{
	struct told t = *(struct told *)arg;
	sigset_t none;
	free(arg);
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	t.call(t.value);
	return NULL;
}

/* As libc: the thread is detached unless the caller's attributes say otherwise, and may take signals. */
static int tell_by_thread(const struct sigevent *e)
{
	pthread_attr_t own, *attr = e->sigev_notify_attributes;
	struct told *t = malloc(sizeof *t);
	pthread_t thread;
	if (!t)
		return -1;
	*t = (struct told){ e->sigev_notify_function, e->sigev_value };
	if (!attr) {
		pthread_attr_init(&own);
		pthread_attr_setdetachstate(&own, PTHREAD_CREATE_DETACHED);
		attr = &own;
	}
	int r = pthread_create(&thread, attr, tell_thread, t);
	if (attr == &own)
		pthread_attr_destroy(&own);
	if (r == 0)
		return 0;
	free(t);
	errno = EAGAIN;
	return -1;
}

static int tell(const struct sigevent *e)
{
	if (e->sigev_notify == SIGEV_THREAD)
		return tell_by_thread(e);
	if (e->sigev_notify != SIGEV_SIGNAL)
		return 0;
	siginfo_t info;
	memset(&info, 0, sizeof info);
	info.si_signo = e->sigev_signo;
	info.si_code = SI_ASYNCIO;
	info.si_pid = (pid_t)sys0(SYS_getpid);
	info.si_uid = (uid_t)sys0(SYS_getuid);
	info.si_value = e->sigev_value;
	return (int)real_answer(sys3(SYS_rt_sigqueueinfo, info.si_pid, e->sigev_signo, &info));
}

int async_read(struct aiocb *cb)
{
	struct view *v = NULL;
	int saved = errno;
	if (cb->aio_reqprio < 0 || cb->aio_reqprio > PRIORITY_MAX || views_plain(cb->aio_fildes)) /* the first two: libc says what is wrong */
		return 0;
	int r = views_get(cb->aio_fildes, &v);
	if (r == 0 && !v)
		return 0;
	ssize_t n = -1;
	if (v && cb->aio_offset < 0)
		errno = EINVAL;
	else if (v)
		n = reads_at(v, cb->aio_fildes, (void *)(uintptr_t)cb->aio_buf, cb->aio_nbytes, (uint64_t)cb->aio_offset);
	cb->__error_code = n < 0 ? errno : 0;
	cb->__return_value = n;
	if (v)
		views_put(v);
	errno = saved;
	return tell(&cb->aio_sigevent) < 0 ? -1 : 1;
}

int async_list(int mode, struct aiocb *const list[], int count, struct sigevent *done)
{
	bool failed = false;
	int rest_count = 0;
	if ((mode != LIO_WAIT && mode != LIO_NOWAIT) || count <= 0)
		return real.lio_listio(mode, list, count, done);
	struct aiocb **rest = calloc((size_t)count, sizeof *rest);
	if (!rest) {
		errno = EAGAIN;
		return -1;
	}
	for (int i = 0; i < count; i++) {
		if (!list[i])
			continue;
		int r = list[i]->aio_lio_opcode == LIO_READ ? async_read(list[i]) : 0;
		if (r == 0)
			rest[rest_count++] = list[i];
		else
			failed |= r < 0 || list[i]->__error_code != 0;
	}
	int r = real.lio_listio(mode, rest, rest_count, done); /* also where nothing is left: it tells that all is done */
	free(rest);
	if (r == 0 && failed && mode == LIO_WAIT) {
		errno = EIO;
		r = -1;
	}
	return r;
}

/* ---- the kernel's ---- */

#define BATCH 64

/* What was changed in the caller's block for the time of the call: the kernel says "that block" by its address. */
struct lent {
	struct iocb *block;
	int fd; /* memfd */
	uint32_t fildes;
	int64_t offset;
};

static bool reads(const struct iocb *b)
{
	return b->aio_lio_opcode == IOCB_CMD_PREAD || b->aio_lio_opcode == IOCB_CMD_PREADV;
}

static size_t length(const struct iocb *b)
{
	size_t total = 0;
	if (b->aio_lio_opcode == IOCB_CMD_PREAD)
		return b->aio_nbytes;
	const struct iovec *iov = (const struct iovec *)(uintptr_t)b->aio_buf; /* NOLINT(performance-no-int-to-ptr) */
	if (b->aio_nbytes > IOV_MAX || !sys_readable(iov, b->aio_nbytes * sizeof *iov))
		return 0; /* the kernel will say so */
	for (size_t i = 0; i < b->aio_nbytes; i++)
		if (__builtin_add_overflow(total, iov[i].iov_len, &total))
			return 0;
	return total;
}

/* A memfd of the shim's own with up to len bytes of the view from `at` on. -1: errno. */
static int filled_memfd(struct view *v, int fd, off_t at, size_t len)
{
	struct rlimit limit;
	uint64_t size = file_size(v->file), rest = (uint64_t)at < size ? size - (uint64_t)at : 0;
	off_t to = 0;
	len = len < rest ? len : (size_t)rest;
	len = len < READS_MAX ? len : READS_MAX;
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < len) { /* else writing it raises SIGXFSZ in the host */
		errno = EFBIG;
		return -1;
	}
	long out = memfd_new("ctshim-aio");
	if (out >= 0)
		out = guard_add((int)out);
	if (out < 0)
		return (int)real_answer(out);
	if (copies_view(v, fd, &at, (int)out, &to, len) >= 0)
		return (int)out;
	int why = errno;
	guard_close((int)out);
	errno = why;
	return -1;
}

/* 1 and *l: the block asks for a memfd with the view's plaintext now; 0: leave it; -1: errno. */
static int lend(struct iocb *b, struct lent *l)
{
	struct view *v;
	if (!sys_readable(b, sizeof *b) || !reads(b) || views_plain((int)b->aio_fildes))
		return 0;
	if (views_get((int)b->aio_fildes, &v) < 0)
		return -1;
	if (!v || b->aio_offset < 0) {
		if (v)
			views_put(v);
		return 0;
	}
	*l = (struct lent){ b, filled_memfd(v, (int)b->aio_fildes, b->aio_offset, length(b)), b->aio_fildes, b->aio_offset };
	views_put(v);
	if (l->fd < 0)
		return -1;
	b->aio_fildes = (uint32_t)l->fd;
	b->aio_offset = 0;
	return 1;
}

static void take_back(const struct lent *l)
{
	l->block->aio_fildes = l->fildes;
	l->block->aio_offset = l->offset;
	guard_close(l->fd); /* the kernel has its own reference */
}

/* At most BATCH blocks. */
static long submit(unsigned long context, long count, void *const *blocks)
{
	struct lent lent[BATCH];
	int lents = 0, why = 0;
	long i = 0, r = 0;
	for (; i < count && why == 0; i++) {
		int got = lend(blocks[i], &lent[lents]);
		if (got > 0)
			lents++;
		else if (got < 0)
			why = errno;
	}
	if (why) /* up to that one */
		i--;
	if (i > 0)
		r = sys3(SYS_io_submit, context, i, blocks);
	while (lents > 0)
		take_back(&lent[--lents]);
	return why && i == 0 ? -why : r;
}

long async_submit(unsigned long context, long count, void *const *blocks)
{
	long done = 0, r = 0;
	int saved = errno;
	if (count <= 0 || (size_t)count > SIZE_MAX / sizeof *blocks || !sys_readable(blocks, (size_t)count * sizeof *blocks))
		return real_answer(sys3(SYS_io_submit, context, count, blocks)); /* as the kernel decides it */
	while (done < count) {
		long batch = count - done < BATCH ? count - done : BATCH;
		r = submit(context, batch, blocks + done);
		done += r > 0 ? r : 0;
		if (r < batch)
			break;
	}
	errno = saved;
	return done > 0 ? done : real_answer(r);
}
