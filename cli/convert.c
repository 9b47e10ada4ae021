#include "convert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "files.h"
#include "model.h"
#include "progress.h"
#include "same.h"
#include "steady.h"
#include "text.h"

#define DEPTH_MAX 64      /* nested folders: also what ends a loop of links */
#define LINKS_MAX 40      /* on the way of one link: the kernel's own limit */
#define COPY_STEP 1048576u

struct walk {
	const struct convert *c;
	const char *in;      /* as the user named it: what all paths of the walk begin with */
	char root[PATH_MAX]; /* the same, resolved */
	char out_root[PATH_MAX];
	bool surveying;      /* nothing is written yet */
	struct err *err;
	char failed[PATH_MAX]; /* which file *err is about */
	size_t models, copied, skipped; /* written; skipped: of both kinds */
	bool any_model;
};

/* The first to tell knows best. */
static int fail_at(struct walk *w, const char *path)
{
	if (!w->failed[0])
		snprintf(w->failed, sizeof w->failed, "%s", path);
	return -1;
}

static mode_t mode_for(const struct convert *c, bool model, const struct stat *in)
{
	/* What comes out in the clear is for its owner alone. */
	return !model ? in->st_mode & 0777 : (c->encrypting ? in->st_mode & 0777 : in->st_mode & 0700) | 0600;
}

static bool is_full(int errnum)
{
	return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG;
}

/* The error is said of the input: so its text names the output that it is about. */
static int of_output(const char *out, struct err *err)
{
	char text[sizeof err->text];

	memcpy(text, err->text, sizeof text);
	snprintf(err->text, sizeof err->text, "the output %.200s %.240s", TEXT(out, strlen(out)), text);
	return -1;
}

static int convert_model(const struct convert *c, const char *in, const char *out, struct err *err)
{
	struct progress bar;
	struct stat before;
	struct out o;
	int ret;

	if (steady_begin(in, &before, err) < 0)
		return -1;
	if (out_open(&o, out, mode_for(c, true, &before), c->force, &before, err) < 0)
		return of_output(out, err);
	progress_start(&bar, in);
	ret = c->model(c, in, &o, &bar.counters, err);
	progress_stop(&bar);
	if (ret == 0)
		ret = steady_end(in, &before, err);
	if (ret < 0) {
		out_abort(&o);
		if (err->code == ERR_SYSTEM && is_full(err->sys_errno))
			err_sys(err, err->sys_errno, "the output %s cannot be written whole", TEXT(out, strlen(out)));
		return -1;
	}
	return out_commit(&o, err) < 0 ? of_output(out, err) : 0;
}

static int copy_bytes(int from, int to, struct err *err)
{
	char *buf = malloc(COPY_STEP);
	int ret = -1;

	if (!buf)
		return err_sys(err, ENOMEM, "a buffer");
	for (;;) {
		ssize_t n = read(from, buf, COPY_STEP), done = 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_sys(err, errno, "cannot be read");
			goto out;
		}
		if (n == 0)
			break;
		while (done < n) {
			ssize_t m = write(to, buf + done, (size_t)(n - done));
			if (m < 0 && errno == EINTR)
				continue;
			if (m < 0) {
				err_sys(err, errno, "its copy cannot be written whole");
				goto out;
			}
			done += m;
		}
	}
	ret = 0;
out:
	free(buf);
	return ret;
}

static int take_times(int fd, const struct stat *in, struct err *err)
{
	const struct timespec times[2] = { in->st_atim, in->st_mtim };

	return futimens(fd, times) < 0 ? err_sys(err, errno, "its copy cannot take its time") : 0;
}

/* A download may have ended since the walk looked at it: the copy would be a model in the clear. */
static int is_no_model_yet(const char *in, struct err *err)
{
	enum model_kind kind;

	if (model_kind(in, &kind, err) < 0)
		return -1;
	return kind == MODEL_NONE ? 0 : cli_err(err, EBUSY, "became a model meanwhile: try again when nobody writes it");
}

static int copy_file(const struct convert *c, const char *in, const char *out, struct err *err)
{
	struct stat before;
	struct out o;
	int ret = -1;

	if (steady_begin(in, &before, err) < 0 || (c->encrypting && is_no_model_yet(in, err) < 0))
		return -1;
	int fd = open(in, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return err_sys(err, errno, "cannot be opened");
	if (out_open(&o, out, mode_for(c, false, &before), c->force, &before, err) < 0) {
		of_output(out, err);
		goto out;
	}
	ret = copy_bytes(fd, o.fd, err);
	if (ret == 0)
		ret = steady_end(in, &before, err);
	if (ret == 0)
		ret = take_times(o.fd, &before, err);
	if (ret < 0)
		out_abort(&o);
	else if (out_commit(&o, err) < 0)
		ret = of_output(out, err);
out:
	close(fd);
	return ret;
}

/* Mode and time of an output that is complete, as if it had been written now. */
static int touch_up(const struct convert *c, const char *out, bool model, const struct stat *in, struct err *err)
{
	int fd = open(out, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW), ret = -1;
	mode_t mode = mode_for(c, model, in);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		err_sys(err, errno, "cannot be opened");
	else if ((st.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
		err_sys(err, errno, "cannot take the mode of the original");
	else
		ret = model ? 0 : take_times(fd, in, err);
	if (fd >= 0)
		close(fd);
	return ret;
}

/* 1: the output is there and complete, 0: it is to be written, -1: it is in the way, or cannot be told. */
static int is_complete(struct walk *w, const char *in, const char *out, bool model)
{
	const struct convert *c = w->c;
	struct progress bar;
	struct stat before, there;
	int ret;

	if (c->force)
		return 0;
	if (lstat(out, &there) < 0 && errno == ENOENT)
		return 0;
	if (steady_begin(in, &before, w->err) < 0)
		return -1;
	if (out_check(out, &before, w->err) < 0)
		return fail_at(w, out);
	if (!S_ISREG(there.st_mode) || (model && !c->same)) {
		cli_err(w->err, EEXIST, "exists already%s: use --force to replace it", S_ISLNK(there.st_mode) ? ", as a link" : "");
		return fail_at(w, out);
	}
	progress_start(&bar, out);
	ret = model ? c->same(c, in, out, &bar.counters, w->err) : same_copied(in, out, w->err);
	progress_stop(&bar);
	if (ret < 0)
		return err_errno(w->err) == EEXIST ? fail_at(w, out) : -1;
	if (steady_end(in, &before, w->err) < 0)
		return -1;
	return touch_up(c, out, model, &before, w->err) < 0 ? fail_at(w, out) : 1;
}

static bool is_inside(const char *path, const char *root)
{
	size_t n = strlen(root);

	return strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0' || strcmp(root, "/") == 0);
}

/*
 * Does the link whose way from the root is `link` lead, without ever leaving the root, to where the kernel says? The way is gone
 * as it will be gone in the output, where a link that was followed is a folder of its own. No for whatever is too long.
 */
static bool stays_inside(const struct walk *w, const char *link)
{
	char at[PATH_MAX], todo[PATH_MAX], full[PATH_MAX], target[PATH_MAX];
	struct stat st, ours, kernels;
	int links = 0;

	if (snprintf(todo, sizeof todo, "%s", link) >= (int)sizeof todo || snprintf(full, sizeof full, "%s/%s", w->in, link) >= (int)sizeof full)
		return false;
	if (stat(full, &kernels) < 0)
		return false;
	/* The folders above the link are folders in the output, even those that are links here. */
	char *name = strrchr(todo, '/');
	size_t len = name ? (size_t)(name - todo) : 0;
	memcpy(at, todo, len);
	at[len] = '\0';
	if (name)
		memmove(todo, name + 1, strlen(name + 1) + 1);

	while (todo[0]) {
		size_t n = strcspn(todo, "/"), skip = n + strspn(todo + n, "/"), before = len;
		bool up = n == 2 && memcmp(todo, "..", 2) == 0, stay = n == 0 || (n == 1 && todo[0] == '.');
		if (up) {
			if (len == 0)
				return false;
			char *slash = strrchr(at, '/');
			len = slash ? (size_t)(slash - at) : 0;
		} else if (!stay) {
			if (len + 1 + n >= sizeof at)
				return false;
			if (len > 0)
				at[len++] = '/';
			memcpy(at + len, todo, n);
			len += n;
		}
		at[len] = '\0';
		memmove(todo, todo + skip, strlen(todo + skip) + 1);
		if (up || stay)
			continue;
		if (snprintf(full, sizeof full, "%s/%s", w->in, at) >= (int)sizeof full || lstat(full, &st) < 0)
			return false;
		if (!S_ISLNK(st.st_mode))
			continue;
		ssize_t got = readlink(full, target, sizeof target - 1);
		size_t rest = strlen(todo);
		if (got <= 0 || target[0] == '/' || ++links > LINKS_MAX || (size_t)got + 1 + rest >= sizeof todo)
			return false;
		memmove(todo + got + 1, todo, rest + 1);
		memcpy(todo, target, (size_t)got);
		todo[got] = '/';
		len = before;
		at[len] = '\0';
	}
	return snprintf(full, sizeof full, "%s/%s", w->in, at) < (int)sizeof full && stat(full, &ours) == 0 &&
	       ours.st_dev == kernels.st_dev && ours.st_ino == kernels.st_ino;
}

/* What a link leads to is input: an output must not take its place before it is read, nor be read as input. */
static int check_followed(const struct walk *w, const char *in, bool folder)
{
	char real[PATH_MAX];

	if (!realpath(in, real))
		return err_sys(w->err, errno, "cannot be opened");
	if (is_inside(real, w->out_root) || (folder && is_inside(w->out_root, real)))
		return cli_err(w->err, EINVAL, "is a link into the output folder: name another output");
	return 0;
}

/* 1: the link was kept as a link, 0: it is to be followed, -1: failure. */
static int keep_link(struct walk *w, const char *in, const char *out)
{
	char target[PATH_MAX], there[PATH_MAX];
	struct stat st;
	ssize_t n = readlink(in, target, sizeof target - 1);

	if (n < 0)
		return err_sys(w->err, errno, "its link cannot be read");
	target[n] = '\0';
	if (stat(in, &st) < 0)
		return err_sys(w->err, errno, "is a link that leads nowhere: mend or remove it");
	if (!stays_inside(w, in + strlen(w->in) + 1))
		return check_followed(w, in, S_ISDIR(st.st_mode));
	if (w->surveying)
		return 1;
	if (w->c->force && unlink(out) < 0 && errno != ENOENT)
		return err_sys(w->err, errno, "its copy cannot be replaced");
	if (symlink(target, out) == 0)
		return 1;
	if (errno != EEXIST)
		return err_sys(w->err, errno, "its link cannot be copied");
	n = readlink(out, there, sizeof there - 1);
	if (n >= 0 && (size_t)n == strlen(target) && memcmp(there, target, (size_t)n) == 0)
		return 1;
	cli_err(w->err, EEXIST, "exists already and is not the link that would be made: use --force to replace it");
	return fail_at(w, out);
}

/* Seen in the survey already, so that a folder that is another's is not begun to be written into. */
static int check_copy(struct walk *w, const char *in, const char *out)
{
	struct stat a, b;

	if (w->c->force || stat(in, &a) < 0 || lstat(out, &b) < 0 || (S_ISREG(b.st_mode) && a.st_size == b.st_size))
		return 0;
	cli_err(w->err, EEXIST, "exists already and is not what would be written: it has %lld bytes, not %lld; use --force to replace it",
	        (long long)b.st_size, (long long)a.st_size);
	return fail_at(w, out);
}

static int walk_file(struct walk *w, const char *in, const char *out)
{
	enum model_kind kind;
	bool model = files_is_model_name(in);

	if (model_kind(in, &kind, w->err) < 0)
		return -1;
	if (kind == MODEL_BROKEN && w->c->encrypting) {
		char text[sizeof w->err->text];
		memcpy(text, w->err->text, sizeof text);
		snprintf(w->err->text, sizeof w->err->text, "looks like a model but cannot be read: %.400s; repair or move it away", text);
		return -1;
	}
	/* A model hides under other names as well (blobs of a hub cache, backups): it must not be copied in the clear. */
	model = model || kind == MODEL_PLAIN || kind == MODEL_ENCRYPTED;
	if (!w->c->encrypting && kind == MODEL_PLAIN)
		model = false;
	w->any_model = w->any_model || model;
	if (w->surveying && !model)
		return check_copy(w, in, out);
	if (w->surveying)
		return w->c->survey ? w->c->survey(w->c, in, w->err) : 0;
	int complete = is_complete(w, in, out, model);
	if (complete < 0)
		return -1;
	*(complete ? &w->skipped : model ? &w->models : &w->copied) += 1;
	if (complete)
		return 0;
	return (model ? convert_model : copy_file)(w->c, in, out, w->err);
}

static int walk_folder(struct walk *w, const char *in, const char *out, int depth);

static int walk_entry(struct walk *w, const char *in, const char *out, int depth)
{
	const char *slash = strrchr(in, '/');
	struct stat st;

	if (lstat(in, &st) < 0) {
		err_sys(w->err, errno, "cannot be looked at");
		return fail_at(w, in);
	}
	if (out_is_temporary(slash ? slash + 1 : in)) {
		cli_err(w->err, EINVAL, "has the name of a temporary file of ct: if no run of ct is writing it, remove or rename it");
		return fail_at(w, in);
	}
	if (S_ISLNK(st.st_mode)) {
		int kept = keep_link(w, in, out);
		if (kept != 0)
			return kept < 0 ? fail_at(w, in) : 0;
		if (stat(in, &st) < 0) {
			err_sys(w->err, errno, "cannot be looked at");
			return fail_at(w, in);
		}
	}
	if (S_ISDIR(st.st_mode))
		return walk_folder(w, in, out, depth + 1);
	if (!S_ISREG(st.st_mode)) {
		cli_err(w->err, EINVAL, "is neither file nor folder nor link: move it elsewhere");
		return fail_at(w, in);
	}
	return walk_file(w, in, out) < 0 ? fail_at(w, in) : 0;
}

static int not_dots(const struct dirent *d)
{
	return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

/*
 * *made: it was not there. A link in the output would lead what is written below it elsewhere; OUT itself may be one. It has its mode from
 * the start: a later run would not know that it may set it.
 */
static int make_folder(const char *out, mode_t mode, bool outermost, bool *made, struct err *err)
{
	mode_t mask = umask(0); /* no thread of ours makes files meanwhile */
	struct stat st;

	*made = mkdir(out, mode) == 0;
	umask(mask);
	if (*made) /* a default ACL may have taken some of it */
		return chmod(out, mode) < 0 ? err_sys(err, errno, "cannot take the mode of the original") : 0;
	if (errno != EEXIST)
		return err_sys(err, errno, "cannot be made");
	if ((outermost ? stat(out, &st) : lstat(out, &st)) < 0)
		return err_sys(err, errno, "cannot be used");
	if (!S_ISDIR(st.st_mode))
		return cli_err(err, ENOTDIR, "is in the way of a folder: it is %s; move it away",
		               S_ISLNK(st.st_mode) ? "a link, which is not followed" : "not a folder");
	return 0;
}

static int walk_folder(struct walk *w, const char *in, const char *out, int depth)
{
	struct dirent **names = NULL;
	struct stat st;
	bool made = false;
	int n, ret = -1;

	if (depth > DEPTH_MAX) {
		cli_err(w->err, ELOOP, "lies in more than %d folders, or a link leads back to a folder above", DEPTH_MAX);
		return fail_at(w, in);
	}
	n = scandir(in, &names, not_dots, alphasort);
	if (n < 0 || stat(in, &st) < 0) {
		err_sys(w->err, errno, "cannot be looked at");
		fail_at(w, in);
		goto out;
	}
	if (!w->surveying) {
		if (make_folder(out, (st.st_mode & 0777) | 0700, depth == 0, &made, w->err) < 0) {
			fail_at(w, out);
			goto out;
		}
		out_sweep(out);
	}
	for (int i = 0; i < n; i++) {
		char from[PATH_MAX], to[PATH_MAX];
		if (snprintf(from, sizeof from, "%s/%s", in, names[i]->d_name) >= (int)sizeof from ||
		    snprintf(to, sizeof to, "%s/%s", out, names[i]->d_name) >= (int)sizeof to) {
			err_sys(w->err, ENAMETOOLONG, "holds too long a name");
			fail_at(w, in);
			goto out;
		}
		if (walk_entry(w, from, to, depth) < 0)
			goto out;
	}
	const struct timespec times[2] = { st.st_atim, st.st_mtim };
	if (made && (chmod(out, st.st_mode & 0777) < 0 || utimensat(AT_FDCWD, out, times, 0) < 0)) {
		err_sys(w->err, errno, "cannot take the mode and time of the original");
		fail_at(w, out);
		goto out;
	}
	ret = 0;
out:
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return ret;
}

/* The absolute path of what may not exist yet. */
static int resolve_new(const char *path, char real[PATH_MAX], struct err *err)
{
	char copy[PATH_MAX], parent[PATH_MAX];
	size_t len = strlen(path);

	if (realpath(path, real))
		return 0;
	if (errno != ENOENT || len >= sizeof copy)
		return err_sys(err, len >= sizeof copy ? ENAMETOOLONG : errno, "cannot be used");
	memcpy(copy, path, len + 1);
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	char *slash = strrchr(copy, '/'), *name = slash ? slash + 1 : copy;
	if (slash)
		*slash = '\0';
	if (!realpath(!slash ? "." : slash == copy ? "/" : copy, parent))
		return err_sys(err, errno, "cannot be made");
	if (snprintf(real, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) >= PATH_MAX)
		return err_sys(err, ENAMETOOLONG, "cannot be used");
	return 0;
}

/* A folder that holds nothing of the input was not begun by an earlier run: what is in it was meant for something else. */
static int check_begun(const char *in, const char *out, struct err *err)
{
	struct dirent **names = NULL;
	bool any = false, ours = false;
	char path[PATH_MAX];
	struct stat st;
	int n = scandir(out, &names, not_dots, NULL);

	for (int i = 0; i < n; i++) {
		if (!out_is_temporary(names[i]->d_name)) {
			any = true;
			ours = ours || (snprintf(path, sizeof path, "%s/%s", in, names[i]->d_name) < (int)sizeof path && lstat(path, &st) == 0);
		}
		free(names[i]);
	}
	free(names);
	if (n < 0)
		return err_sys(err, errno, "cannot be used");
	if (any && !ours)
		return cli_err(err, ENOTEMPTY, "exists and is not empty, and holds nothing of the input: use --force to write into it all the same");
	return 0;
}

static int check_target_folder(struct walk *w, const char *out)
{
	struct stat st;

	if (resolve_new(out, w->out_root, w->err) < 0)
		return -1;
	if (is_inside(w->out_root, w->root) || is_inside(w->root, w->out_root))
		return cli_err(w->err, EINVAL, "input and output folder lie within one another: name another output");
	if (stat(out, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(w->err, errno, "cannot be used");
	if (!S_ISDIR(st.st_mode))
		return cli_err(w->err, ENOTDIR, "is a file, and the input a folder: name a folder");
	return w->c->force ? 0 : check_begun(w->in, out, w->err);
}

static void say_done(const struct walk *w, const char *out)
{
	char skipped[64] = "";

	if (w->skipped > 0)
		snprintf(skipped, sizeof skipped, ", %zu skipped: complete already", w->skipped);
	cli_say("%s: %zu model%s %s, %zu other file%s copied%s", TEXT(out, strlen(out)), w->models, w->models == 1 ? "" : "s",
	        w->c->encrypting ? "encrypted" : "decrypted", w->copied, w->copied == 1 ? "" : "s", skipped);
}

static int convert_folder(const struct convert *c, const char *in, const char *out)
{
	struct err err = { 0 };
	struct walk w = { .c = c, .in = in, .surveying = true, .err = &err };

	if (!realpath(in, w.root)) {
		err_sys(&err, errno, "cannot be opened");
		return cli_failed(in, &err);
	}
	if (check_target_folder(&w, out) < 0)
		return cli_failed(out, &err);
	if (walk_folder(&w, in, out, 0) < 0)
		return cli_failed(w.failed, &err);
	w.surveying = false;
	if (c->surveyed && c->surveyed(c, &err) < 0)
		return cli_failed(in, &err);
	if (walk_folder(&w, in, out, 0) < 0)
		return cli_failed(w.failed, &err);
	if (!w.any_model) {
		cli_err(&err, ENOENT, "holds no model to %s: all %zu files were copied as they are", c->encrypting ? "encrypt" : "decrypt",
		        w.copied + w.skipped);
		return cli_failed(in, &err);
	}
	say_done(&w, out);
	return CLI_OK;
}

int convert_run(const struct convert *c, const char *in, const char *out)
{
	struct err err = { 0 };
	struct stat st;

	if (stat(in, &st) < 0) {
		err_sys(&err, errno, "cannot be opened");
		return cli_failed(in, &err);
	}
	if (S_ISDIR(st.st_mode))
		return convert_folder(c, in, out);
	if (!S_ISREG(st.st_mode)) {
		cli_err(&err, EINVAL, "is neither a regular file nor a folder");
		return cli_failed(in, &err);
	}
	if ((c->survey && c->survey(c, in, &err) < 0) || (c->surveyed && c->surveyed(c, &err) < 0))
		return cli_failed(in, &err);
	return convert_model(c, in, out, &err) < 0 ? cli_failed(in, &err) : CLI_OK;
}
