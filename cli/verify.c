/* ct verify: signature, policy, keys and every chunk of files; a line a file. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "jwk.h"
#include "model.h"
#include "progress.h"
#include "text.h"
#include "writer.h"

#define DEPTH_MAX 64

static const char HELP[] =
	"usage: ct verify [--keys FILE] [OPTIONS] FILE…\n"
	"\n"
	"Checks that each file can be opened and that every byte of it is what was signed. A folder stands for all .safetensors files in it.\n"
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

static void report(struct verify *v, const char *path, const struct err *err)
{
	struct buf b = BUF_INIT;

	v->files++;
	v->failed += err != NULL;
	if (!cli.json) {
		if (err)
			printf("%s: %s: %s\n", TEXT(path, strlen(path)), err_name(err), err->text);
		else if (!cli.quiet)
			printf("%s: ok\n", TEXT(path, strlen(path)));
		fflush(stdout);
		return;
	}
	buf_puts(&b, "{\"file\":");
	cli_json_string(&b, path, strlen(path));
	buf_puts(&b, err ? ",\"ok\":false,\"error\":\"" : ",\"ok\":true");
	if (err) {
		buf_puts(&b, err_name(err));
		buf_puts(&b, "\",\"message\":");
		cli_json_string(&b, err->text, strlen(err->text));
	}
	buf_putc(&b, '}');
	cli_print(&b);
}

static void verify_file(struct verify *v, const char *path)
{
	struct err err = { 0 };
	struct progress bar;
	struct model m;
	int ret;

	if (model_open(&m, path, &err) < 0) {
		report(v, path, &err);
		return;
	}
	ret = model_unlock(&m, v->set, &err);
	if (ret == 0) {
		progress_start(&bar, path);
		ret = writer_decrypt(m.file, m.fd, -1, v->jobs, &bar.counters, &err);
		progress_stop(&bar);
	}
	model_close(&m);
	report(v, path, ret < 0 ? &err : NULL);
}

static int wanted(const struct dirent *d)
{
	return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

static void verify_folder(struct verify *v, const char *path, int depth)
{
	static const char suffix[] = ".safetensors";
	struct dirent **names = NULL;
	struct err err = { 0 };
	int n = depth > DEPTH_MAX ? -1 : scandir(path, &names, wanted, alphasort);

	if (n < 0) {
		err_sys(&err, depth > DEPTH_MAX ? ELOOP : errno, "cannot be looked into");
		report(v, path, &err);
		return;
	}
	for (int i = 0; i < n; i++) {
		char in[PATH_MAX];
		struct stat st;
		size_t len = strlen(names[i]->d_name);
		bool model = len >= sizeof suffix - 1 && strcmp(names[i]->d_name + len - (sizeof suffix - 1), suffix) == 0;
		int room = snprintf(in, sizeof in, "%s/%s", path, names[i]->d_name);
		free(names[i]);
		if (room >= (int)sizeof in || stat(in, &st) < 0) {
			if (model) {
				err_sys(&err, room >= (int)sizeof in ? ENAMETOOLONG : errno, "cannot be opened");
				report(v, in, &err);
			}
		} else if (S_ISDIR(st.st_mode)) {
			verify_folder(v, in, depth + 1);
		} else if (model) {
			verify_file(v, in);
		}
	}
	free(names);
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
	if (keys && jwk_set_read(&set, keys, &err) < 0)
		return cli_failed(keys, &err);
	struct verify v = { .set = keys ? &set : NULL, .jobs = (unsigned int)jobs };
	for (int i = optind; i < argc; i++) {
		struct stat st;
		size_t before = v.files;
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
			verify_folder(&v, argv[i], 0);
			if (v.files == before) {
				cli_err(&err, ENOENT, "holds no .safetensors file");
				report(&v, argv[i], &err);
			}
		} else {
			verify_file(&v, argv[i]);
		}
	}
	jwk_set_release(&set);
	return v.failed ? CLI_NO : CLI_OK;
}
