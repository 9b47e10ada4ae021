/*
 * convert: what ct encrypt and ct decrypt share: one file to one file, or a folder with everything in it.
 *
 * A folder keeps its shape: models (found by content, and by the suffix .safetensors) go through the command's own function, all
 * else is copied byte for byte with mode and time. Symbolic links that are relative and stay inside are kept as links,
 * others are followed.
 */
#ifndef CT_CONVERT_H
#define CT_CONVERT_H

#include <stdbool.h>

#include "err.h"
#include "out.h"
#include "writer.h"

struct convert {
	/*
	 * Writes the model `in` (named path, for messages) into the open output; returns 0, or -1 with *err. `self` is this struct.
	 */
	int (*model)(const struct convert *self, const char *path, struct out *out, struct writer_progress *pr, struct err *err);
	bool encrypting; /* else decrypting: plain models of a folder are copied */
	bool force;
	void *arg; /* the command's own */
};

/* in to out, file or folder. Returns an exit status; errors were said. */
int convert_run(const struct convert *c, const char *in, const char *out);

#endif
