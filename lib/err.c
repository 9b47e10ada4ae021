#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	enum err_code code;
	int errnum;
	const char *name;
} table[] = {
	{ ERR_NOKEY, ENOKEY, "ENOKEY" },     { ERR_REJECTED, EKEYREJECTED, "EKEYREJECTED" },
	{ ERR_FORMAT, EBADMSG, "EBADMSG" },  { ERR_DAMAGED, EIO, "EIO" },
	{ ERR_PLAIN, EPERM, "EPERM" },
};

#define TABLE_LEN (sizeof table / sizeof table[0])

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
	if (!e)
		return -1;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	e->code = code;
	e->sys_errno = 0;
	return -1;
}

int err_sys(struct err *e, int errnum, const char *fmt, ...)
{
	if (!e)
		return -1;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	const char *what = strerrordesc_np(errnum);
	if (n >= 0 && (size_t)n < sizeof e->text)
		snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", what ? what : "unknown error");
	e->code = ERR_SYSTEM;
	e->sys_errno = errnum;
	return -1;
}

int err_errno(const struct err *e)
{
	for (size_t i = 0; i < TABLE_LEN; i++)
		if (table[i].code == e->code)
			return table[i].errnum;
	return e->code == ERR_SYSTEM ? e->sys_errno : 0;
}

const char *err_name(const struct err *e)
{
	const char *name = strerrorname_np(err_errno(e));
	return name ? name : "EUNKNOWN";
}

enum err_code err_code_by_name(const char *name)
{
	for (size_t i = 0; i < TABLE_LEN; i++)
		if (strcmp(table[i].name, name) == 0)
			return table[i].code;
	return ERR_NONE;
}
