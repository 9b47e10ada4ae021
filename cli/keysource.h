/*
 * keysource: where ct takes key sets from. Whatever names a key file may name another source:
 *
 *     PATH             a file, mode 0600
 *     cred:NAME        the file NAME in $CREDENTIALS_DIRECTORY (systemd)
 *     exec:CMD ARGS    what a program prints: CMD is an absolute path, ARGS stand between blanks, no shell
 *
 * In each a JWK set, or one under a passphrase (JWE), which is then asked for (askpass.h). A file whose name looks like a source: ./exec:…
 */
#ifndef CT_KEYSOURCE_H
#define CT_KEYSOURCE_H

#include <limits.h>

#include "err.h"
#include "jwk.h"

#define KEYSOURCE_EXEC_MS 10000 /* until the program must have ended */
#define KEYSOURCE_ARGS_MAX 64u

/*
 * On failure *set is empty. Errors: jwk.h's and capture.h's; a wrong passphrase is ERR_REJECTED. Messages may begin with the source's name, as
 * cli_failed() takes it.
 */
int keysource_read(struct jwk_set *set, const char *source, struct err *err);

/*
 * What is there, whatever it is, without its passphrase. *mode: what of its permissions is to be judged (jwk_file_parse()); 0 for what was under one. NULL:
 * errors as above; the caller frees.
 */
struct secret *keysource_text(const char *source, mode_t *mode, struct err *err);

/* The file that a source reads, in buf or source itself; NULL: none, or that cannot be said. */
const char *keysource_path(const char *source, char buf[PATH_MAX]);

#endif
