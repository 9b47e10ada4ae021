#include "text.h"

#include <endian.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

size_t text_utf8_decode(const void *s, size_t len, uint32_t *cp)
{
	const uint8_t *p = s;
	if (len == 0)
		return 0;
	if (p[0] < 0x80) {
		*cp = p[0];
		return 1;
	}
	size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	if (p[0] < 0xc2 || p[0] > 0xf4 || len < n)
		return 0;
	uint32_t v = p[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3fu);
	}
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return 0;
	*cp = v;
	return n;
}

size_t text_utf8_encode(uint32_t cp, void *dst)
{
	uint8_t *d = dst;
	if (cp < 0x80) {
		d[0] = (uint8_t)cp;
		return 1;
	}
	size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
	for (size_t i = n - 1; i > 0; i--, cp >>= 6)
		d[i] = (uint8_t)(0x80 | (cp & 0x3f));
	static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	d[0] = (uint8_t)(lead[n] | cp);
	return n;
}

/* A bit in the lowest byte of the eight at s that is a control character, a quote, a backslash or beyond ASCII, and in none before it. */
static uint64_t not_plain(const char *s)
{
	const uint64_t ones = 0x0101010101010101u, highs = ones << 7;
	uint64_t w, quote, slash;
	memcpy(&w, s, sizeof w);
	w = le64toh(w);
	quote = w ^ ones * '"';
	slash = w ^ ones * '\\';
	return (w | (w - ones * 0x20) | (quote - ones) | (slash - ones)) & highs;
}

size_t text_plain_run(const char *s, size_t len)
{
	size_t i = 0;
	for (; len - i >= 8; i += 8) {
		uint64_t found = not_plain(s + i);
		if (found)
			return i + (size_t)__builtin_ctzll(found) / 8;
	}
	while (i < len && (unsigned char)s[i] >= 0x20 && (unsigned char)s[i] < 0x80 && s[i] != '\\' && s[i] != '"')
		i++;
	return i;
}

static bool harmless(uint32_t cp)
{
	return cp >= 0x20 && cp != '\\' && !(cp >= 0x7f && cp <= 0x9f) && cp != 0x61c && cp != 0xad && cp != 0xfeff &&
	       !(cp >= 0x200b && cp <= 0x200f) && !(cp >= 0x2028 && cp <= 0x202e) && !(cp >= 0x2060 && cp <= 0x206f) &&
	       !(cp >= 0xfff0 && cp <= 0xffff) && cp < 0xe0000;
}

const char *text_escape(char *dst, size_t cap, const void *s, size_t len)
{
	const uint8_t *p = s;
	size_t at = 0, fits = 0; /* fits: the last length after which "..." still has room */
	while (len > 0) {
		char piece[16];
		uint32_t cp;
		size_t n = text_utf8_decode(p, len, &cp);
		int w;
		if (n == 0 || (n == 1 && cp != '\\' && !harmless(cp))) {
			n = 1;
			w = snprintf(piece, sizeof piece, "\\x%02x", p[0]);
		} else if (cp == '\\') {
			w = snprintf(piece, sizeof piece, "\\\\");
		} else if (!harmless(cp)) {
			w = snprintf(piece, sizeof piece, "\\u{%x}", cp);
		} else {
			memcpy(piece, p, n);
			w = (int)n;
		}
		if (at + (size_t)w + 1 > cap) {
			at = fits;
			for (const char *dots = "..."; *dots && at + 1 < cap; dots++)
				dst[at++] = *dots;
			break;
		}
		memcpy(dst + at, piece, (size_t)w);
		at += (size_t)w;
		if (at + 4 <= cap)
			fits = at;
		p += n;
		len -= n;
	}
	dst[at] = '\0';
	return dst;
}

bool text_is_harmless(uint32_t cp)
{
	return cp >= 0x20 && (cp < 0x7f || cp > 0x9f) && cp != 0x61c && !(cp >= 0x200e && cp <= 0x200f) &&
	       !(cp >= 0x2028 && cp <= 0x202e) && !(cp >= 0x2066 && cp <= 0x2069) && cp != 0xfeff;
}

void text_json(struct buf *b, const void *s, size_t len)
{
	const char *p = s, *end = p + len;
	char hex[16];

	buf_putc(b, '"');
	while (p < end) {
		uint32_t cp;
		size_t n = text_utf8_decode(p, (size_t)(end - p), &cp);
		if (n == 0) {
			snprintf(hex, sizeof hex, "\\\\x%02x", (unsigned char)*p++);
			buf_puts(b, hex);
			continue;
		}
		if (cp == '"' || cp == '\\') {
			buf_putc(b, '\\');
			buf_putc(b, *p);
		} else if (text_is_harmless(cp)) {
			buf_put(b, p, n);
		} else {
			snprintf(hex, sizeof hex, "\\u%04x", (unsigned int)cp);
			buf_puts(b, hex);
		}
		p += n;
	}
	buf_putc(b, '"');
}
