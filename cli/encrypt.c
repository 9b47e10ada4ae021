/* ct encrypt: plain models to encrypted ones. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "convert.h"
#include "emit.h"
#include "jwk.h"
#include "keysource.h"
#include "model.h"
#include "policy.h"
#include "policy_text.h"
#include "publish.h"
#include "same.h"
#include "select.h"
#include "text.h"
#include "writer.h"

/*
 * Not the reference's 2 MiB: who reads one tensor of many, or its first byte, decrypts the chunks around it (docs/PERFORMANCE.md). It costs a tag
 * more a chunk, 22 bytes of header.
 */
#define CHUNK_SIZE (256u << 10)

static const char HELP[] =
	"usage: ct encrypt --keys FILE [OPTIONS] IN OUT\n"
	"\n"
	"Encrypts a .safetensors file, or a folder: the models in it are encrypted, all else is copied as it is.\n"
	"\n"
	"  -k, --keys FILE          key set with a master key and a signing key (ct keygen)\n"
	"      --alg ALG            aes256gcm, aes128gcm, chacha20poly1305 (default: the master key's)\n"
	"      --format-version N   2: in chunks, so that parts can be read (default); 1: each tensor as a whole\n"
	"      --chunk-size N       bytes per chunk, K, M, G allowed (default 256K)\n"
	"      --tensors GLOB       encrypt only tensors with such names, the rest stays plain; may be repeated, !GLOB leaves out (default: all)\n"
	"      --digests            sign digests of all ciphertext: ct verify then needs no master key, and whoever has the data keys cannot\n"
	"                           forge (plain tensors beside encrypted ones always have them)\n"
	"      --header-reserve N   bytes left free for a longer header, so that ct rewrap need not move the data (default 4096; 0: none)\n"
	"      --policy FILE        Rego text that decides who may open the file (default: whoever has the keys)\n"
	POLICY_TEXT_HELP
	"  -j, --jobs N             threads (default: one per processor)\n"
	"      --force              replace outputs that exist; without it a folder is gone on with where an earlier run ended\n"
	"  -q, --quiet              say nothing, show no bar\n"
	"      --json               errors also as JSON on stdout\n"
	"      --help, --version\n";

struct options {
	const char *keys, *policy;
	bool has_alg, has_chunk, force;
	enum aead_alg alg;
	uint64_t version, chunk, jobs, reserve;
	bool digests;
	struct select select;
	struct policy_text text;
};

static int parse_options(int argc, char **argv, struct options *o)
{
	enum { ALG = CLI_OWN, VERSION, CHUNK, POLICY, TENSORS, DIGESTS, RESERVE };
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "keys", required_argument, NULL, 'k' },
		{ "alg", required_argument, NULL, ALG },
		{ "format-version", required_argument, NULL, VERSION },
		{ "chunk-size", required_argument, NULL, CHUNK },
		{ "policy", required_argument, NULL, POLICY },
		POLICY_TEXT_OPTIONS,
		{ "tensors", required_argument, NULL, TENSORS },
		{ "digests", no_argument, NULL, DIGESTS },
		{ "header-reserve", required_argument, NULL, RESERVE },
		{ "jobs", required_argument, NULL, 'j' },
		{ "force", no_argument, NULL, CLI_FORCE },
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	struct err err;
	int opt, status;
	bool mine;

	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "k:j:", LONG, NULL)) != -1) {
		switch (opt) {
		case 'k':
			o->keys = optarg;
			break;
		case ALG:
			if (!aead_alg_parse(optarg, strlen(optarg), &o->alg))
				return cli_usage("unknown algorithm %s", TEXT(optarg, strlen(optarg)));
			o->has_alg = true;
			break;
		case VERSION:
			if (!cli_number(optarg, 1, 2, false, &o->version))
				return cli_usage("the format version is 1 or 2");
			break;
		case CHUNK:
			if (!cli_number(optarg, 1, UINT64_C(1) << 62, true, &o->chunk))
				return cli_usage("not a chunk size: %s", TEXT(optarg, strlen(optarg)));
			o->has_chunk = true;
			break;
		case POLICY:
			o->policy = optarg;
			break;
		case TENSORS:
			if (select_add(&o->select, optarg, &err) < 0)
				return cli_usage("--tensors: %s", err.text);
			break;
		case DIGESTS:
			o->digests = true;
			break;
		case RESERVE:
			if (!cli_number(optarg, 0, HEADER_MAX, true, &o->reserve))
				return cli_usage("--header-reserve takes bytes, at most %u", HEADER_MAX);
			break;
		case 'j':
			if (!cli_number(optarg, 1, 256, false, &o->jobs))
				return cli_usage("-j takes 1 to 256");
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
	if (!o->keys)
		return cli_usage("--keys FILE is needed");
	if (o->version == 1 && o->has_chunk)
		return cli_usage("format version 1 has no chunks: --chunk-size does not go with it");
	if (argc - optind != 2)
		return cli_usage("needs an input and an output");
	return policy_text_check(&o->text, o->policy);
}

static int choose_alg(const struct options *o, struct writer_params *p, struct err *err)
{
	p->alg = o->has_alg ? o->alg : p->kek->has_alg ? p->kek->alg : AEAD_AES256GCM;
	/* A key without an algorithm of its own is used by its length. */
	if (!o->has_alg && !p->kek->has_alg && p->kek->secret->len == aead_key_len(AEAD_AES128GCM))
		p->alg = AEAD_AES128GCM;
	return publish_key_fits(p->kek, p->alg, err);
}

static int encrypt_model(const struct convert *self, const char *path, struct out *out, struct writer_progress *pr, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), ret = -1;
	struct stat st;

	if (fd < 0)
		return err_sys(err, errno, "cannot be opened");
	if (fstat(fd, &st) < 0)
		err_sys(err, errno, "cannot be looked at");
	else
		ret = writer_encrypt(fd, (uint64_t)st.st_size, out->fd, self->arg, pr, err);
	close(fd);
	return ret;
}

static int same_model(const struct convert *self, const char *in, const char *out, struct writer_progress *pr, struct err *err)
{
	return same_encrypted(in, out, self->arg, pr, err);
}

static int survey_model(const struct convert *self, const char *path, struct err *err)
{
	const struct writer_params *p = self->arg;
	struct model m;
	int ret = 0;

	if (model_open(&m, path, err) < 0)
		return -1;
	if (!m.encrypted) /* else the writer says no */
		ret = select_survey(p->wanted_arg, &m.plain, err);
	model_close(&m);
	return ret;
}

static int surveyed(const struct convert *self, struct err *err)
{
	const struct writer_params *p = self->arg;

	return select_check(p->wanted_arg, err);
}

int cmd_encrypt(int argc, char **argv)
{
	struct options o = { .version = 2, .chunk = CHUNK_SIZE, .reserve = EMIT_RESERVE, .text = POLICY_TEXT_INIT };
	struct jwk_set set = { NULL, 0 };
	struct str policy = { NULL, 0 };
	struct err err = { 0 };
	int status;

	cli.help = HELP;
	status = parse_options(argc, argv, &o);
	if (status >= 0) {
		select_release(&o.select);
		policy_text_release(&o.text);
		return status;
	}
	struct writer_params p = {
		.version = (int)o.version,
		.chunk_size = o.chunk,
		.local = { POLICY_DEFAULT, sizeof POLICY_DEFAULT - 1 },
		.remote = { POLICY_DEFAULT, sizeof POLICY_DEFAULT - 1 },
		.wanted = o.select.count ? select_wanted : NULL,
		.wanted_arg = &o.select,
		.digests = o.digests,
		.reserve = o.reserve,
		.jobs = o.jobs ? (unsigned int)o.jobs : cli_jobs(),
	};
	if (keysource_read(&set, o.keys, &err) < 0 || publish_keys(&set, &p.kek, &p.signer, &err) < 0 || choose_alg(&o, &p, &err) < 0) {
		status = cli_failed(o.keys, &err);
	} else if (o.policy && publish_policy(o.policy, &policy, &err) < 0) {
		status = cli_failed(o.policy, &err);
	} else if (policy_text_given(&o.text) && policy_text_make(&o.text, &policy, &err) < 0) {
		status = cli_failed(NULL, &err);
	} else {
		if (policy.p)
			p.local = policy;
		out_keep_path(o.keys); /* replaced by the output, the key that it needs would be gone */
		out_keep_path(o.policy);
		struct convert c = { .model = encrypt_model, .same = same_model, .encrypting = true, .force = o.force, .arg = &p };
		if (o.select.count > 0) {
			c.survey = survey_model;
			c.surveyed = surveyed;
		}
		status = convert_run(&c, argv[optind], argv[optind + 1]);
	}
	free((char *)policy.p);
	policy_text_release(&o.text);
	select_release(&o.select);
	jwk_set_release(&set);
	return status;
}
