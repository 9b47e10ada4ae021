#include "agent.h"

#include <stdarg.h>
#include <stdio.h>

void agent_log(const struct agent *a, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (!a->log)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	fprintf(stderr, "ct-agent: %s\n", line);
}
