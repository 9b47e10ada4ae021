/*
 * capture: what a program prints, straight into locked memory: for programs that fetch keys or ask for passphrases.
 *
 * The program runs without a shell, in a session of its own (so without a terminal), with stdin from /dev/null, ct's stderr, no other descriptor,
 * and ct's environment but for LD_*. When capture_run() returns, whatever became of it, its process group is gone, killed where need be; it also
 * ends with ct. Whatever it starts in another session is its own affair.
 */
#ifndef CT_CAPTURE_H
#define CT_CAPTURE_H

#include <stddef.h>

#include "err.h"
#include "secret.h"

/*
 * argv[0] is an absolute path. What it prints fills out[0 .. len), and out->len is set to that. timeout_ms: until it must have ended; 0: no bound.
 * -1: it cannot be run (its errno), printed more than fits (EFBIG), took too long (ETIMEDOUT), or ended otherwise than with status 0 (EIO). The
 * messages begin with a verb: "printed over …".
 */
int capture_run(char *const argv[], struct secret *out, int timeout_ms, struct err *err);

#endif
