/*
 * model: a .safetensors file opened for a subcommand: what it is, and with keys or through the agent its plaintext.
 */
#ifndef CT_MODEL_H
#define CT_MODEL_H

#include <stdbool.h>
#include <sys/stat.h>

#include "file.h"
#include "jwk.h"

struct model {
	int fd;
	struct stat st;
	uint8_t *raw; /* 8 + N header bytes */
	size_t raw_len;
	bool encrypted;
	struct header plain; /* of a file that is not encrypted */
	struct file *file;   /* of one that is: parsed, no keys yet */
};

/* Opens and parses. -1: not there, not a regular file, malformed (nothing is left to close). */
int model_open(struct model *m, const char *path, struct err *err);

/*
 * Gets the data keys: from the set, after signature and policy were checked here, or from the agent where set is NULL.
 * ERR_PLAIN for a file that is not encrypted.
 */
int model_unlock(struct model *m, const struct jwk_set *set, struct err *err);

/*
 * Without data keys: the set's verification key made the signature, and signed digests vouch for every tensor. -1: ERR_NOKEY, ERR_FORMAT.
 */
int model_vouched(struct model *m, const struct jwk_set *set, struct err *err);

void model_close(struct model *m);

/* What a file's content says: used where the name does not tell. */
enum model_kind {
	MODEL_NONE,   /* does not begin as a model does */
	MODEL_BROKEN, /* begins as one, but does not parse: it may hold weights all the same */
	MODEL_PLAIN,
	MODEL_ENCRYPTED, /* or has crypto keys that do not parse */
};

/* -1: it cannot be read, or there is no memory for its header. 0: *kind; for MODEL_BROKEN *err (not NULL) says why. */
int model_kind(const char *path, enum model_kind *kind, struct err *err);

#endif
