/*
 * streams: FILE * on a view.
 *
 * glibc's stdio makes its own system calls, past every hook; so a stream on a view is a cookie stream whose callbacks read as the
 * hooks do. Its _fileno is the real descriptor: fileno() and C++'s ifstream (which reads by descriptor) work.
 */
#ifndef SHIM_STREAMS_H
#define SHIM_STREAMS_H

#include <stdio.h>

/* fp was just opened by `path` (NULL: by fdopen). Returns fp, or the stream that takes its place, or NULL with errno (fp is closed then). */
FILE *streams_opened(FILE *fp, const char *path, const char *mode);

/* A stream on fd if it is a view, else NULL with errno 0; NULL with errno set: it can't be opened. */
FILE *streams_fdopen(int fd, const char *mode);

/*
 * Descriptor 0 is (or may be) a view: by a shell's redirection, by dup2() or by close() and open(). stdin then becomes a stream that can
 * read it. What the old stdin had buffered is left to it.
 */
void streams_stdin(void);

#endif
