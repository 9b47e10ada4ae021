/*
 * askpass: a passphrase from whoever sits there.
 *
 * From the terminal, echo off; or from the program in CT_ASKPASS, which gets the prompt as its argument and prints the passphrase, as with ssh-askpass:
 * where there is no terminal, or always with CT_ASKPASS_REQUIRE=force. One thread at a time.
 */
#ifndef CT_ASKPASS_H
#define CT_ASKPASS_H

#include <stdbool.h>

#include "err.h"
#include "secret.h"

#define ASKPASS_MAX 1024u /* bytes of a passphrase */

/*
 * One line without its end, never empty. twice: asks again and wants the same (for a passphrase that is new). The caller frees. NULL: nobody to ask
 * (ENOKEY), a signal (EINTR; it is raised again when the terminal is as it was), two that differ or none (EINVAL), or what the program did (capture.h).
 */
struct secret *askpass(const char *prompt, bool twice, struct err *err);

/* One line of stdin, for scripts. The same errors. */
struct secret *askpass_stdin(struct err *err);

#endif
