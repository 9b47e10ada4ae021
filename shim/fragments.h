/*
 * fragments: verified plaintext of a page that two chunks share, until the other chunk is there too.
 *
 * Chunks don't end where pages do. Of a decrypted run of chunks the first and the last page may be known in part only; that part is kept
 * here, so that no chunk is decrypted twice. A bounded store (4 MiB): a part that was dropped costs one decryption more. Not inherited by
 * children (MADV_WIPEONFORK), left out of core dumps.
 *
 * Thread and signal safe: the store is copied from and to under a lock, all of it the shim's own memory.
 */
#ifndef SHIM_FRAGMENTS_H
#define SHIM_FRAGMENTS_H

#include <stdbool.h>
#include <stdint.h>

/* What is known of page `page` (a byte of the file, page multiple) of mapping `id`: bytes [from, to) of the file. */
struct fragment {
	uint64_t from, to; /* empty: nothing */
};

int fragments_start(void); /* before the first use; 0 or -ENOMEM. Idempotent. */

/* What is known: from the page's beginning, if anything is; else another part. */
struct fragment fragments_look(uint32_t id, uint64_t page);

/*
 * Adds bytes [from, to) of that page; src is the page's frame (src + (from - page) is the first). What was known is put into the frame as well,
 * and [*from, *to) widened by it. If the page, up to `end`, is complete now it is taken out: true. Else it is kept.
 */
bool fragments_add(uint32_t id, uint64_t page, uint64_t end, uint64_t *from, uint64_t *to, uint8_t *frame);

void fragments_fork_child(void);

#endif
