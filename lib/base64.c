#include "base64.h"

static const char ALPHABET[2][65] = {
	[BASE64_STD] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	[BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

/* Six bits of a character, with VALID set; 0 for every other character. */
#define VALID 0x40u
#define V(n) (VALID | (n))
#define COMMON                                                                                                          \
	['A'] = V(0), ['B'] = V(1), ['C'] = V(2), ['D'] = V(3), ['E'] = V(4), ['F'] = V(5), ['G'] = V(6), ['H'] = V(7),     \
	['I'] = V(8), ['J'] = V(9), ['K'] = V(10), ['L'] = V(11), ['M'] = V(12), ['N'] = V(13), ['O'] = V(14),              \
	['P'] = V(15), ['Q'] = V(16), ['R'] = V(17), ['S'] = V(18), ['T'] = V(19), ['U'] = V(20), ['V'] = V(21),            \
	['W'] = V(22), ['X'] = V(23), ['Y'] = V(24), ['Z'] = V(25), ['a'] = V(26), ['b'] = V(27), ['c'] = V(28),            \
	['d'] = V(29), ['e'] = V(30), ['f'] = V(31), ['g'] = V(32), ['h'] = V(33), ['i'] = V(34), ['j'] = V(35),            \
	['k'] = V(36), ['l'] = V(37), ['m'] = V(38), ['n'] = V(39), ['o'] = V(40), ['p'] = V(41), ['q'] = V(42),            \
	['r'] = V(43), ['s'] = V(44), ['t'] = V(45), ['u'] = V(46), ['v'] = V(47), ['w'] = V(48), ['x'] = V(49),            \
	['y'] = V(50), ['z'] = V(51), ['0'] = V(52), ['1'] = V(53), ['2'] = V(54), ['3'] = V(55), ['4'] = V(56),            \
	['5'] = V(57), ['6'] = V(58), ['7'] = V(59), ['8'] = V(60), ['9'] = V(61)

static const uint8_t BITS[2][256] = {
	[BASE64_STD] = { COMMON, ['+'] = V(62), ['/'] = V(63) },
	[BASE64_URL] = { COMMON, ['-'] = V(62), ['_'] = V(63) },
};

size_t base64_encoded_len(enum base64_kind kind, size_t n)
{
	size_t rest = n % 3;

	if (kind == BASE64_STD)
		return n / 3 * 4 + (rest ? 4 : 0);
	return n / 3 * 4 + (rest ? rest + 1 : 0);
}

void base64_encode(enum base64_kind kind, const void *src, size_t n, char *dst)
{
	const char *a = ALPHABET[kind];
	const uint8_t *s = src;

	for (; n >= 3; n -= 3, s += 3, dst += 4) {
		uint32_t v = (uint32_t)s[0] << 16 | (uint32_t)s[1] << 8 | s[2];
		dst[0] = a[v >> 18];
		dst[1] = a[v >> 12 & 63];
		dst[2] = a[v >> 6 & 63];
		dst[3] = a[v & 63];
	}
	if (n == 0)
		return;
	uint32_t v = (uint32_t)s[0] << 16 | (n == 2 ? (uint32_t)s[1] << 8 : 0);
	*dst++ = a[v >> 18];
	*dst++ = a[v >> 12 & 63];
	if (n == 2)
		*dst++ = a[v >> 6 & 63];
	if (kind == BASE64_STD) {
		*dst++ = '=';
		if (n == 1)
			*dst = '=';
	}
}

ptrdiff_t base64_decode(enum base64_kind kind, const char *src, size_t len, void *dst, size_t cap)
{
	const uint8_t *t = BITS[kind], *s = (const uint8_t *)src;
	uint8_t *d = dst;

	if (kind == BASE64_STD) {
		if (len % 4 != 0)
			return -1;
		if (len > 0 && s[len - 1] == '=')
			len -= s[len - 2] == '=' ? 2 : 1;
	}
	size_t quads = len / 4, rest = len % 4;
	size_t n = quads * 3 + (rest ? rest - 1 : 0);
	if (rest == 1 || n > cap)
		return -1;

	for (; quads > 0; quads--, s += 4, d += 3) {
		uint8_t w = t[s[0]], x = t[s[1]], y = t[s[2]], z = t[s[3]];
		if (!(w & x & y & z & VALID))
			return -1;
		uint32_t v = (uint32_t)(w & 63) << 18 | (uint32_t)(x & 63) << 12 | (uint32_t)(y & 63) << 6 | (uint32_t)(z & 63);
		d[0] = (uint8_t)(v >> 16);
		d[1] = (uint8_t)(v >> 8);
		d[2] = (uint8_t)v;
	}
	if (rest == 0)
		return (ptrdiff_t)n;
	uint8_t w = t[s[0]], x = t[s[1]], y = rest == 3 ? t[s[2]] : V(0);
	uint32_t v = (uint32_t)(w & 63) << 18 | (uint32_t)(x & 63) << 12 | (uint32_t)(y & 63) << 6;
	if (!(w & x & y & VALID) || (v & (rest == 3 ? 0xffu : 0xffffu)))
		return -1;
	d[0] = (uint8_t)(v >> 16);
	if (rest == 3)
		d[1] = (uint8_t)(v >> 8);
	return (ptrdiff_t)n;
}

void base64_put(struct buf *b, const void *src, size_t n)
{
	size_t chars = base64_encoded_len(BASE64_STD, n);

	buf_putc(b, '"');
	if (buf_reserve(b, chars)) {
		base64_encode(BASE64_STD, src, n, b->data + b->len);
		b->len += chars;
	}
	buf_putc(b, '"');
}
