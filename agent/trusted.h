/*
 * trusted: files that decide what ct-agent does: the configuration, what it names.
 *
 * Such a file is a regular one, belongs to the agent's user or root, and has none of the mode bits in `forbidden`: 022, others may not write
 * it; 077, nor read it. Anything else is ERR_REJECTED, with the remedy; ERR_SYSTEM: it cannot be opened.
 */
#ifndef CT_AGENT_TRUSTED_H
#define CT_AGENT_TRUSTED_H

#include <sys/types.h>

#include "err.h"
#include "secret.h"

int trusted_fd(int fd, const char *path, mode_t forbidden, struct err *err);
int trusted_check(const char *path, mode_t forbidden, struct err *err);

/* All of the file, of at most max bytes (more: ERR_FORMAT). NULL with *err. The caller frees. */
struct secret *trusted_read(const char *path, mode_t forbidden, size_t max, struct err *err);

#endif
