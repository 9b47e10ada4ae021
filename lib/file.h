/*
 * file: an opened encrypted model: "plaintext of [a, b)".
 *
 * The view (docs/FORMAT.md): same size as the file; [0, 8 + N) is the rebuilt header, the rest the plaintext at the same offsets.
 * A byte is right or an error: nothing counts as read before its chunk's tag was checked.
 *
 * Lifetime: file_open() … file_free(). Any number of threads may read at once. Signal safety: locks are held for a few
 * instructions, with signals blocked, and never while the caller's memory is touched; memory comes from mmap and from OpenSSL's
 * allocator, never from malloc: so file_read() may be called where read() may, if OpenSSL's allocator is signal safe (shim/heap.h).
 */
#ifndef CT_FILE_H
#define CT_FILE_H

#include <sys/types.h>

#include "crypto_info.h"
#include "digests.h"
#include "secret.h"

struct file; /* opaque */

/* What a chunk range is, for messages and damaged pages. Offsets are the file's. */
struct file_extent {
	uint64_t begin, end;
	const struct header_tensor *tensor; /* NULL in the header */
	uint64_t tensor_end;                /* its end, or the header's */
	bool bare;                          /* nothing vouches for it: plain, without digests */
	uint64_t chunk;                     /* number within the tensor; 0 for the header and for plain tensors without digests */
};

/*
 * raw[0 .. len) = 8 + N header bytes, size = the file's size in bytes. keys: the data keys in the order of crypto_info.entries;
 * ownership passes on success. NULL: ERR_FORMAT or ENOMEM. raw is not kept.
 */
struct file *file_open(const uint8_t *raw, size_t len, uint64_t size, struct secret *keys, struct err *err);
void file_free(struct file *f); /* wipes keys and cached plaintext; NULL is allowed */

/*
 * The same in two steps, for who asks the agent between them: parse first (no keys yet: only file_header(), file_crypto(),
 * file_digests(), file_size(), file_extent() and file_check() may be called), then hand over the keys. file_set_keys() takes ownership on success; -1: wrong length.
 */
struct file *file_parse(const uint8_t *raw, size_t len, uint64_t size, struct err *err);
int file_set_keys(struct file *f, struct secret *keys, struct err *err);

/*
 * Wipes the keys and all cached plaintext, by munmap alone (signal safe); only file_stats() and file_free() may follow. No reader may be
 * under way.
 */
void file_forget(struct file *f);

const struct header *file_header(const struct file *f);
const struct crypto_info *file_crypto(const struct file *f);
const struct digests *file_digests(const struct file *f);
uint64_t file_size(const struct file *f);

/*
 * Reads plaintext [at, at + len) into buf; ciphertext comes from fd by pread at the same offsets. Returns the bytes that are right,
 * which is less than len only at the end of the file, before a damaged chunk, or where buf cannot be written. 0: end of file
 * (or len 0). -1 with *err: ERR_DAMAGED (the byte at `at` cannot be read), ERR_SYSTEM (EFAULT, EIO …). buf beyond the returned
 * bytes holds no plaintext that was not verified.
 */
ssize_t file_read(struct file *f, int fd, uint64_t at, void *buf, size_t len, struct err *err);

/*
 * Checks the whole chunk that holds byte `at` (of a tensor): tag, if the keys are there, and digest, if it has one; nothing where it has neither.
 * scratch: FILE_SCRATCH bytes, wiped or overwritten before they are freed. 0, or -1 as file_read().
 */
#define FILE_SCRATCH 262144u
int file_check(struct file *f, int fd, uint64_t at, void *scratch, struct err *err);

/* Chunks of which a part was read are kept for the next part. At most `bytes` of them from now on, until more are read. */
void file_trim(struct file *f, size_t bytes);

/* The chunk (or header, or plain tensor) that holds byte `at` < file_size(). */
void file_extent(const struct file *f, uint64_t at, struct file_extent *e);

uint64_t file_tensor_at(const struct file *f, size_t tensor); /* its first byte's offset; in the order of file_header()'s tensors */

/*
 * The bytes around `at` < file_size() that are best read at once, since one of them costs as much: a chunk, or a piece of one that is too big
 * to keep. The header and plain tensors without digests can be read from any byte; their units are pieces of 256 KiB. At most FILE_UNIT_MAX bytes.
 */
#define FILE_UNIT_MAX (4u << 20)
void file_unit(const struct file *f, uint64_t at, uint64_t *begin, uint64_t *end);

/*
 * Counters since the open; for CTSHIM_STATS.
 */
struct file_stats {
	uint64_t bytes_decrypted, chunks_decrypted;
	uint64_t ns_decrypting;
};
void file_stats(const struct file *f, struct file_stats *s);

/* In a fork child: makes the locks new (lock.h). */
void file_fork_child(struct file *f);

#endif
