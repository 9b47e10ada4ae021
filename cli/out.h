/*
 * out: output files that appear whole or not at all.
 *
 * The bytes go to a temporary file in the same folder (.NAME.ct-tmp-XXXXXX); out_commit() brings it to disk and renames it. Until
 * then out_abort(), or any signal that ends the process but SIGKILL, removes it. One thread opens and ends them; at most
 * OUT_MAX at once.
 *
 * Who writes a temporary file holds flock(LOCK_EX) on it until it has its final name. So one whose lock can be taken was left by a
 * run that was killed, and the next run that writes into its folder removes it. Where the file system has no such locks it stays.
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
 * 1: path is a regular file, 0: nothing is there. -1: no output can be there: it is input (what is read; may be NULL), or a file that
 * out_keep() was told of, or no regular file; or its name is one of temporary files.
 */
int out_check(const char *path, const struct stat *input, struct err *err);

/* Removes what killed runs of this user left in a folder, and says so. out_open() does it for the folder of its file. */
void out_sweep(const char *folder);

/* Whether a file's name is that of a temporary one: an output so named would not stay. */
bool out_is_temporary(const char *name);

/*
 * mode: the file's permissions (the umask is not applied). force: an existing regular file is replaced; without it that is
 * EEXIST. input: as in out_check().
 */
int out_open(struct out *o, const char *path, mode_t mode, bool force, const struct stat *input, struct err *err);

/* Brings it to disk, which may take long: for who has something to look at before out_commit(). */
int out_sync(struct out *o, struct err *err);

/* out_sync() and rename. On failure the temporary file is gone. */
int out_commit(struct out *o, struct err *err);
void out_abort(struct out *o);

#endif
