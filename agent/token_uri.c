#include "token_uri.h"

#include <string.h>

#include "words.h"

enum attribute { A_TOKEN, A_MANUFACTURER, A_MODEL, A_SERIAL, A_SLOT, A_OBJECT, A_ID, A_TYPE, A_MODULE, A_PIN, A_PIN_VALUE, ATTRIBUTES };

static const struct {
	const char *name;
	bool query;
} attributes[ATTRIBUTES] = {
	[A_TOKEN] = { "token", false },
	[A_MANUFACTURER] = { "manufacturer", false },
	[A_MODEL] = { "model", false },
	[A_SERIAL] = { "serial", false },
	[A_SLOT] = { "slot-id", false },
	[A_OBJECT] = { "object", false },
	[A_ID] = { "id", false },
	[A_TYPE] = { "type", false },
	[A_MODULE] = { "module-path", true },
	[A_PIN] = { "pin-source", true },
	[A_PIN_VALUE] = { "pin-value", true },
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 32) >= 'a' && (c | 32) <= 'f')
		return (c | 32) - 'a' + 10;
	return -1;
}

static bool is_letter_or_digit(char c)
{
	return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* What stands for itself in a value: the RFC's pk11-pchar and pk11-qchar. */
static bool stands_for_itself(char c, bool query)
{
	return is_letter_or_digit(c) || (c && strchr(query ? "-._~:[]@!$'()*+,=/?|" : "-._~:[]@!$'()*+,=&", c));
}

/* A value without its %XX into dst (cap bytes). Stores its length. */
static int decode(const char *p, size_t len, bool query, char *dst, size_t cap, size_t *n, const char **why)
{
	*n = 0;
	for (const char *end = p + len; p < end; p++) {
		char c = *p;

		if (c == '%') {
			int high = end - p > 2 ? hex_digit(p[1]) : -1, low = high >= 0 ? hex_digit(p[2]) : -1;

			*why = "a % in the URI without two hexadecimal digits behind it";
			if (low < 0)
				return -1;
			c = (char)(high << 4 | low);
			p += 2;
		} else if (!stands_for_itself(c, query)) {
			*why = "a character in the URI that is to be written %XX there: blanks, quotes, backslashes, non-ASCII, / before the ?";
			return -1;
		}
		*why = "a value of the URI is too long";
		if (*n == cap)
			return -1;
		dst[(*n)++] = c;
	}
	*why = "a value of the URI is empty";
	return *n ? 0 : -1;
}

static int put_text(char *dst, size_t cap, const char *text, size_t len, const char **why)
{
	*why = "a value of the URI is too long, or has a NUL byte";
	if (len >= cap || memchr(text, 0, len))
		return -1;
	memcpy(dst, text, len);
	dst[len] = '\0';
	return 0;
}

/* A path, or a "file:" URI of one. */
static int put_path(char dst[TOKEN_URI_PATH_MAX], const char *text, size_t len, bool file_uri, const char **why)
{
	if (put_text(dst, TOKEN_URI_PATH_MAX, text, len, why))
		return -1;
	if (file_uri && strncmp(dst, "file:", 5) == 0)
		memmove(dst, dst + 5, len - 4);
	if (file_uri && strncmp(dst, "///", 3) == 0)
		memmove(dst, dst + 2, strlen(dst + 2) + 1);
	*why = "module-path= and pin-source= of the URI take a whole path: it begins with /";
	return dst[0] == '/' ? 0 : -1;
}

static int put(struct token_uri *u, enum attribute a, const char *text, size_t len, const char **why)
{
	char number[24];
	uint64_t v;

	switch (a) {
	case A_TOKEN:
		return put_text(u->token, sizeof u->token, text, len, why);
	case A_MANUFACTURER:
		return put_text(u->manufacturer, sizeof u->manufacturer, text, len, why);
	case A_MODEL:
		return put_text(u->model, sizeof u->model, text, len, why);
	case A_SERIAL:
		return put_text(u->serial, sizeof u->serial, text, len, why);
	case A_OBJECT:
		return put_text(u->object, sizeof u->object, text, len, why);
	case A_ID:
		*why = "the URI's id is too long";
		if (len > sizeof u->id)
			return -1;
		memcpy(u->id, text, len);
		u->id_len = len;
		return 0;
	case A_SLOT:
		*why = "the URI's slot-id is no number";
		if (put_text(number, sizeof number, text, len, &(const char *){ NULL }) || !words_number(number, UINT32_MAX, &v))
			return -1;
		u->has_slot = true;
		u->slot = v;
		return 0;
	case A_TYPE:
		*why = "the URI's type is not secret-key, which a master key is";
		return len == strlen("secret-key") && memcmp(text, "secret-key", len) == 0 ? 0 : -1;
	case A_MODULE:
		return put_path(u->module_path, text, len, false, why);
	case A_PIN:
		return put_path(u->pin_source, text, len, true, why);
	default:
		*why = "the URI holds a PIN (pin-value), which everybody would have who reads it: write it into a file, and name that by pin-source";
		return -1;
	}
}

static int attribute_in(struct token_uri *u, const char *p, size_t len, bool query, unsigned int *seen, const char **why)
{
	const char *eq = memchr(p, '=', len);
	char value[TOKEN_URI_PATH_MAX];
	size_t name_len = eq ? (size_t)(eq - p) : len, n;
	unsigned int a = 0;

	while (a < ATTRIBUTES && (attributes[a].query != query || strlen(attributes[a].name) != name_len ||
	                          memcmp(attributes[a].name, p, name_len) != 0))
		a++;
	*why = query ? "behind the ? of the URI there are module-path= and pin-source=, with & between them"
	             : "before the ? of the URI there are token=, object=, id=, serial=, model=, manufacturer=, slot-id= and type=, with ; between them";
	if (!eq || a == ATTRIBUTES)
		return -1;
	*why = "an attribute of the URI is there twice";
	if (*seen & 1u << a)
		return -1;
	*seen |= 1u << a;
	if (a == A_PIN_VALUE) /* before its value could get into a message */
		return put(u, A_PIN_VALUE, "", 0, why);
	if (decode(eq + 1, len - name_len - 1, query, value, sizeof value, &n, why))
		return -1;
	return put(u, (enum attribute)a, value, n, why);
}

int token_uri_parse(struct token_uri *u, const char *text, const char **why)
{
	static const char scheme[] = "pkcs11:";
	const char *p = text + strlen(scheme);
	bool query = false;
	unsigned int seen = 0;

	memset(u, 0, sizeof *u);
	*why = "a token is named by a URI: pkcs11:token=LABEL;object=KEY?module-path=/….so&pin-source=/…";
	if (strncmp(text, scheme, strlen(scheme)) != 0)
		return -1;
	while (*p) {
		size_t len = strcspn(p, query ? "&" : ";?");

		if (attribute_in(u, p, len, query, &seen, why))
			return -1;
		p += len;
		if (*p) {
			query = query || *p == '?';
			p++;
			*why = "the URI ends in a separator";
			if (!*p)
				return -1;
		}
	}
	*why = "the URI names no module: ?module-path=/….so";
	if (!u->module_path[0])
		return -1;
	*why = "the URI names no key: object=LABEL or id=%XX";
	return u->object[0] || u->id_len ? 0 : -1;
}
