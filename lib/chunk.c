#include "chunk.h"

#include <string.h>

uint64_t chunk_count(uint64_t len, uint64_t cs)
{
	return cs == 0 || len <= cs ? 1 : (len - 1) / cs + 1;
}

void chunk_range(uint64_t len, uint64_t cs, uint64_t i, uint64_t *begin, uint64_t *size)
{
	*begin = cs * i;
	uint64_t left = len - *begin;
	*size = cs == 0 || left < cs ? left : cs;
}

bool chunk_iv(const uint8_t base[AEAD_IV_LEN], uint64_t i, uint8_t iv[AEAD_IV_LEN])
{
	uint64_t counter = ((uint64_t)base[8] << 24 | (uint64_t)base[9] << 16 | (uint64_t)base[10] << 8 | base[11]) + i;
	if (i > UINT32_MAX || counter > UINT32_MAX)
		return false;
	memcpy(iv, base, 8);
	for (int b = 0; b < 4; b++)
		iv[8 + b] = (uint8_t)(counter >> (24 - 8 * b));
	return true;
}
