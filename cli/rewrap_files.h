/*
 * rewrap_files: new keys, signature, policy or licence for encrypted files, of whose data no byte is touched: in place, or into copies. What ct rewrap and
 * ct licence issue do with their files.
 */
#ifndef CT_REWRAP_FILES_H
#define CT_REWRAP_FILES_H

#include <stdbool.h>

#include "jwk.h"
#include "writer.h"

struct rewrap_job {
	const char *output; /* folder for copies; NULL: in place */
	bool force, dry;
	const struct jwk_set *old, *new; /* new: the two keys that files get, and no others of that set */
	struct writer_rewrap p;
};

/* Does and says it, file for file; a folder stands for all .safetensors files in it. CLI_OK, or CLI_FAILED if any failed. */
int rewrap_files(const struct rewrap_job *job, char **files, int count);

#endif
