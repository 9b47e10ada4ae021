#include "rewrap_files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "files.h"
#include "model.h"
#include "out.h"
#include "progress.h"
#include "publish.h"
#include "steady.h"
#include "text.h"
#include "unlock.h"

struct paths {
	char **all;
	size_t count;
};

struct rewrap {
	const struct rewrap_job *job;
	struct paths done;   /* resolved: a file that two links lead to is rewrapped once */
	struct paths inputs; /* resolved; with -o alone */
	bool short_of_memory;
	size_t rewrapped, cloned, skipped, failed;
};

/* Some set of keys opens the file: its data keys. NULL: *err. */
static struct secret *open_with(const struct jwk_set *set, const struct model *m, struct err *err)
{
	size_t which;

	if (unlock_verify(set, 1, file_header(m->file), file_crypto(m->file), &which, err) < 0)
		return NULL;
	return unlock_keys(set, file_crypto(m->file), err);
}

static bool has_policy(const struct model *m, const struct str *local)
{
	return !local || str_cmp(file_crypto(m->file)->local, *local) == 0;
}

/* 1: *r is the new header; 0: the file has the new keys already; -1. The policy is not asked: who holds both key files needs no leave. */
static int make_header(const struct rewrap *w, const struct model *m, struct writer_rewrapped *r, struct err *err)
{
	struct err why;
	int ret = -1;

	if (!m->encrypted)
		return err_set(err, ERR_PLAIN, "is a plain file, not encrypted: ct encrypt encrypts it");
	struct secret *deks = open_with(w->job->old, m, err);
	if (!deks) {
		/* A copy that is asked for and not made is a failure all the same. */
		deks = !w->job->output && has_policy(m, w->job->p.local) ? open_with(w->job->new, m, &why) : NULL;
		ret = deks ? 0 : -1;
	} else if (publish_key_fits(w->job->p.kek, file_crypto(m->file)->alg, &why) < 0) {
		cli_err(err, EINVAL, "cannot get the new keys: %.400s; make a set with ct keygen --alg %s", why.text, aead_alg_name(file_crypto(m->file)->alg));
	} else if (writer_rewrap_header(file_header(m->file), file_crypto(m->file), deks, &w->job->p, r, err) == 0) {
		ret = 1;
		if (file_set_keys(m->file, deks, err) == 0)
			deks = NULL; /* the file's now; that checked what can be checked at open */
		else
			ret = -1;
	}
	secret_free(deks);
	return ret;
}

/* Folders above `path`, from the byte `from` on. */
static int make_folders(char *path, size_t from, struct err *err)
{
	for (char *slash = strchr(path + from, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int failed = mkdir(path, 0777) < 0 && errno != EEXIST;
		*slash = '/';
		if (failed)
			return err_sys(err, errno, "the folder for its copy cannot be made");
	}
	return 0;
}

/* Where the new file goes. In place: where links lead, so that they stay links. */
static int target_of(const struct rewrap *w, const char *path, const char *rel, char target[PATH_MAX], struct err *err)
{
	if (!w->job->output)
		return realpath(path, target) ? 0 : err_sys(err, errno, "cannot be opened");
	if (snprintf(target, PATH_MAX, "%s/%s", w->job->output, rel) >= PATH_MAX)
		return err_sys(err, ENAMETOOLONG, "its copy");
	return w->job->dry ? 0 : make_folders(target, strlen(w->job->output), err);
}

/* Root may rewrap a user's file, who must be able to read it afterwards. */
static int keep_owner(const struct model *m, int fd, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && st.st_uid == m->st.st_uid && st.st_gid == m->st.st_gid)
		return 0;
	if (fchown(fd, m->st.st_uid, m->st.st_gid) == 0 && fchmod(fd, m->st.st_mode & 0777) == 0)
		return 0;
	return err_sys(err, errno, "cannot keep its owner: run this as the owner, or write a copy with -o DIR");
}

static int write_new(const struct rewrap *w, const struct model *m, const struct stat *st, const char *path, const char *target,
                     struct writer_rewrapped *r, bool *cloned, struct err *err)
{
	bool in_place = !w->job->output;
	struct progress bar;
	struct out out;

	if (out_open(&out, target, m->st.st_mode & 0777, in_place || w->job->force, in_place ? NULL : &m->st, err) < 0)
		return -1;
	int ret = in_place ? keep_owner(m, out.fd, err) : 0;
	if (ret == 0) {
		progress_start(&bar, path);
		ret = writer_rewrap(r, m->fd, out.fd, cloned, &bar.counters, err);
		progress_stop(&bar);
	}
	if (ret == 0)
		ret = out_sync(&out, err);
	if (ret == 0)
		ret = steady_end(path, st, err);
	if (ret == 0)
		return out_commit(&out, err);
	out_abort(&out);
	return -1;
}

/* What a dry run can know. */
static int would_write(const struct rewrap *w, const struct model *m, const char *target, struct err *err)
{
	int there = w->job->output ? out_check(target, &m->st, err) : 0;

	return there > 0 && !w->job->force ? cli_err(err, EEXIST, "its copy exists already: --force would replace it") : there < 0 ? -1 : 0;
}

static void say(const struct rewrap *w, const char *path, const char *target, const struct writer_rewrapped *r, bool skipped, bool cloned)
{
	struct buf b = BUF_INIT;

	if (!cli.json) {
		if (skipped)
			cli_say("%s: has the new keys already", TEXT(path, strlen(path)));
		else if (!cli.quiet)
			printf("%s: %s%s\n", TEXT(path, strlen(path)), w->job->dry ? "would be rewrapped" : cloned ? "rewrapped, cloned" : "rewrapped",
			       r->n == r->old_n ? "" : "; the header grows, so the data gets another offset");
		return;
	}
	buf_puts(&b, "{\"file\":");
	text_json(&b, path, strlen(path));
	buf_puts(&b, ",\"output\":");
	text_json(&b, target, strlen(target));
	buf_puts(&b, skipped ? ",\"ok\":true,\"skipped\":true" : ",\"ok\":true,\"skipped\":false");
	if (!skipped) {
		buf_puts(&b, w->job->dry ? ",\"dry_run\":true" : cloned ? ",\"dry_run\":false,\"cloned\":true" : ",\"dry_run\":false,\"cloned\":false");
		buf_puts(&b, ",\"header_size\":");
		buf_put_u64(&b, r->n);
		buf_puts(&b, ",\"old_header_size\":");
		buf_put_u64(&b, r->old_n);
	}
	buf_putc(&b, '}');
	cli_print(&b);
}

static int rewrap_open(struct rewrap *w, const struct model *m, const struct stat *st, const char *path, const char *target, struct err *err)
{
	struct writer_rewrapped r = { .text = BUF_INIT };
	bool cloned = false;
	int ret = make_header(w, m, &r, err);

	if (ret > 0 && (w->job->dry ? would_write(w, m, target, err) : write_new(w, m, st, path, target, &r, &cloned, err)) < 0)
		ret = -1;
	if (ret >= 0)
		say(w, path, target, &r, ret == 0, cloned);
	if (ret > 0 && !w->job->output && m->st.st_nlink > 1)
		cli_say("%s: has other names (hard links), which %s the old file", TEXT(path, strlen(path)), w->job->dry ? "would keep" : "keep");
	w->rewrapped += ret > 0;
	w->cloned += cloned;
	w->skipped += ret == 0;
	buf_release(&r.text);
	return ret < 0 ? -1 : 0;
}

static bool listed(const struct paths *l, const char *path)
{
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->all[i], path) == 0)
			return true;
	return false;
}

static int list(struct paths *l, const char *path, struct err *err)
{
	char **all = realloc(l->all, (l->count + 1) * sizeof *all), *copy = strdup(path);

	if (all)
		l->all = all;
	if (!all || !copy) {
		free(copy);
		return err_sys(err, ENOMEM, "the list of files");
	}
	l->all[l->count++] = copy;
	return 0;
}

static void paths_release(struct paths *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->all[i]);
	free(l->all);
}

/* Notes an input, before anything is written: no copy may take the place of one that is still to be read. */
static void note_input(void *arg, const char *path, const char *rel, const struct err *not_there)
{
	struct rewrap *w = arg;
	char real[PATH_MAX];
	struct err err;

	(void)rel;
	if (!not_there && realpath(path, real) && !listed(&w->inputs, real) && list(&w->inputs, real, &err) < 0)
		w->short_of_memory = true;
}

/* 1: a link led to this file before; 0: it is noted now. */
static int seen_before(struct rewrap *w, const char *target, struct err *err)
{
	char real[PATH_MAX];

	if (w->job->output && realpath(target, real) && listed(&w->inputs, real))
		return cli_err(err, EINVAL, "its copy would take the place of a file of this run: use another -o DIR");
	if (listed(&w->done, target))
		return w->job->output ? cli_err(err, EEXIST, "another file of this run has the same name: use another -o DIR for it") : 1;
	return list(&w->done, target, err);
}

static void rewrap_file(void *arg, const char *path, const char *rel, const struct err *not_there)
{
	struct rewrap *w = arg;
	char target[PATH_MAX];
	struct err err = { 0 };
	struct model m;
	struct stat st;
	int ret = -1;

	if (not_there)
		err = *not_there;
	else if (target_of(w, path, rel, target, &err) == 0)
		ret = seen_before(w, target, &err);
	if (ret > 0)
		return;
	if (ret == 0)
		ret = steady_begin(path, &st, &err);
	if (ret == 0)
		ret = model_open(&m, path, &err);
	if (ret == 0) {
		ret = rewrap_open(w, &m, &st, path, target, &err);
		model_close(&m);
	}
	if (ret < 0) {
		w->failed++;
		cli_failed(path, &err);
	}
}

static void summary(const struct rewrap *w)
{
	size_t files = w->rewrapped + w->skipped + w->failed;

	if (files > 1)
		cli_say("%zu files: %zu %s, %zu of them cloned; %zu had the new keys already; %zu failed%s", files, w->rewrapped,
		        w->job->dry ? "would be rewrapped" : "rewrapped", w->cloned, w->skipped, w->failed, w->failed ? " and are as they were" : "");
}

int rewrap_files(const struct rewrap_job *job, char **files, int count)
{
	struct rewrap w = { .job = job };
	int status = CLI_OK;
	struct err err;

	for (int i = 0; job->output && i < count; i++)
		files_each(files[i], note_input, &w);
	if (w.short_of_memory) {
		err_sys(&err, ENOMEM, "the list of files");
		status = cli_failed(NULL, &err);
	}
	for (int i = 0; status == CLI_OK && i < count; i++)
		files_each(files[i], rewrap_file, &w);
	if (status == CLI_OK) {
		summary(&w);
		status = w.failed ? CLI_FAILED : CLI_OK;
	}
	paths_release(&w.done);
	paths_release(&w.inputs);
	return status;
}
