#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "text.h"

#define BACKLOG 128

#define SHOW(path) TEXT(path, strlen(path))

int listener_path(char out[LISTENER_PATH_MAX], const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char *folder = NULL, *real = NULL;
	int n, r = -1;

	folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	if (!folder)
		return err_sys(err, ENOMEM, "%s", SHOW(path));
	real = realpath(folder, NULL);
	if (!real) {
		err_sys(err, errno, "the socket's folder %s", SHOW(folder));
		goto out;
	}
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		err_sys(err, EISDIR, "%s", SHOW(path));
		goto out;
	}
	n = snprintf(out, LISTENER_PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real, name);
	if (n < 0 || n >= LISTENER_PATH_MAX)
		err_sys(err, ENAMETOOLONG, "%s: a socket's path has room for %d bytes", SHOW(path), LISTENER_PATH_MAX - 1);
	else
		r = 0;
out:
	free(real);
	free(folder);
	return r;
}

static int check_folder(const char *path, struct err *err)
{
	char folder[LISTENER_PATH_MAX];
	struct stat st;
	size_t len = (size_t)(strrchr(path, '/') - path);

	memcpy(folder, path, len);
	folder[len] = '\0';
	if (stat(len ? folder : "/", &st) < 0)
		return err_sys(err, errno, "the socket's folder %s", SHOW(folder));
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_set(err, ERR_REJECTED, "the socket's folder %s belongs to uid %u: it must be yours or root's", SHOW(folder), st.st_uid);
	if (st.st_mode & 022 && !(st.st_mode & S_ISVTX))
		return err_set(err, ERR_REJECTED, "others may write the socket's folder %s (mode %04o): chmod go-w %s", SHOW(folder),
		               st.st_mode & 07777u, SHOW(folder));
	return 0;
}

static int in_use(const char *path, struct err *err)
{
	err_set(err, ERR_SYSTEM, "an agent is already there at %s: ct-agent -k ends it", SHOW(path));
	err->sys_errno = EADDRINUSE;
	return -1;
}

/*
 * Takes the lock. The file may have been removed by its last holder between our open and our flock: a lock counts only on
 * the file that the path still names.
 */
static int take_lock(struct listener *l, struct err *err)
{
	struct stat st, now;

	for (;;) {
		l->lock = open(l->lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
		if (l->lock < 0 || fstat(l->lock, &st) < 0)
			return err_sys(err, errno, "%s", SHOW(l->lock_path));
		if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0))
			return err_set(err, ERR_REJECTED, "%s is not a lock file of yours: remove it, or choose another socket with -s",
			               SHOW(l->lock_path));
		if (flock(l->lock, LOCK_EX | LOCK_NB) < 0)
			return errno == EWOULDBLOCK ? in_use(l->path, err) : err_sys(err, errno, "%s", SHOW(l->lock_path));
		if (lstat(l->lock_path, &now) == 0 && now.st_dev == st.st_dev && now.st_ino == st.st_ino)
			return 0;
		close(l->lock);
	}
}

/* Removes what a dead agent left. Call it with the lock held. */
static int clear_stale(const struct sockaddr_un *sun, struct err *err)
{
	struct stat st;
	int fd, r;

	if (lstat(sun->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "%s", SHOW(sun->sun_path));
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_REJECTED, "%s is there and is no socket: choose another with -s", SHOW(sun->sun_path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(err, errno, "socket");
	r = connect(fd, (const struct sockaddr *)sun, sizeof *sun) == 0 ? 0 : errno;
	close(fd);
	if (r == 0 || r == EAGAIN) /* somebody who knows nothing of our lock */
		return in_use(sun->sun_path, err);
	if (unlink(sun->sun_path) < 0 && errno != ENOENT)
		return err_sys(err, errno, "%s", SHOW(sun->sun_path));
	return 0;
}

static int bind_and_listen(struct listener *l, bool others, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct stat st;
	mode_t mask;
	int r;

	memcpy(sun.sun_path, l->path, sizeof l->path);
	if (clear_stale(&sun, err))
		return -1;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return err_sys(err, errno, "socket");
	mask = umask(0177); /* 0600 from the first moment */
	r = bind(l->fd, (const struct sockaddr *)&sun, sizeof sun);
	umask(mask);
	if (r < 0 || lstat(l->path, &st) < 0)
		return err_sys(err, errno, "%s", SHOW(l->path));
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (listen(l->fd, BACKLOG) < 0 || (others && chmod(l->path, 0666) < 0))
		return err_sys(err, errno, "%s", SHOW(l->path));
	return 0;
}

int listener_open(struct listener *l, const char *path, bool others, struct err *err)
{
	memset(l, 0, sizeof *l);
	l->fd = l->lock = -1;
	snprintf(l->path, sizeof l->path, "%s", path);
	snprintf(l->lock_path, sizeof l->lock_path, "%s.lock", path);
	if (check_folder(path, err))
		return -1;
	if (take_lock(l, err)) {
		if (l->lock >= 0)
			close(l->lock);
		return -1;
	}
	if (bind_and_listen(l, others, err)) {
		listener_remove(l);
		listener_close(l);
		return -1;
	}
	return 0;
}

int listener_passed(char out[LISTENER_PATH_MAX], int fd, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof sun, one = sizeof(int);
	int type = 0, listens = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &one) < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &one) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sun, &len) < 0)
		return err_sys(err, errno, "the socket that was passed on");
	if (sun.sun_family != AF_UNIX || type != SOCK_STREAM || !listens || len <= offsetof(struct sockaddr_un, sun_path) || sun.sun_path[0] != '/' ||
	    len > sizeof sun)
		return err_set(err, ERR_REJECTED, "the socket that was passed on is no listening stream socket of a path (ListenStream=/…)");
	len -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
	memcpy(out, sun.sun_path, len);
	out[len < LISTENER_PATH_MAX ? len : LISTENER_PATH_MAX - 1] = '\0';
	return check_folder(out, err);
}

int listener_adopt(struct listener *l, int fd, const char *path, struct err *err)
{
	memset(l, 0, sizeof *l);
	l->fd = fd;
	l->lock = -1;
	l->adopted = true;
	snprintf(l->path, sizeof l->path, "%s", path);
	/* Once more: whom clients see behind it is now us. */
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || listen(fd, BACKLOG) < 0)
		return err_sys(err, errno, "the socket that was passed on");
	return 0;
}

static bool is_there(const struct listener *l)
{
	struct stat st;

	return l->ino && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

int listener_admit(const struct listener *l, bool others, struct err *err)
{
	if (!l->adopted && is_there(l) && chmod(l->path, others ? 0666 : 0600) < 0)
		return err_sys(err, errno, "%s", SHOW(l->path));
	return 0;
}

void listener_remove(const struct listener *l)
{
	if (is_there(l))
		unlink(l->path);
	if (l->lock >= 0)
		unlink(l->lock_path); /* while it is held: take_lock() notices */
}

void listener_close(struct listener *l)
{
	if (l->fd >= 0)
		close(l->fd);
	if (l->lock >= 0)
		close(l->lock);
	l->fd = l->lock = -1;
}
