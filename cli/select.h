/*
 * select: which tensors `ct encrypt --tensors GLOB` means.
 *
 * A tensor is selected if a GLOB matches its whole name and no !GLOB does; with !GLOBs alone, if none of those does. Shell patterns (fnmatch):
 * * ? […], where * also matches '.' and '/'; byte by byte. First every model of the run is surveyed, so that a GLOB that matches nothing anywhere
 * is found before anything is written.
 */
#ifndef CT_SELECT_H
#define CT_SELECT_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"
#include "header.h"

#define SELECT_MAX 256u  /* GLOBs */
#define SELECT_NEAR 3u   /* names shown in place of one that is not there */
#define SELECT_NAME 128u /* bytes of such a name */

struct select_near {
	char name[SELECT_NAME];
	size_t len;
	unsigned int distance;
};

struct select_glob {
	const char *pattern; /* the caller's */
	bool exclude;
	bool hit; /* matches a tensor of some model that was surveyed */
	struct select_near near[SELECT_NEAR]; /* the nearest names so far, while there is no hit */
	size_t near_count;
};

struct select {
	struct select_glob *globs;
	size_t count;
	bool include;    /* some GLOB selects */
	size_t selected; /* tensors, in all models that were surveyed */
};

/* "GLOB" or "!GLOB". -1: empty, too many (EINVAL), no memory. */
int select_add(struct select *s, const char *glob, struct err *err);
void select_release(struct select *s);

bool select_wanted(void *select, struct str name); /* for writer_params */

/* Looks at the names of one model. -1 (EINVAL): a name that no pattern can be matched with (it holds a NUL). */
int select_survey(struct select *s, const struct header *h, struct err *err);

/* After the last one: -1 (ENOENT) with near names if some GLOB matched nothing, or nothing is left to encrypt. */
int select_check(const struct select *s, struct err *err);

#endif
