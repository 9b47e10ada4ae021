/*
 * streams: FILE *.
 *
 * glibc's stdio makes its own system calls, past every hook, through tables of functions that its streams share. Where such a table reads,
 * writes and closes a descriptor, these entries are replaced by ours, once, at the start. So every stream reads as the hooks do, wherever it
 * comes from (fopen, freopen, stdin by a redirection, popen, wide ones, the one behind std::cin), is still glibc's own in all else, and what it
 * writes from lazily filled memory is filled first. docs/ARCHITECTURE.md says why it is done so.
 */
#ifndef SHIM_STREAMS_H
#define SHIM_STREAMS_H

#include <stdio.h>

/*
 * From the constructor, after real_resolve(). If the tables of this libc are not what we know, nothing is touched, and streams on encrypted
 * files are refused from then on.
 */
void streams_start(void);

/*
 * What libc is to be given for `mode`: without 'm', which would have the stream map its file past every hook. Uses room (STREAMS_MODE
 * bytes) if it must.
 */
#define STREAMS_MODE 128
const char *streams_mode(char *room, const char *mode);

/* A stream was opened by `path` (NULL: by fdopen, whose descriptor is known already). Returns fp; or NULL with errno, fp is closed then. */
FILE *streams_opened(FILE *fp, const char *path, const char *mode);

#endif
