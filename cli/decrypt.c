/* ct decrypt: the plain view of encrypted models, as an application under the shim sees it. */
#include <stdlib.h>

#include "cli.h"
#include "convert.h"
#include "jwk.h"
#include "keysource.h"
#include "model.h"
#include "out.h"
#include "same.h"

static const char HELP[] =
	"usage: ct decrypt [--keys FILE] [OPTIONS] IN OUT\n"
	"\n"
	"Writes the plain model, byte for byte what a program sees under the shim; IN may be a folder. OUT is readable for its owner alone.\n"
	"\n"
	"  -k, --keys FILE   key set (default: ask the agent)\n"
	"  -j, --jobs N      threads (default: one per processor)\n"
	"      --force       replace outputs that exist; without it a folder is gone on with where an earlier run ended\n"
	"  -q, --quiet       say nothing, show no bar\n"
	"      --json        errors also as JSON on stdout\n"
	"      --help, --version\n";

struct decrypt {
	const struct jwk_set *set; /* NULL: the agent */
	unsigned int jobs;
};

static int decrypt_model(const struct convert *self, const char *path, struct out *out, struct writer_progress *pr, struct err *err)
{
	const struct decrypt *d = self->arg;
	struct model m;
	int ret = -1;

	if (model_open(&m, path, err) < 0)
		return -1;
	if (model_unlock(&m, d->set, err) == 0)
		ret = writer_decrypt(m.file, m.fd, out->fd, d->jobs, pr, err);
	model_close(&m);
	return ret;
}

static int same_model(const struct convert *self, const char *in, const char *out, struct writer_progress *pr, struct err *err)
{
	const struct decrypt *d = self->arg;
	struct model m;
	int ret = -1;

	if (model_open(&m, in, err) < 0)
		return -1;
	if (model_unlock(&m, d->set, err) == 0)
		ret = same_decrypted(m.file, m.fd, out, d->jobs, pr, err);
	model_close(&m);
	return ret;
}

int cmd_decrypt(int argc, char **argv)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "keys", required_argument, NULL, 'k' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "force", no_argument, NULL, CLI_FORCE },
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	const char *keys = NULL;
	struct jwk_set set = { NULL, 0 };
	struct err err = { 0 };
	uint64_t jobs = cli_jobs();
	bool force = false;
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
		case CLI_FORCE:
			force = true;
			break;
		default:
			status = cli_option(opt, argv);
			if (status >= 0)
				return status;
		}
	}
	if (argc - optind != 2)
		return cli_usage("needs an input and an output");
	if (keys && keysource_read(&set, keys, &err) < 0)
		return cli_failed(keys, &err);
	out_keep_path(keys);
	struct decrypt d = { .set = keys ? &set : NULL, .jobs = (unsigned int)jobs };
	struct convert c = { .model = decrypt_model, .same = same_model, .force = force, .arg = &d };
	status = convert_run(&c, argv[optind], argv[optind + 1]);
	jwk_set_release(&set);
	return status;
}
