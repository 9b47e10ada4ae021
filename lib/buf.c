#include "buf.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

void buf_release(struct buf *b)
{
	free(b->data);
	*b = (struct buf)BUF_INIT;
}

bool buf_reserve(struct buf *b, size_t more)
{
	if (b->failed)
		return false;
	if (more <= b->cap - b->len)
		return true;
	size_t need, cap = b->cap + b->cap / 2 + 64;
	char *data = NULL;
	if (!__builtin_add_overflow(b->len, more, &need)) {
		if (cap < need)
			cap = need;
		data = realloc(b->data, cap);
	}
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void buf_put(struct buf *b, const void *p, size_t len)
{
	if (len == 0 || !buf_reserve(b, len))
		return;
	memcpy(b->data + b->len, p, len);
	b->len += len;
}

void buf_puts(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
	if (buf_reserve(b, 1))
		b->data[b->len++] = c;
}

void buf_put_hex(struct buf *b, const void *p, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = p;

	for (size_t i = 0; i < len; i++) {
		buf_putc(b, digits[bytes[i] >> 4]);
		buf_putc(b, digits[bytes[i] & 15]);
	}
}

void buf_put_u64(struct buf *b, uint64_t v)
{
	char digits[20];
	size_t at = sizeof digits;
	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	buf_put(b, digits + at, sizeof digits - at);
}

void buf_put_json_string(struct buf *b, const void *s, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	static const char brief[0x20] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r' };
	const char *p = s, *end = p + len, *from = p;
	buf_putc(b, '"');
	for (;;) {
		p += text_plain_run(p, (size_t)(end - p));
		if (p == end)
			break;
		unsigned char c = (unsigned char)*p++;
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_put(b, from, (size_t)(p - 1 - from));
		from = p;
		buf_putc(b, '\\');
		if (c >= 0x20) {
			buf_putc(b, (char)c);
		} else if (brief[c]) {
			buf_putc(b, brief[c]);
		} else {
			buf_puts(b, "u00");
			buf_putc(b, hex[c >> 4]);
			buf_putc(b, hex[c & 15]);
		}
	}
	buf_put(b, from, (size_t)(end - from));
	buf_putc(b, '"');
}

void buf_put_name(struct buf *b, const char *name)
{
	if (b->len && b->data[b->len - 1] != '{')
		buf_putc(b, ',');
	buf_put_json_string(b, name, strlen(name));
	buf_putc(b, ':');
}
