/* POSIX aio: libc's threads read past every hook (async.h). Writes are the kernel's business. */
#include <aio.h>
#include <errno.h>

#include "async.h"
#include "config.h"
#include "hooks.h"
#include "real.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

/* Where libc has no aio of its own (before 2.34) and the program has not loaded librt, nobody can call these. */
static bool there(const void *function)
{
	if (!function)
		errno = ENOSYS;
	return function;
}

HOOK int aio_read(struct aiocb *cb)
{
	if (!real_ready && !real.aio_read)
		real_resolve();
	int r = real_ready && !config.off ? async_read(cb) : 0;
	if (r != 0)
		return r < 0 ? -1 : 0;
	return there(real.aio_read) ? real.aio_read(cb) : -1;
}

HOOK int lio_listio(int mode, struct aiocb *const list[], int count, struct sigevent *done)
{
	if (!real_ready && !real.lio_listio)
		real_resolve();
	if (!there(real.lio_listio))
		return -1;
	return real_ready && !config.off ? async_list(mode, list, count, done) : real.lio_listio(mode, list, count, done);
}

/* The same blocks where off_t has 64 bits, under another name. */
HOOK int aio_read64(struct aiocb64 *cb)
{
	return aio_read((struct aiocb *)cb);
}

HOOK int lio_listio64(int mode, struct aiocb64 *const list[], int count, struct sigevent *done)
{
	return lio_listio(mode, (struct aiocb *const *)list, count, done);
}
