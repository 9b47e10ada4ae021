/*
 * emit: a signed header as text, out of its parts; what header_parse() and crypto_info_parse() take apart (docs/FORMAT.md, "What we write").
 * No I/O, no state: thread safe.
 */
#ifndef CT_EMIT_H
#define CT_EMIT_H

#include "buf.h"
#include "crypto_info.h"

/*
 * Appends the canonical JSON of the header to *text: tensors and metadata of h, but the four crypto keys made from c and signed with d (SIGN_KEY_LEN
 * bytes). d NULL: zeros stand in the signature's place; the text's length is right all the same, as it depends on no key, tag or digest.
 * c->signature, by_tensor and entries[].tensor are not looked at. -1: ENOMEM, or EIO where OpenSSL refuses.
 */
int emit_header(struct buf *text, const struct header *h, const struct crypto_info *c, const uint8_t *d, struct err *err);

/*
 * N for a text of `len` bytes. reserve 0: padded to a multiple of 8, as the reference does. Else at least `reserve` bytes stay free for a
 * longer header (rewrap), and the data begins at a multiple of EMIT_ALIGN; as much of that as the format's HEADER_MAX leaves.
 */
#define EMIT_RESERVE 4096u /* the default */
#define EMIT_ALIGN 4096u
uint64_t emit_n(uint64_t len, uint64_t reserve);

#endif
