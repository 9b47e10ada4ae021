/*
 * copies: the kernel's own ways to move a file's bytes (sendfile, copy_file_range, splice, FICLONE), with a view as the source.
 *
 * They would move ciphertext, so plaintext is read here and written to where it should go. Short counts are allowed to all of them. Cloning
 * a view is refused (EOPNOTSUPP, as many file systems do); every known caller then copies.
 */
#ifndef SHIM_COPIES_H
#define SHIM_COPIES_H

#include <sys/types.h>

#include "views.h"

ssize_t copies_sendfile(int out, int in, off_t *at, size_t len);
ssize_t copies_copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t len, unsigned int flags);
/* Up to len bytes from byte *at of a view to byte *out_at of a file; both go on. As the calls above. */
ssize_t copies_view(struct view *v, int fd, off_t *at, int out, off_t *out_at, size_t len);
ssize_t copies_splice(int in, off_t *in_at, int out, off_t *out_at, size_t len, unsigned int flags);
int copies_ioctl(int fd, unsigned long request, void *arg);

#endif
