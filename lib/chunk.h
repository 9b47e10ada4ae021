/*
 * chunk: the arithmetic between bytes of a tensor, chunks and nonces (docs/FORMAT.md, "v2").
 *
 * Chunk i of a tensor of len bytes covers [i·cs, min((i+1)·cs, len)); an empty tensor has one empty chunk. cs = 0 means
 * "not chunked" (v1): one chunk over everything. Pure functions.
 */
#ifndef CT_CHUNK_H
#define CT_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "aead.h"

#define CHUNK_DEFAULT 2097152u /* bytes: the reference's default chunk_size */

uint64_t chunk_count(uint64_t len, uint64_t cs); /* >= 1 */

/* First byte and length of chunk i < chunk_count(len, cs). */
void chunk_range(uint64_t len, uint64_t cs, uint64_t i, uint64_t *begin, uint64_t *size);

/*
 * IV_i = base[0..8] || BE32(BE32(base[8..12]) + i). false: the counter overflows, so the chunk cannot be read (it never
 * wraps).
 */
bool chunk_iv(const uint8_t base[AEAD_IV_LEN], uint64_t i, uint8_t iv[AEAD_IV_LEN]);

#endif
