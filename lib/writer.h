/*
 * writer: encrypts and decrypts whole files, streaming: memory depends on neither the file's nor a tensor's size.
 *
 * Input and output are open descriptors of regular files, used by pread and pwrite; the caller does names, temporary files, fsync and
 * rename. `jobs` threads share the chunks. A cancel flag is looked at between pieces.
 */
#ifndef CT_WRITER_H
#define CT_WRITER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "aead.h"
#include "err.h"
#include "jwk.h"

struct writer_params {
	enum aead_alg alg;
	int version;         /* 2, or 1: not chunked */
	uint64_t chunk_size; /* bytes, v2 */
	const struct jwk *kek, *signer; /* signer with d */
	struct str local, remote;       /* policies */
	unsigned int jobs;              /* >= 1 */
};

/* Progress of one call, readable by another thread. */
struct writer_progress {
	_Atomic uint64_t done, total; /* bytes of tensor data */
	_Atomic bool cancel;          /* set by the owner: the call returns -1 with EINTR */
};

/*
 * Reads a plain .safetensors file of `size` bytes from `in` and writes the encrypted one to `out`. Refuses (ERR_FORMAT) malformed or already
 * encrypted input and user metadata under a crypto key's name.
 */
int writer_encrypt(int in, uint64_t size, int out, const struct writer_params *p, struct writer_progress *pr, struct err *err);

struct file;

/* Writes the whole view of f, whose ciphertext is `in`, to `out` (-1: only check every chunk). ERR_DAMAGED names tensor and chunk. */
int writer_decrypt(struct file *f, int in, int out, unsigned int jobs, struct writer_progress *pr, struct err *err);

#endif
