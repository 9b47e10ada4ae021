/* ct verify: signature, policy, keys and every chunk of files; a line a file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "files.h"
#include "jwk.h"
#include "keysource.h"
#include "model.h"
#include "progress.h"
#include "text.h"
#include "writer.h"

#define FAULTS_SHOWN 20 /* the rest is counted; --json has all */

static const char HELP[] =
	"usage: ct verify [--keys FILE] [OPTIONS] FILE…\n"
	"\n"
	"Checks that each file can be opened and that every byte of it is what was signed, and says where it is not. A folder stands for all\n"
	".safetensors files in it. With a verification key alone (ct keygen --verifier) signature and digests are checked, where the file has\n"
	"digests of all tensors (ct encrypt --digests).\n"
	"A plain file fails: nothing vouches for it. Exit status 1 if any file failed.\n"
	"\n"
	"  -k, --keys FILE   key set; the private half of the signing key is not needed (default: ask the agent)\n"
	"  -j, --jobs N      threads (default: one per processor)\n"
	"  -q, --quiet       say nothing about good files, show no bar\n"
	"      --json        one JSON object a file\n"
	"      --help, --version\n";

struct verify {
	const struct jwk_set *set; /* NULL: the agent */
	unsigned int jobs;
	size_t files, failed;
};

/* What is known of one file. */
struct verdict {
	bool failed;
	struct err err;              /* if it failed, but for damage */
	struct writer_faults faults; /* damage */
	bool tags, digests;          /* what was checked beside the signature */
	size_t bare;                 /* plain tensors with bytes that nothing vouches for */
};

static void say_fault(const char *before, const struct writer_fault *x, const char *after)
{
	const char *name = TEXT(x->tensor->name.p, x->tensor->name.len);

	printf("%stensor %s, chunk", before, name);
	if (x->first == x->last)
		printf(" %" PRIu64, x->first);
	else
		printf("s %" PRIu64 " to %" PRIu64, x->first, x->last);
	printf(" (bytes %" PRIu64 " to %" PRIu64 " of the file)%s\n", x->begin, x->end, after);
}

static void say_faults(const char *path, const struct writer_faults *faults)
{
	if (faults->count == 1) {
		printf("%s: EIO: ", TEXT(path, strlen(path)));
		say_fault("", &faults->list[0], faults->chunks == 1 ? " is damaged: fetch the file again" : " are damaged: fetch the file again");
		return;
	}
	printf("%s: EIO: %" PRIu64 " chunks are damaged: fetch the file again\n", TEXT(path, strlen(path)), faults->chunks);
	for (size_t i = 0; i < faults->count && i < FAULTS_SHOWN; i++)
		say_fault("  ", &faults->list[i], "");
	if (faults->count > FAULTS_SHOWN)
		printf("  and %zu more places (--json has all)\n", faults->count - FAULTS_SHOWN);
}

static void say(const char *path, const struct verdict *d)
{
	if (d->faults.count > 0)
		say_faults(path, &d->faults);
	else if (d->failed)
		printf("%s: %s: %s\n", TEXT(path, strlen(path)), err_name(&d->err), d->err.text);
	else if (cli.quiet)
		return;
	else if (d->bare > 0)
		printf("%s: ok (but nothing vouches for %zu plain tensor%s)\n", TEXT(path, strlen(path)), d->bare, d->bare == 1 ? "" : "s");
	else
		printf("%s: ok%s\n", TEXT(path, strlen(path)), d->tags ? "" : " (signature and digests; no master key to try the data keys with)");
	fflush(stdout);
}

static void put_faults(struct buf *b, const struct writer_faults *faults)
{
	buf_puts(b, ",\"faults\":[");
	for (size_t i = 0; i < faults->count; i++) {
		const struct writer_fault *x = &faults->list[i];
		buf_puts(b, i ? ",{\"tensor\":" : "{\"tensor\":");
		text_json(b, x->tensor->name.p, x->tensor->name.len);
		buf_puts(b, ",\"chunk\":");
		buf_put_u64(b, x->first);
		buf_puts(b, ",\"last_chunk\":");
		buf_put_u64(b, x->last);
		buf_puts(b, ",\"begin\":");
		buf_put_u64(b, x->begin);
		buf_puts(b, ",\"end\":");
		buf_put_u64(b, x->end);
		buf_putc(b, '}');
	}
	buf_putc(b, ']');
}

static void say_json(const char *path, const struct verdict *d)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "{\"file\":");
	text_json(&b, path, strlen(path));
	if (d->faults.count > 0) {
		buf_puts(&b, ",\"ok\":false,\"error\":\"EIO\",\"message\":\"chunks are damaged: fetch the file again\"");
	} else if (d->failed) {
		buf_puts(&b, ",\"ok\":false,\"error\":\"");
		buf_puts(&b, err_name(&d->err));
		buf_puts(&b, "\",\"message\":");
		text_json(&b, d->err.text, strlen(d->err.text));
	} else {
		buf_puts(&b, ",\"ok\":true");
	}
	if (!d->failed || d->faults.count > 0) {
		buf_puts(&b, ",\"checked\":[\"signature\"");
		buf_puts(&b, d->tags ? ",\"tags\"" : "");
		buf_puts(&b, d->digests ? ",\"digests\"]" : "]");
		buf_puts(&b, ",\"bare_tensors\":");
		buf_put_u64(&b, d->bare);
		put_faults(&b, &d->faults);
	}
	buf_putc(&b, '}');
	cli_print(&b);
}

static void report(struct verify *v, const char *path, const struct verdict *d)
{
	v->files++;
	v->failed += d->failed;
	(cli.json ? say_json : say)(path, d);
}

static size_t count_bare(const struct file *f)
{
	const struct header *h = file_header(f);
	size_t n = 0;

	for (size_t t = 0; t < h->count && !file_digests(f)->present; t++)
		n += file_crypto(f)->by_tensor[t] == CRYPTO_ABSENT && h->tensors[t].end > h->tensors[t].begin;
	return n;
}

/* Keys, or without a master key signature and digests, if those vouch for every byte. */
static int unlock(const struct verify *v, struct model *m, bool *tags, struct err *err)
{
	*tags = true;
	if (model_unlock(m, v->set, err) == 0)
		return 0;
	if (!v->set || !m->encrypted || err->code != ERR_NOKEY)
		return -1;
	*tags = false;
	return model_vouched(m, v->set, err);
}

static void verify_file(void *arg, const char *path, const char *rel, const struct err *not_there)
{
	struct verify *v = arg;
	struct verdict d = { .failed = true };
	struct progress bar;
	struct model m;

	(void)rel;
	if (not_there)
		d.err = *not_there;
	if (not_there || model_open(&m, path, &d.err) < 0) {
		report(v, path, &d);
		return;
	}
	if (unlock(v, &m, &d.tags, &d.err) == 0) {
		d.digests = file_digests(m.file)->present;
		d.bare = count_bare(m.file);
		progress_start(&bar, path);
		int ret = writer_verify(m.file, m.fd, d.tags, v->jobs, &bar.counters, &d.faults, &d.err);
		progress_stop(&bar);
		d.failed = ret < 0 || d.faults.count > 0;
	}
	report(v, path, &d);
	writer_faults_release(&d.faults);
	model_close(&m);
}

int cmd_verify(int argc, char **argv)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "keys", required_argument, NULL, 'k' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	const char *keys = NULL;
	struct jwk_set set = { NULL, 0 };
	struct err err = { 0 };
	uint64_t jobs = cli_jobs();
	int opt, status;

	cli.help = HELP;
	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "k:j:", LONG, NULL)) != -1) {
		switch (opt) {
		case 'k':
			keys = optarg;
			break;
		case 'j':
			if (!cli_number(optarg, 1, 256, false, &jobs))
				return cli_usage("-j takes 1 to 256");
			break;
		default:
			status = cli_option(opt, argv);
			if (status >= 0)
				return status;
		}
	}
	if (optind == argc)
		return cli_usage("needs a file");
	if (keys && keysource_read(&set, keys, &err) < 0)
		return cli_failed(keys, &err);
	struct verify v = { .set = keys ? &set : NULL, .jobs = (unsigned int)jobs };
	for (int i = optind; i < argc; i++)
		files_each(argv[i], verify_file, &v);
	jwk_set_release(&set);
	return v.failed ? CLI_NO : CLI_OK;
}
