#include "out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cli.h"
#include "text.h"

#define NAME_KEPT 200 /* bytes of the final name in the temporary one, which may have 255 */
#define MARK ".ct-tmp-" /* between that and six characters of mkostemp(): no name that a person gives (.notes.ct-backup) */
#define RANDOM 6
#define TRIES 100     /* to make a temporary file that no other run sweeps before its lock is held */

/* Paths of temporary files, for the signal handler: a slot is in use while its first byte is not NUL. */
static char slots[OUT_MAX][PATH_MAX];

/* Files that no output may replace. */
static struct stat kept[OUT_KEEP_MAX];
static size_t kept_count;

static void on_signal(int sig)
{
	for (int i = 0; i < OUT_MAX; i++)
		if (slots[i][0])
			unlink(slots[i]);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void block(sigset_t *saved)
{
	sigset_t set;

	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, saved);
}

/* Whether a process that does nothing about sig is ended by it, and may do something. */
static bool ends_process(int sig)
{
	static const int others[] = { SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH, SIGKILL };

	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		if (sig == others[i])
			return false;
	return true;
}

static void catch_signals(void)
{
	static bool done;
	struct sigaction act = { .sa_handler = on_signal }, old;

	if (done)
		return;
	done = true;
	sigfillset(&act.sa_mask);
	/* A limit on the size of files is an error (EFBIG) like a full disk. */
	signal(SIGXFSZ, SIG_IGN);
	/* What the caller has ignored stays so; glibc refuses those that it needs itself. */
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		if (ends_process(sig) && sigaction(sig, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(sig, &act, NULL);
}

static bool same_inode(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

void out_keep(const struct stat *st)
{
	if (kept_count < OUT_KEEP_MAX)
		kept[kept_count++] = *st;
}

void out_keep_path(const char *path)
{
	struct stat st;

	if (path && stat(path, &st) == 0)
		out_keep(&st);
}

/* The folder that path lies in, and the name in it. */
static bool split(const char *path, char folder[PATH_MAX], const char **name)
{
	const char *slash = strrchr(path, '/');
	int n = slash ? snprintf(folder, PATH_MAX, "%.*s/", (int)(slash - path), path) : snprintf(folder, PATH_MAX, ".");

	*name = slash ? slash + 1 : path;
	return n >= 0 && n < PATH_MAX;
}

bool out_same(const char *a, const char *b)
{
	char fa[PATH_MAX], fb[PATH_MAX];
	struct stat sa, sb;
	const char *na, *nb;

	if (strcmp(a, b) == 0)
		return true;
	if (stat(a, &sa) == 0 && stat(b, &sb) == 0)
		return same_inode(&sa, &sb);
	return split(a, fa, &na) && split(b, fb, &nb) && strcmp(na, nb) == 0 && stat(fa, &sa) == 0 && stat(fb, &sb) == 0 &&
	       same_inode(&sa, &sb);
}

bool out_is_temporary(const char *name)
{
	size_t len = strlen(name), end = RANDOM + strlen(MARK);

	if (name[0] != '.' || len < end + 2 || memcmp(name + len - end, MARK, strlen(MARK)) != 0)
		return false;
	for (const char *p = name + len - RANDOM; *p; p++)
		if (!((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')))
			return false;
	return true;
}

/* Removes the temporary file unless somebody writes it. Whoever holds its lock decides, so nothing else can take its name meanwhile. */
static bool remove_dead(int folder, const char *name)
{
	struct stat st, now;
	bool removed = false;

	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return false;
	const int how = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd = openat(folder, name, O_RDWR | how); /* NFS locks for who may write alone */
	if (fd < 0 && errno == EACCES)
		fd = openat(folder, name, O_RDONLY | how); /* it has the mode of its original */
	if (fd < 0)
		return false;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    fstatat(folder, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && same_inode(&st, &now))
		removed = unlinkat(folder, name, 0) == 0;
	close(fd);
	return removed;
}

void out_sweep(const char *folder)
{
	static struct stat last; /* the folder before: most outputs of a run lie in the same */
	struct stat st;
	DIR *dir = opendir(folder);

	if (!dir)
		return;
	if (fstat(dirfd(dir), &st) == 0 && !same_inode(&st, &last)) {
		last = st;
		for (const struct dirent *d; (d = readdir(dir)) != NULL;)
			if (out_is_temporary(d->d_name) && remove_dead(dirfd(dir), d->d_name))
				cli_say("%s: removed: a run that was killed left it", TEXT(d->d_name, strlen(d->d_name)));
	}
	closedir(dir);
}

int out_check(const char *path, const struct stat *input, struct err *err)
{
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (out_is_temporary(slash ? slash + 1 : path))
		return cli_err(err, EINVAL, "has a name that ct gives to temporary files, and would be removed as one: choose another");
	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "cannot be written");
	if (input && same_inode(&st, input))
		return cli_err(err, EINVAL, "is the input itself: name another output");
	for (size_t i = 0; i < kept_count; i++)
		if (same_inode(&st, &kept[i]))
			return cli_err(err, EINVAL, "is in use by this very command (keys or policy): name another output");
	if (S_ISDIR(st.st_mode))
		return cli_err(err, EISDIR, "is a folder: name a file");
	if (!S_ISREG(st.st_mode))
		return cli_err(err, EINVAL, "is not a regular file: name another output");
	return 1;
}

/* Takes the new file's lock. No: another run swept it before, or is about to. */
static bool hold(int fd, const char *tmp)
{
	struct stat st, now;

	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno != EWOULDBLOCK; /* no locks here: then nobody else can take this one */
	return fstat(fd, &st) == 0 && lstat(tmp, &now) == 0 && same_inode(&st, &now);
}

/* The descriptor of a new temporary file for path, whose name comes into tmp; -1 with errno. */
static int make_temporary(const char *path, const char *name, char tmp[PATH_MAX])
{
	for (int i = 0; i < TRIES; i++) {
		int n = snprintf(tmp, PATH_MAX, "%.*s.%.*s" MARK "XXXXXX", (int)(name - path), path, NAME_KEPT, name);
		if (n < 0 || n >= PATH_MAX) {
			errno = ENAMETOOLONG;
			return -1;
		}
		int fd = mkostemp(tmp, O_CLOEXEC);
		if (fd < 0 || hold(fd, tmp))
			return fd;
		close(fd);
	}
	errno = EAGAIN;
	return -1;
}

int out_open(struct out *o, const char *path, mode_t mode, bool force, const struct stat *input, struct err *err)
{
	char folder[PATH_MAX], tmp[PATH_MAX];
	const char *name;
	int slot = 0;
	sigset_t saved;

	*o = (struct out){ .fd = -1, .slot = -1, .force = force, .path = path };
	if (split(path, folder, &name))
		out_sweep(folder);
	if (!*name)
		return cli_err(err, EISDIR, "names a folder: name a file");
	int there = out_check(path, input, err);
	if (there < 0)
		return -1;
	if (there && !force)
		return cli_err(err, EEXIST, "exists already: use --force to replace it");
	while (slot < OUT_MAX && slots[slot][0])
		slot++;
	if (slot == OUT_MAX)
		return cli_err(err, EMFILE, "too many outputs at once");
	catch_signals();
	/* A signal must not come between the file's creation and its name in the slot. */
	block(&saved);
	o->fd = make_temporary(path, name, tmp);
	int errnum = errno;
	if (o->fd >= 0) {
		strcpy(slots[slot], tmp);
		o->slot = slot;
	}
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (o->fd < 0)
		return err_sys(err, errnum, "cannot be made");
	if (fchmod(o->fd, mode) < 0) {
		err_sys(err, errno, "cannot set its mode");
		out_abort(o);
		return -1;
	}
	return 0;
}

static void sync_folder(const char *path)
{
	char folder[PATH_MAX];
	const char *name;

	if (!split(path, folder, &name))
		return;
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	fsync(fd); /* some file systems cannot: the rename is done all the same */
	close(fd);
}

/* Gives tmp the name path, which must be free: also where the file system cannot rename so. */
static int rename_new(const char *tmp, const char *path)
{
	if (renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (link(tmp, path) == 0) {
		unlink(tmp);
		return 0;
	}
	if (errno != EPERM && errno != ENOSYS && errno != EOPNOTSUPP)
		return -1;
	/* No hard links either: the name is claimed first, so that what is replaced is our own. */
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	close(fd);
	if (rename(tmp, path) == 0)
		return 0;
	int errnum = errno;
	unlink(path);
	errno = errnum;
	return -1;
}

int out_sync(struct out *o, struct err *err)
{
	return fsync(o->fd) < 0 ? err_sys(err, errno, "cannot be brought to disk") : 0;
}

int out_commit(struct out *o, struct err *err)
{
	sigset_t saved;
	int ret;

	if (out_sync(o, err) < 0) {
		out_abort(o);
		return -1;
	}
	block(&saved);
	ret = o->force ? rename(slots[o->slot], o->path) : rename_new(slots[o->slot], o->path);
	int errnum = errno;
	if (ret == 0)
		slots[o->slot][0] = '\0';
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (ret < 0) {
		err_sys(err, errnum, "cannot take its final name");
		out_abort(o);
		return -1;
	}
	/* Not earlier: the lock goes with it. fsync() has told of what went wrong. */
	close(o->fd);
	o->fd = o->slot = -1;
	sync_folder(o->path);
	return 0;
}

void out_abort(struct out *o)
{
	if (o->slot >= 0) {
		unlink(slots[o->slot]);
		slots[o->slot][0] = '\0';
	}
	if (o->fd >= 0)
		close(o->fd);
	o->fd = o->slot = -1;
}
