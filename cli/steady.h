/*
 * steady: whether a file stays as it is while it is read.
 *
 * By number, size and times of its inode, before and after. Two changes within one tick of a file system's clock leave the same time, so
 * steady_begin() waits until a change to come would show; and it has dirty pages written first, since a store through a mapping sets the
 * time only where it makes a clean page dirty. Not seen: stores to pages of a tmpfs that such a mapping has made dirty before.
 */
#ifndef CT_STEADY_H
#define CT_STEADY_H

#include <sys/stat.h>

#include "err.h"

/* Stores what is to stay. -1: it cannot be opened, or it is being written now (EBUSY). */
int steady_begin(const char *path, struct stat *st, struct err *err);

/* -1 with EBUSY: it was changed since, or another file has its name. */
int steady_end(const char *path, const struct stat *st, struct err *err);

#endif
