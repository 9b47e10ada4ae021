/*
 * same: whether an output that is there already is what this run would write, so that it need not be written again.
 *
 * Every byte is looked at: ciphertext is decrypted and compared with the other side, streaming. 0: it is. -1 with EEXIST: it is not,
 * the text says what differs and is about the output; with anything else: the input cannot be read, the text is about that.
 */
#ifndef CT_SAME_H
#define CT_SAME_H

#include "err.h"
#include "file.h"
#include "writer.h"

/* Is out the plain model `in`, encrypted as p asks? */
int same_encrypted(const char *in, const char *out, const struct writer_params *p, struct writer_progress *pr, struct err *err);

/* Is out the view of f, which has its keys and whose ciphertext is fd? */
int same_decrypted(struct file *f, int fd, const char *out, unsigned int jobs, struct writer_progress *pr, struct err *err);

/* Is out a copy of in? */
int same_copied(const char *in, const char *out, struct err *err);

#endif
