/*
 * convert: what ct encrypt and ct decrypt share: one file to one file, or a folder with everything in it.
 *
 * A folder keeps its shape: models (found by content, and by the suffix .safetensors) go through the command's own function, all
 * else is copied byte for byte with mode (without set-uid, set-gid and sticky bits) and time. What begins as a model and does not
 * parse ends an encrypting run: it is never copied in the clear. A relative link whose way stays inside the folder all along
 * is kept as a link, others are followed. Folders that were there before keep their mode and time, and none is entered through a link.
 *
 * A folder is walked twice: what cannot be done is found before anything is written, as far as names and sizes tell. A folder that is
 * there already is one that an earlier run did not finish: outputs in it that are what this run would write stay untouched, any other
 * ends the run (EEXIST).
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
	/*
	 * Whether `out`, a file of the folder, is what model() would make of `in`: as in same.h. NULL: no output that is there is taken for it.
	 */
	int (*same)(const struct convert *self, const char *in, const char *out, struct writer_progress *pr, struct err *err);
	/* Sees every model of the run before anything is written; -1 with *err, about the model, ends the run. NULL: nothing to see. */
	int (*survey)(const struct convert *self, const char *path, struct err *err);
	int (*surveyed)(const struct convert *self, struct err *err); /* after the last one: -1 ends the run. NULL: fine */
	bool encrypting; /* else decrypting: plain models of a folder are copied */
	bool force;      /* outputs that exist are replaced, complete or not */
	void *arg; /* the command's own */
};

/* in to out, file or folder. Returns an exit status; errors were said. */
int convert_run(const struct convert *c, const char *in, const char *out);

#endif
