/*
 * canon: the two canonical texts of a header, both compact JSON rebuilt from parsed content (docs/FORMAT.md).
 * They differ in the metadata they keep and in the padding. Appends to *out; check out->failed. Thread safe.
 */
#ifndef CT_CANON_H
#define CT_CANON_H

#include "buf.h"
#include "header.h"

/* What the signature covers: everything but __signature__; no padding. */
void canon_signed(struct buf *out, const struct header *h);

/* The view's header as an application reads it: without the crypto keys and our own, padded with spaces to h->n. -1 with
 * ERR_FORMAT if it is longer than N, with ENOMEM if out->failed. */
int canon_view(struct buf *out, const struct header *h, struct err *err);

/* Compact JSON of h with the entries of `h->meta` for which keep() is true. */
void canon_write(struct buf *out, const struct header *h, bool (*keep)(struct str key));

#endif
