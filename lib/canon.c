#include "canon.h"

#include <errno.h>
#include <string.h>

#include "crypto_info.h"

static void put_tensor(struct buf *out, const struct header_tensor *t)
{
	buf_put_json_string(out, t->name.p, t->name.len);
	buf_puts(out, ":{\"dtype\":\"");
	buf_puts(out, header_dtype_name(t->dtype));
	buf_puts(out, "\",\"shape\":[");
	for (uint32_t i = 0; i < t->ndim; i++) {
		if (i)
			buf_putc(out, ',');
		buf_put_u64(out, t->shape[i]);
	}
	buf_puts(out, "],\"data_offsets\":[");
	buf_put_u64(out, t->begin);
	buf_putc(out, ',');
	buf_put_u64(out, t->end);
	buf_puts(out, "]}");
}

void canon_write(struct buf *out, const struct header *h, bool (*keep)(struct str key))
{
	bool first = true;
	buf_putc(out, '{');
	for (size_t i = 0; i < h->meta_count; i++) {
		if (!keep(h->meta[i].key))
			continue;
		buf_puts(out, first ? "\"__metadata__\":{" : ",");
		first = false;
		buf_put_json_string(out, h->meta[i].key.p, h->meta[i].key.len);
		buf_putc(out, ':');
		buf_put_json_string(out, h->meta[i].value.p, h->meta[i].value.len);
	}
	if (!first)
		buf_putc(out, '}');
	for (size_t i = 0; i < h->count; i++) {
		if (!first)
			buf_putc(out, ',');
		first = false;
		put_tensor(out, &h->tensors[i]);
	}
	buf_putc(out, '}');
}

static bool keep_signed(struct str key)
{
	static const char signature[] = "__signature__";
	return str_cmp(key, (struct str){ signature, sizeof signature - 1 }) != 0;
}

static bool keep_view(struct str key)
{
	return !crypto_info_is_reserved(key);
}

void canon_signed(struct buf *out, const struct header *h)
{
	buf_reserve(out, h->n); /* about as long, without the spaces at its end */
	canon_write(out, h, keep_signed);
}

int canon_view(struct buf *out, const struct header *h, struct err *err)
{
	size_t from = out->len;
	canon_write(out, h, keep_view);
	size_t len = out->len - from;
	if (!out->failed && len > h->n)
		return err_set(err, ERR_FORMAT, "the decrypted header has %zu bytes, more than the %llu of the file's own", len,
		               (unsigned long long)h->n);
	if (out->failed || !buf_reserve(out, h->n - len))
		return err_sys(err, ENOMEM, "building the view");
	memset(out->data + out->len, ' ', h->n - len);
	out->len += h->n - len;
	return 0;
}
