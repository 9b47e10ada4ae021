/* ct rewrap: new master key, signing key, policy for encrypted files; no byte of their data is touched. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "emit.h"
#include "files.h"
#include "keysource.h"
#include "model.h"
#include "out.h"
#include "policy.h"
#include "policy_text.h"
#include "progress.h"
#include "publish.h"
#include "steady.h"
#include "text.h"
#include "unlock.h"
#include "writer.h"

static const char HELP[] =
	"usage: ct rewrap --keys OLD --new-keys NEW [OPTIONS] FILE…\n"
	"\n"
	"Gives encrypted files a new master key, a new signature and, if asked, a new policy. Their data is not touched, only their header: where it fits\n"
	"in its old place (ct encrypt --header-reserve) and the file system can clone, that takes no time. Each file is the old or the new one, whole, at\n"
	"any moment; in place, a file that has the new keys already is skipped, so a run that was stopped can be repeated. A folder stands for all .safetensors\n"
	"files in it.\n"
	"\n"
	"  -k, --keys OLD           key set that opens the files now; their policy is not asked\n"
	"      --new-keys NEW       key set with the new master key and signing key\n"
	"      --policy FILE        Rego text of the new policy (default: the old one stays)\n"
	POLICY_TEXT_HELP
	"  -o, --output DIR         write copies there, under the same names, instead of replacing the files\n"
	"      --force              replace copies that exist\n"
	"      --header-reserve N   bytes left free where a header has to grow (default 4096; 0: none)\n"
	"  -n, --dry-run            change nothing, say what would be done\n"
	"  -q, --quiet              say nothing about good files, show no bar\n"
	"      --json               one JSON object a file\n"
	"      --help, --version\n";

struct options {
	const char *keys, *new_keys, *policy, *output;
	uint64_t reserve;
	bool force, dry;
	struct policy_text text;
};

struct paths {
	char **all;
	size_t count;
};

struct rewrap {
	const struct options *o;
	const struct jwk_set *old, *new; /* new: the two keys that files get, and no others of that set */
	struct writer_rewrap p;
	struct paths done;   /* resolved: a file that two links lead to is rewrapped once */
	struct paths inputs; /* resolved; with -o alone */
	bool short_of_memory;
	size_t rewrapped, cloned, skipped, failed;
};

static int parse_options(int argc, char **argv, struct options *o)
{
	enum { NEW = CLI_OWN, POLICY, RESERVE };
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "keys", required_argument, NULL, 'k' },
		{ "new-keys", required_argument, NULL, NEW },
		{ "policy", required_argument, NULL, POLICY },
		POLICY_TEXT_OPTIONS,
		{ "output", required_argument, NULL, 'o' },
		{ "header-reserve", required_argument, NULL, RESERVE },
		{ "dry-run", no_argument, NULL, 'n' },
		{ "force", no_argument, NULL, CLI_FORCE },
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	int opt, status;
	bool mine;

	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "k:o:n", LONG, NULL)) != -1) {
		switch (opt) {
		case 'k':
			o->keys = optarg;
			break;
		case NEW:
			o->new_keys = optarg;
			break;
		case POLICY:
			o->policy = optarg;
			break;
		case 'o':
			o->output = optarg;
			break;
		case 'n':
			o->dry = true;
			break;
		case RESERVE:
			if (!cli_number(optarg, 0, HEADER_MAX, true, &o->reserve))
				return cli_usage("--header-reserve takes bytes, at most %u", HEADER_MAX);
			break;
		case CLI_FORCE:
			o->force = true;
			break;
		default:
			status = policy_text_option(&o->text, opt, optarg, &mine);
			if (!mine)
				status = cli_option(opt, argv);
			if (status >= 0)
				return status;
		}
	}
	if (!o->keys || !o->new_keys)
		return cli_usage("--keys OLD and --new-keys NEW are needed");
	if (o->output && !*o->output)
		return cli_usage("-o takes a folder");
	if (o->force && !o->output)
		return cli_usage("--force goes with -o DIR: files in place are always replaced");
	if (optind == argc)
		return cli_usage("needs a file");
	return policy_text_check(&o->text, o->policy);
}

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
	struct secret *deks = open_with(w->old, m, err);
	if (!deks) {
		/* A copy that is asked for and not made is a failure all the same. */
		deks = !w->o->output && has_policy(m, w->p.local) ? open_with(w->new, m, &why) : NULL;
		ret = deks ? 0 : -1;
	} else if (publish_key_fits(w->p.kek, file_crypto(m->file)->alg, &why) < 0) {
		cli_err(err, EINVAL, "cannot get the new keys: %.400s; make a set with ct keygen --alg %s", why.text, aead_alg_name(file_crypto(m->file)->alg));
	} else if (writer_rewrap_header(file_header(m->file), file_crypto(m->file), deks, &w->p, r, err) == 0) {
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
	if (!w->o->output)
		return realpath(path, target) ? 0 : err_sys(err, errno, "cannot be opened");
	if (snprintf(target, PATH_MAX, "%s/%s", w->o->output, rel) >= PATH_MAX)
		return err_sys(err, ENAMETOOLONG, "its copy");
	return w->o->dry ? 0 : make_folders(target, strlen(w->o->output), err);
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
	bool in_place = !w->o->output;
	struct progress bar;
	struct out out;

	if (out_open(&out, target, m->st.st_mode & 0777, in_place || w->o->force, in_place ? NULL : &m->st, err) < 0)
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
	int there = w->o->output ? out_check(target, &m->st, err) : 0;

	return there > 0 && !w->o->force ? cli_err(err, EEXIST, "its copy exists already: --force would replace it") : there < 0 ? -1 : 0;
}

static void say(const struct rewrap *w, const char *path, const char *target, const struct writer_rewrapped *r, bool skipped, bool cloned)
{
	struct buf b = BUF_INIT;

	if (!cli.json) {
		if (skipped)
			cli_say("%s: has the new keys already", TEXT(path, strlen(path)));
		else if (!cli.quiet)
			printf("%s: %s%s\n", TEXT(path, strlen(path)), w->o->dry ? "would be rewrapped" : cloned ? "rewrapped, cloned" : "rewrapped",
			       r->n == r->old_n ? "" : "; the header grows, so the data gets another offset");
		return;
	}
	buf_puts(&b, "{\"file\":");
	text_json(&b, path, strlen(path));
	buf_puts(&b, ",\"output\":");
	text_json(&b, target, strlen(target));
	buf_puts(&b, skipped ? ",\"ok\":true,\"skipped\":true" : ",\"ok\":true,\"skipped\":false");
	if (!skipped) {
		buf_puts(&b, w->o->dry ? ",\"dry_run\":true" : cloned ? ",\"dry_run\":false,\"cloned\":true" : ",\"dry_run\":false,\"cloned\":false");
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

	if (ret > 0 && (w->o->dry ? would_write(w, m, target, err) : write_new(w, m, st, path, target, &r, &cloned, err)) < 0)
		ret = -1;
	if (ret >= 0)
		say(w, path, target, &r, ret == 0, cloned);
	if (ret > 0 && !w->o->output && m->st.st_nlink > 1)
		cli_say("%s: has other names (hard links), which %s the old file", TEXT(path, strlen(path)), w->o->dry ? "would keep" : "keep");
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

	if (w->o->output && realpath(target, real) && listed(&w->inputs, real))
		return cli_err(err, EINVAL, "its copy would take the place of a file of this run: use another -o DIR");
	if (listed(&w->done, target))
		return w->o->output ? cli_err(err, EEXIST, "another file of this run has the same name: use another -o DIR for it") : 1;
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
		        w->o->dry ? "would be rewrapped" : "rewrapped", w->cloned, w->skipped, w->failed, w->failed ? " and are as they were" : "");
}

static int rewrap_all(struct rewrap *w, char **files, int count)
{
	struct err err;

	for (int i = 0; w->o->output && i < count; i++)
		files_each(files[i], note_input, w);
	if (w->short_of_memory) {
		err_sys(&err, ENOMEM, "the list of files");
		return cli_failed(NULL, &err);
	}
	for (int i = 0; i < count; i++)
		files_each(files[i], rewrap_file, w);
	summary(w);
	return w->failed ? CLI_FAILED : CLI_OK;
}

int cmd_rewrap(int argc, char **argv)
{
	struct options o = { .reserve = EMIT_RESERVE, .text = POLICY_TEXT_INIT };
	struct jwk_set old = { NULL, 0 }, new = { NULL, 0 };
	struct str policy = { NULL, 0 };
	struct err err = { 0 };
	int status;

	cli.help = HELP;
	status = parse_options(argc, argv, &o);
	if (status >= 0) {
		policy_text_release(&o.text);
		return status;
	}
	struct rewrap w = { .o = &o, .old = &old, .p = { .reserve = o.reserve } };
	if (keysource_read(&old, o.keys, &err) < 0) {
		status = cli_failed(o.keys, &err);
	} else if (keysource_read(&new, o.new_keys, &err) < 0 || publish_keys(&new, &w.p.kek, &w.p.signer, &err) < 0) {
		status = cli_failed(o.new_keys, &err);
	} else if (o.policy && publish_policy(o.policy, &policy, &err) < 0) {
		status = cli_failed(o.policy, &err);
	} else if (policy_text_given(&o.text) && policy_text_make(&o.text, &policy, &err) < 0) {
		status = cli_failed(NULL, &err);
	} else {
		struct jwk pair[] = { *w.p.kek, *w.p.signer }; /* borrowed */
		const struct jwk_set target = { pair, 2 };
		w.new = &target;
		w.p.local = policy.p ? &policy : NULL;
		out_keep_path(o.keys);
		out_keep_path(o.new_keys);
		out_keep_path(o.policy);
		status = rewrap_all(&w, argv + optind, argc - optind);
	}
	paths_release(&w.done);
	paths_release(&w.inputs);
	free((char *)policy.p);
	policy_text_release(&o.text);
	jwk_set_release(&old);
	jwk_set_release(&new);
	return status;
}
