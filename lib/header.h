/*
 * header: the layout of a .safetensors file, encrypted or plain, read strictly (facts: docs/FORMAT.md, "Layout").
 *
 * u64 little-endian N, N bytes of JSON, tensor data. Tensors sorted by data_offsets tile [0, data_len) without gaps or overlap;
 * 8 + N + data_len is the file's size.
 *
 * A struct header owns everything it points to until header_release(); it keeps no pointer into the raw bytes. Read-only after
 * header_parse(): then safe for any number of threads.
 */
#ifndef CT_HEADER_H
#define CT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define HEADER_MAX 100000000u /* largest N, bytes */
#define HEADER_PREFIX 8u      /* bytes of N itself */

/* A string with a length; bytes may hold NULs; valid UTF-8. */
struct str {
	const char *p;
	size_t len;
};

struct header_tensor {
	struct str name;
	uint64_t begin, end; /* bytes, relative to the data section */
	const uint64_t *shape;
	uint32_t ndim;
	uint8_t dtype; /* index for header_dtype_name() */
};

struct header_meta {
	struct str key, value; /* unescaped */
};

struct header {
	uint64_t n;        /* bytes of JSON, padding included */
	uint64_t data_len; /* bytes of the data section */
	size_t count;
	struct header_tensor *tensors; /* by begin, end, then order in the file */
	uint32_t *by_name;             /* indexes into tensors, in byte order of the names */
	size_t meta_count;
	struct header_meta *meta; /* in byte order of the keys, no duplicates */
	char *strings;   /* storage behind the strs */
	uint64_t *dims;  /* storage behind the shapes */
};

enum header_look {
	HEADER_NOT,     /* no safetensors file, or a plain one without a trace of crypto keys */
	HEADER_PERHAPS, /* N and the first byte fit: read 8 + N bytes and ask header_smells() */
};

/*
 * A first look at the first bytes of a file of `size` bytes: costs no allocation and no system call. len >= 9, else HEADER_NOT.
 * Stores 8 + N in *total for HEADER_PERHAPS.
 */
enum header_look header_look(const uint8_t *first, size_t len, uint64_t size, uint64_t *total);

/*
 * True if raw[0 .. 8 + N) can belong to an encrypted file: one of the four crypto keys' names, or an escape that could spell
 * one, occurs in it. Cheap; false means: plain, don't parse.
 */
int header_smells(const uint8_t *raw, size_t len);

/* True if all four keys' names are in it as an encrypted file spells them: it is one, most likely. Cheap. */
bool header_is_marked(const uint8_t *raw, size_t len);

/* N, out of the first HEADER_PREFIX bytes; not checked. */
uint64_t header_n(const uint8_t prefix[HEADER_PREFIX]);

/* Parses raw[0 .. len) = 8 + N bytes of a file of `size` bytes. On failure (ERR_FORMAT, ENOMEM) *h is released. */
int header_parse(struct header *h, const uint8_t *raw, size_t len, uint64_t size, struct err *err);
void header_release(struct header *h);

/* The tensor's index, or -1. */
ptrdiff_t header_find(const struct header *h, struct str name);

/* The value of a metadata entry, or NULL. */
const struct str *header_meta_get(const struct header *h, const char *key);

/* "F32", …; bits per element of a dtype index. */
const char *header_dtype_name(unsigned int dtype);
unsigned int header_dtype_bits(unsigned int dtype);

/* Bytewise order, a shorter prefix first: < 0, 0, > 0. */
int str_cmp(struct str a, struct str b);

/* The tensor, if any with bytes, that holds data offset `at` (relative to the data section); else `count`. */
size_t header_at(const struct header *h, uint64_t at);

#endif
