/*
 * async: reads of a view that are handed to somebody else to be done later: POSIX aio (libc's threads) and the kernel's own (io_submit).
 *
 * Both would read ciphertext, so the plaintext is read before the call returns, which is a completion as good as any other: of aio in the
 * control block itself, where libc keeps it; for io_submit() the kernel is given a memfd that holds it, and so reports as it always does.
 *
 * Not for signal handlers, as the calls themselves are not. errno is kept on success.
 */
#ifndef SHIM_ASYNC_H
#define SHIM_ASYNC_H

#include <aio.h>
#include <stdbool.h>

/* 1: done (or failed: the block says so), told as its sigevent asks; 0: not a view, the real function's business. */
int async_read(struct aiocb *cb);

/* lio_listio(): the reads of views among them are done here, the real function gets the rest. */
int async_list(int mode, struct aiocb *const list[], int count, struct sigevent *done);

/* The system call: as many as were accepted, or -1 and errno. What could not be read at all ends the list with its error (EIO, ENOKEY …). */
long async_submit(unsigned long context, long count, void *const *blocks);

#endif
