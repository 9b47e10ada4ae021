/*
 * writer: encrypts, decrypts, verifies and re-keys whole files, streaming: memory depends on neither the file's nor a tensor's size.
 *
 * Input and output are open descriptors of regular files, used by pread and pwrite; the caller does names, temporary files, fsync and
 * rename. `jobs` threads share the chunks. A cancel flag is looked at between pieces.
 */
#ifndef CT_WRITER_H
#define CT_WRITER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "aead.h"
#include "buf.h"
#include "err.h"
#include "crypto_info.h"
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
 * that was checked is right); the caller releases. What was cut off meanwhile is damage. -1: it could not be read; nothing to release.
 */
int writer_verify(struct file *f, int in, bool keys, unsigned int jobs, struct writer_progress *pr, struct writer_faults *faults,
                  struct err *err);
void writer_faults_release(struct writer_faults *faults);

/* New keys and policy for an encrypted file whose data stays as it is. */
struct writer_rewrap {
	const struct jwk *kek, *signer; /* the new ones: kek of the file's algorithm, signer with d */
	const struct str *local;        /* the new policy; NULL: the old one stays */
	const struct str *licence;      /* the new __licence__; NULL: the old one, if any, stays */
	uint64_t reserve;               /* for a header that does not fit where the old one was (emit.h) */
};

struct writer_rewrapped {
	struct buf text; /* the new header */
	uint64_t old_n, n, data_len; /* bytes; n == old_n: the data stays at its place */
};

/*
 * Makes the header: data keys (in the order of c->entries, out of unlock_keys()) wrapped anew, new signature; tensors, tags, version, chunk size and all
 * other metadata stay. The caller releases r->text; on failure (ERR_FORMAT: it would be too long, ENOMEM) nothing is left.
 */
int writer_rewrap_header(const struct header *h, const struct crypto_info *c, const struct secret *deks, const struct writer_rewrap *p,
                         struct writer_rewrapped *r, struct err *err);

/*
 * Fills the new file `out` (empty) from `in`: cloned where the file system can (FICLONE; *cloned says so), else the data is copied. pr must not be
 * NULL.
 */
int writer_rewrap(struct writer_rewrapped *r, int in, int out, bool *cloned, struct writer_progress *pr, struct err *err);

#endif
