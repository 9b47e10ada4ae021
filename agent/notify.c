#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int notify_init(struct notify *n, struct err *err)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	memset(n, 0, sizeof *n);
	if (len == 0)
		return 0;
	if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof n->to.sun_path)
		return err_set(err, ERR_FORMAT, "NOTIFY_SOCKET is neither an absolute path nor an abstract address");
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, path, len);
	if (path[0] == '@')
		n->to.sun_path[0] = '\0'; /* then its length says where the name ends */
	n->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '/'));
	unsetenv("NOTIFY_SOCKET");
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return n->fd < 0 ? err_sys(err, errno, "a socket for NOTIFY_SOCKET") : 0;
}

/* A manager that does not listen is its own business. */
static void tell(const struct notify *n, const char *text)
{
	if (n->len)
		sendto(n->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&n->to, n->len);
}

void notify_ready(const struct notify *n)
{
	tell(n, "READY=1");
}

void notify_reloading(const struct notify *n)
{
	char text[64];
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000);
	tell(n, text);
}

void notify_stopping(const struct notify *n)
{
	tell(n, "STOPPING=1");
}

int notify_listen_fd(struct err *err)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	bool ours = pid && fds && strtol(pid, NULL, 10) == getpid(), one = ours && strcmp(fds, "1") == 0;

	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (!ours)
		return 0;
	if (!one)
		return err_set(err, ERR_FORMAT, "LISTEN_FDS: one socket is what the agent takes");
	if (fcntl(NOTIFY_LISTEN_FD, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(err, errno, "LISTEN_FDS: descriptor %d", NOTIFY_LISTEN_FD);
	return 1;
}
