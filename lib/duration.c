#include "duration.h"

#include <stddef.h>
#include <string.h>

bool duration_parse(const char *text, uint32_t *seconds)
{
	static const char units[] = "smhd";
	static const uint32_t factor[] = { 1, 60, 3600, 86400 };
	uint64_t v = 0;
	const char *p = text, *u;

	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > UINT32_MAX)
			return false;
	}
	if (p == text)
		return false;
	if (*p) {
		u = strchr(units, *p);
		if (!u || p[1])
			return false;
		v *= factor[u - units];
	}
	if (v < 1 || v > UINT32_MAX)
		return false;
	*seconds = (uint32_t)v;
	return true;
}
