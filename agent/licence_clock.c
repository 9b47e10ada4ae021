#include "licence_clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "licence.h"
#include "text.h"
#include "trusted.h"

#define TEXT_LEN 21

/* The default place, its folders made. */
static int default_path(char path[PATH_MAX], struct err *err)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n;

	if (geteuid() == 0)
		n = snprintf(path, PATH_MAX, "/var/lib/ct-agent/clock");
	else if (state && state[0] == '/')
		n = snprintf(path, PATH_MAX, "%s/ct-agent/clock", state);
	else if (home && home[0] == '/')
		n = snprintf(path, PATH_MAX, "%s/.local/state/ct-agent/clock", home);
	else
		return err_set(err, ERR_FORMAT, "no HOME: `clock FILE` in the configuration names a place");
	if (n >= PATH_MAX)
		return err_sys(err, ENAMETOOLONG, "the clock's file");
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int failed = mkdir(path, 0700) < 0 && errno != EEXIST;
		*slash = '/';
		if (failed)
			return err_sys(err, errno, "the folder of %s", TEXT(path, strlen(path)));
	}
	return 0;
}

/* 0: a time, or nothing yet; -1: something else. */
static int take(struct licence_clock *c, const char *path, struct err *err)
{
	char text[TEXT_LEN + 1];
	ssize_t n = pread(c->fd, text, sizeof text, 0);
	int64_t v = 0;

	if (n == 0)
		return 0;
	for (ssize_t i = 0; n == TEXT_LEN && i < TEXT_LEN - 1; i++) {
		if (text[i] < '0' || text[i] > '9' || v > LICENCE_TIME_MAX) {
			n = -1;
			break;
		}
		v = v * 10 + (text[i] - '0');
	}
	if (n != TEXT_LEN || text[TEXT_LEN - 1] != '\n' || v > LICENCE_TIME_MAX)
		return err_set(err, ERR_FORMAT, "%s: no time in it: it is begun anew", TEXT(path, strlen(path)));
	c->mark = v > c->mark ? v : c->mark;
	c->stored = v;
	return 0;
}

int licence_clock_open(struct licence_clock *c, const char *path, struct err *err)
{
	char buf[PATH_MAX];

	licence_clock_close(c);
	c->bad = true;
	if (!path && default_path(buf, err) < 0)
		return -1;
	path = path ? path : buf;
	c->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (c->fd < 0)
		return err_sys(err, errno, "%s", TEXT(path, strlen(path)));
	if (trusted_fd(c->fd, path, 022, err)) {
		close(c->fd);
		c->fd = -1;
		return -1;
	}
	c->bad = false;
	c->stored = 0;
	return take(c, path, err);
}

void licence_clock_close(struct licence_clock *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

int64_t licence_clock_now(struct licence_clock *c)
{
	int64_t now = time(NULL);
	char text[TEXT_LEN + 1];

	if (now > c->mark)
		c->mark = now;
	if (c->fd >= 0 && c->mark - c->stored >= LICENCE_CLOCK_STEP) {
		snprintf(text, sizeof text, "%020lld\n", (long long)c->mark);
		c->bad = pwrite(c->fd, text, TEXT_LEN, 0) != TEXT_LEN || ftruncate(c->fd, TEXT_LEN) < 0;
		c->stored = c->mark;
	}
	return c->mark;
}

bool licence_clock_is_back(const struct licence_clock *c, int64_t seen)
{
	return time(NULL) + LICENCE_CLOCK_BACK < (seen > c->mark ? seen : c->mark);
}
