/*
 * writer: encrypts, decrypts and verifies whole files, streaming: memory depends on neither the file's nor a tensor's size.
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
	bool (*wanted)(void *arg, struct str name); /* which tensors are encrypted; NULL: all */
	void *wanted_arg;
	bool digests;                   /* of the encrypted tensors, too; plain ones beside encrypted ones always have them */
	uint64_t reserve;               /* bytes for a longer header later (emit.h) */
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

/* Writes the whole view of f, whose ciphertext is `in`, to `out`. ERR_DAMAGED names tensor and chunk. */
int writer_decrypt(struct file *f, int in, int out, unsigned int jobs, struct writer_progress *pr, struct err *err);

/* Damaged chunks that follow one another in a tensor. */
struct writer_fault {
	const struct header_tensor *tensor; /* the file's */
	uint64_t first, last;               /* numbers of chunks */
	uint64_t begin, end;                /* bytes of the file */
};

struct writer_faults {
	struct writer_fault *list; /* by begin */
	size_t count, cap;
	uint64_t chunks; /* how many are damaged, in all */
};

/*
 * Checks every chunk of f. keys: tags and digests; else f has no keys yet, and digests alone are looked at. 0: *faults says what is damaged (nothing: all
 * that was checked is right); the caller releases. -1: it could not be read, or was cut short; nothing to release.
 */
int writer_verify(struct file *f, int in, bool keys, unsigned int jobs, struct writer_progress *pr, struct writer_faults *faults,
                  struct err *err);
void writer_faults_release(struct writer_faults *faults);

#endif
