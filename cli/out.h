/*
 * out: output files that appear whole or not at all.
 *
 * The bytes go to a temporary file in the same folder (.NAME.ct-XXXXXX); out_commit() brings it to disk and renames it. Until
 * then out_abort(), or any signal that ends the process but SIGKILL, removes it. One thread opens and ends them; at most
 * OUT_MAX at once.
 */
#ifndef CT_OUT_H
#define CT_OUT_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "err.h"

#define OUT_MAX 4
#define OUT_KEEP_MAX 4

struct out {
	int fd; /* read and write */
	int slot;
	bool force;
	const char *path; /* the caller's; must outlive the struct */
};

/* From now on out_open() refuses to replace this file (EINVAL), by whatever name. At most OUT_KEEP_MAX. */
void out_keep(const struct stat *st);
void out_keep_path(const char *path); /* the same for the file there, if any; NULL is allowed */

/* Whether two paths name one file, or would if it existed. */
bool out_same(const char *a, const char *b);

/*
 * mode: the file's permissions (the umask is not applied). force: an existing regular file is replaced; without it that is
 * EEXIST. input (may be NULL): what is read; OUT must be another file.
 */
int out_open(struct out *o, const char *path, mode_t mode, bool force, const struct stat *input, struct err *err);

/* fsync and rename. On failure the temporary file is gone. */
int out_commit(struct out *o, struct err *err);
void out_abort(struct out *o);

#endif
