/*
 * content: what a descriptor's file is, by its bytes alone.
 *
 * Costs one pread for files that are none of ours. Takes little stack (threads with 16 KiB of it open files too). O_DIRECT descriptors are
 * read as well.
 */
#ifndef SHIM_CONTENT_H
#define SHIM_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "err.h"

enum content_kind {
	CONTENT_PLAIN,  /* not encrypted, whatever else is written behind what is there */
	CONTENT_UNSURE, /* too short to tell: somebody may still be writing it */
	CONTENT_HEADER, /* raw holds 8 + N bytes that could be a model's header */
};

struct content {
	enum content_kind kind;
	uint8_t *raw; /* malloc'ed; NULL but for CONTENT_HEADER */
	size_t len;
	bool smells;  /* of encryption: see header_smells() */
};

/* -1 with *err: it cannot be read. */
int content_look(int fd, const struct stat *id, struct content *c, struct err *err);
void content_release(struct content *c);

/* For messages, escaped: the path, or where the descriptor leads (path NULL or empty). */
void content_name(char *dst, size_t cap, int fd, const char *path);

#endif
