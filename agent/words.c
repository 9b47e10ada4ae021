#include "words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* One word from *in, written to its own place without the quotes. */
static int cut(char **in, const char **why)
{
	bool quoted = false;
	char *p = *in, *out = p;

	for (; *p && (quoted || !blank(*p)); p++) {
		if (*p == '"') {
			quoted = !quoted;
			continue;
		}
		if (*p == '#' && !quoted) {
			*why = "a # inside a word: put it between double quotes, or a blank before it";
			return -1;
		}
		if (*p == '\\') {
			*out++ = *p++;
			if (*p == '\0' || *p == '\r' || *p == '\n') {
				*why = "a backslash with nothing behind it";
				return -1;
			}
		}
		*out++ = *p;
	}
	if (quoted) {
		*why = "a double quote that is not closed";
		return -1;
	}
	*in = *p ? p + 1 : p;
	*out = '\0';
	return 0;
}

int words_split(char *line, char *words[WORDS_MAX], const char **why)
{
	char *p = line;
	int n = 0;

	for (;;) {
		while (blank(*p))
			p++;
		if (*p == '\0' || *p == '#')
			return n;
		if (n == WORDS_MAX) {
			*why = "too many words";
			return -1;
		}
		words[n++] = p;
		if (cut(&p, why))
			return -1;
	}
}

void words_plain(char *word)
{
	char *out = word;

	for (; *word; word++) {
		if (*word == '\\')
			word++;
		*out++ = *word;
	}
	*out = '\0';
}

bool words_number(const char *word, uint64_t max, uint64_t *v)
{
	char *end;

	if (word[0] < '0' || word[0] > '9')
		return false;
	errno = 0;
	*v = strtoull(word, &end, 10);
	return !errno && *end == '\0' && *v <= max;
}
