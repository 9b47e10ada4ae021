#include "policy.h"

#include <string.h>

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool policy_is_default(struct str text)
{
	static const char want[] = POLICY_DEFAULT;

	while (text.len && is_space(text.p[0])) {
		text.p++;
		text.len--;
	}
	while (text.len && is_space(text.p[text.len - 1]))
		text.len--;
	return text.len == sizeof want - 1 && memcmp(text.p, want, text.len) == 0;
}
