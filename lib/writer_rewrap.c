#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "emit.h"
#include "licence.h"
#include "source.h"
#include "writer.h"
#include "writer_io.h"

#define STEP 1048576u /* bytes copied between two looks at the cancel flag */

/* Borrows all of h, but has the licence in its metadata; *m is to be freed. */
static bool with_licence(const struct header *h, const struct str *licence, struct header *made, struct header_meta **m)
{
	const struct str key = { LICENCE_META, sizeof LICENCE_META - 1 };

	*made = *h;
	*m = NULL;
	if (!licence)
		return true;
	*m = malloc((h->meta_count + 1) * sizeof **m);
	if (!*m)
		return false;
	made->meta = *m;
	made->meta_count = 0;
	for (size_t i = 0; i < h->meta_count; i++)
		if (str_cmp(h->meta[i].key, key) != 0)
			made->meta[made->meta_count++] = h->meta[i];
	made->meta[made->meta_count++] = (struct header_meta){ key, *licence }; /* emit_header() sorts them */
	return true;
}

int writer_rewrap_header(const struct header *h, const struct crypto_info *c, const struct secret *deks, const struct writer_rewrap *p,
                         struct writer_rewrapped *r, struct err *err)
{
	struct crypto_info made = *c; /* borrows all but the entries */
	size_t len = aead_key_len(c->alg);
	struct aead *a = aead_new(c->alg);
	struct header_meta *meta;
	struct header with;
	int ret = -1;

	*r = (struct writer_rewrapped){ .text = BUF_INIT, .old_n = h->n, .data_len = h->data_len };
	made.enc = (struct crypto_key_ref){ .has_kid = p->kek->has_kid, .kid = { p->kek->kid, p->kek->kid_len } };
	made.sign = (struct crypto_key_ref){ .has_kid = p->signer->has_kid, .kid = { p->signer->kid, p->signer->kid_len } };
	if (p->local)
		made.local = *p->local;
	made.entries = malloc((c->count + 1) * sizeof *made.entries);
	if (!with_licence(h, p->licence, &with, &meta) || !a || !made.entries) {
		err_sys(err, ENOMEM, "%zu data keys", c->count);
		goto out;
	}
	if (c->count > 0)
		memcpy(made.entries, c->entries, c->count * sizeof *made.entries);
	for (size_t i = 0; i < c->count; i++) {
		if (!writer_wrap_key(a, p->kek, deks->data + i * len, len, &made.entries[i])) {
			err_sys(err, EIO, "OpenSSL cannot wrap keys");
			goto out;
		}
	}
	if (emit_header(&r->text, &with, &made, p->signer->secret->data, err) < 0)
		goto out;
	r->n = r->text.len <= h->n ? h->n : emit_n(r->text.len, p->reserve);
	if (r->n > HEADER_MAX)
		err_set(err, ERR_FORMAT, "the new header would have %llu bytes, more than the format's %u", (unsigned long long)r->n, HEADER_MAX);
	else
		ret = 0;
out:
	aead_free(a);
	free(made.entries);
	free(meta);
	if (ret < 0)
		buf_release(&r->text);
	return ret;
}

/* The file system shares the data's blocks: nothing is copied. False: it can't, or not with this layout. */
static bool share_blocks(const struct writer_rewrapped *r, int in, int out)
{
	const struct file_clone_range range = { .src_fd = in, .src_offset = HEADER_PREFIX + r->old_n, .dest_offset = HEADER_PREFIX + r->n };

	if (r->n == r->old_n)
		return ioctl(out, FICLONE, in) == 0;
	return r->data_len > 0 && ioctl(out, FICLONERANGE, &range) == 0;
}

static int copy_step(int in, uint64_t from, int out, uint64_t to, size_t len, uint8_t *buf, struct err *err)
{
	if (source_read(in, buf, len, from, err) < 0)
		return -1;
	return writer_write_at(out, buf, len, to, err);
}

static int copy(const struct writer_rewrapped *r, int in, int out, struct writer_progress *pr, struct err *err)
{
	uint8_t *buf = malloc(STEP);
	int ret = -1;

	if (!buf)
		return err_sys(err, ENOMEM, "a buffer");
	for (uint64_t at = 0; at < r->data_len;) {
		size_t len = r->data_len - at < STEP ? (size_t)(r->data_len - at) : STEP;
		if (pr->cancel) {
			err_sys(err, EINTR, "stopped before the end");
			goto out;
		}
		if (copy_step(in, HEADER_PREFIX + r->old_n + at, out, HEADER_PREFIX + r->n + at, len, buf, err) < 0)
			goto out;
		at += len;
		pr->done += len;
	}
	ret = 0;
out:
	free(buf);
	return ret;
}

int writer_rewrap(struct writer_rewrapped *r, int in, int out, bool *cloned, struct writer_progress *pr, struct err *err)
{
	pr->done = 0;
	pr->total = r->data_len;
	*cloned = share_blocks(r, in, out);
	if (!*cloned) {
		if (ftruncate(out, (off_t)(HEADER_PREFIX + r->n + r->data_len)) < 0)
			return err_sys(err, errno, "cannot size the output");
		if (copy(r, in, out, pr, err) < 0)
			return -1;
	}
	return writer_put_header(out, &r->text, r->n, err);
}
