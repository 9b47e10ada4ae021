#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "text.h"

#define NAME_KEPT 200 /* bytes of the final name in the temporary one, which may have 255 */

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

static int check_target(const char *path, bool force, const struct stat *input, struct err *err)
{
	struct stat st;

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
	if (!force)
		return cli_err(err, EEXIST, "exists already: use --force to replace it");
	return 0;
}

int out_open(struct out *o, const char *path, mode_t mode, bool force, const struct stat *input, struct err *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	int slot = 0;
	sigset_t saved;

	*o = (struct out){ .fd = -1, .slot = -1, .force = force, .path = path };
	if (!*name)
		return cli_err(err, EISDIR, "names a folder: name a file");
	if (check_target(path, force, input, err) < 0)
		return -1;
	while (slot < OUT_MAX && slots[slot][0])
		slot++;
	if (slot == OUT_MAX)
		return cli_err(err, EMFILE, "too many outputs at once");
	catch_signals();
	/* A signal must not come between the file's creation and its name in the slot. */
	block(&saved);
	char tmp[PATH_MAX];
	int n = snprintf(tmp, sizeof tmp, "%.*s.%.*s.ct-XXXXXX", (int)(name - path), path, NAME_KEPT, name);
	if (n < 0 || (size_t)n >= sizeof tmp)
		errno = ENAMETOOLONG;
	else
		o->fd = mkostemp(tmp, O_CLOEXEC);
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

int out_commit(struct out *o, struct err *err)
{
	sigset_t saved;
	int ret;

	if (fsync(o->fd) < 0) {
		err_sys(err, errno, "cannot be brought to disk");
		out_abort(o);
		return -1;
	}
	if (close(o->fd) < 0) {
		o->fd = -1;
		err_sys(err, errno, "cannot be written");
		out_abort(o);
		return -1;
	}
	o->fd = -1;
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
	o->slot = -1;
	sync_folder(o->path);
	return 0;
}

void out_abort(struct out *o)
{
	if (o->fd >= 0)
		close(o->fd);
	if (o->slot >= 0) {
		unlink(slots[o->slot]);
		slots[o->slot][0] = '\0';
	}
	o->fd = o->slot = -1;
}
