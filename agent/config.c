#include "config.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

void config_default(struct config *c)
{
	memset(c, 0, sizeof *c);
	c->keep_s = 60;
}

static bool number(const char *text, uint64_t max, uint64_t *v)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*v = strtoull(text, &end, 10);
	return !errno && *end == '\0' && *v <= max;
}

/* One setting. Leaves in *what why it is none. */
static int setting(struct config *c, const char *name, const char *value, const char **what)
{
	uint64_t v;

	if (strcmp(name, "keep") == 0) {
		*what = "keep takes a number of seconds up to 31536000";
		if (!number(value, CONFIG_KEEP_MAX, &v))
			return -1;
		c->keep_s = (unsigned int)v;
		return 0;
	}
	if (strcmp(name, "allow-uid") == 0) {
		*what = "allow-uid takes one user's number";
		if (!number(value, UINT32_MAX - 1, &v))
			return -1;
		*what = "more allow-uid lines than there is room for (64)";
		if (c->allow_count == CONFIG_ALLOW_MAX)
			return -1;
		c->allow[c->allow_count++] = (uid_t)v;
		return 0;
	}
	*what = "unknown setting: there are keep and allow-uid";
	return -1;
}

static int line_in(struct config *c, char *line, const char **what)
{
	static const char space[] = " \t\r\n";
	char *name, *value, *save = NULL;

	line[strcspn(line, "#")] = '\0';
	name = strtok_r(line, space, &save);
	if (!name)
		return 0;
	value = strtok_r(NULL, space, &save);
	*what = "a line is a name and one value";
	if (!value || strtok_r(NULL, space, &save))
		return -1;
	return setting(c, name, value, what);
}

static int check_file(FILE *f, const char *shown, struct err *err)
{
	struct stat st;

	if (fstat(fileno(f), &st) < 0)
		return err_sys(err, errno, "%s", shown);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_REJECTED, "%s is not a regular file", shown);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_set(err, ERR_REJECTED, "%s belongs to uid %u: it must be yours or root's", shown, st.st_uid);
	if (st.st_mode & 022)
		return err_set(err, ERR_REJECTED, "others may write %s (mode %04o): chmod go-w %s", shown, st.st_mode & 07777u, shown);
	return 0;
}

int config_read(struct config *c, const char *path, struct err *err)
{
	const char *shown = TEXT(path, strlen(path)), *what = NULL;
	unsigned int number_of = 0;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int r = -1;
	FILE *f = fopen(path, "re");

	if (!f)
		return err_sys(err, errno, "%s", shown);
	if (check_file(f, shown, err))
		goto out;
	while ((n = getline(&line, &cap, f)) >= 0) {
		number_of++;
		what = "a NUL byte";
		if (strlen(line) != (size_t)n || line_in(c, line, &what)) {
			err_set(err, ERR_FORMAT, "%s:%u: %s", shown, number_of, what);
			goto out;
		}
	}
	r = ferror(f) ? err_sys(err, errno, "%s", shown) : 0;
out:
	free(line);
	fclose(f);
	return r;
}

bool config_allows(const struct config *c, uid_t uid)
{
	for (size_t i = 0; i < c->allow_count; i++)
		if (c->allow[i] == uid)
			return true;
	return false;
}
