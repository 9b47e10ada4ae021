/* ct encrypt: plain models to encrypted ones. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chunk.h"
#include "cli.h"
#include "convert.h"
#include "emit.h"
#include "jwk.h"
#include "policy.h"
#include "select.h"
#include "text.h"
#include "writer.h"

#define POLICY_MAX 1048576u

static const char HELP[] =
	"usage: ct encrypt --keys FILE [OPTIONS] IN OUT\n"
	"\n"
	"Encrypts a .safetensors file, or a folder: the models in it are encrypted, all else is copied as it is.\n"
	"\n"
	"  -k, --keys FILE          key set with a master key and a signing key (ct keygen)\n"
	"      --alg ALG            aes256gcm, aes128gcm, chacha20poly1305 (default: the master key's)\n"
	"      --format-version N   2: in chunks, so that parts can be read (default); 1: each tensor as a whole\n"
	"      --chunk-size N       bytes per chunk, K, M, G allowed (default 2M)\n"
	"      --tensors GLOB       encrypt only tensors with such names, the rest stays plain; may be repeated, !GLOB leaves out (default: all)\n"
	"      --digests            sign digests of all ciphertext: ct verify then needs no master key, and whoever has the data keys cannot\n"
	"                           forge (plain tensors beside encrypted ones always have them)\n"
	"      --header-reserve N   bytes left free for a longer header, so that ct rewrap need not move the data (default 4096; 0: none)\n"
	"      --policy FILE        Rego text that decides who may open the file (default: whoever has the keys)\n"
	"  -j, --jobs N             threads (default: one per processor)\n"
	"      --force              replace an output that exists\n"
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
	return -1;
}

/* Reads the policy's text into malloc'ed memory. */
static int read_policy(const char *path, struct str *text, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), ret = -1;
	char *buf = malloc(POLICY_MAX + 1);
	size_t len = 0;

	if (fd < 0) {
		err_sys(err, errno, "cannot be opened");
		goto out;
	}
	if (!buf) {
		err_sys(err, ENOMEM, "the policy");
		goto out;
	}
	for (;;) {
		ssize_t n = read(fd, buf + len, POLICY_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_sys(err, errno, "cannot be read");
			goto out;
		}
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > POLICY_MAX) {
			cli_err(err, EFBIG, "a policy has at most %u bytes", POLICY_MAX);
			goto out;
		}
	}
	for (size_t at = 0, n; at < len; at += n) {
		uint32_t cp;
		n = text_utf8_decode(buf + at, len - at, &cp);
		/* Policy engines stop at a NUL: what follows would go unseen. */
		if (n == 0 || cp == 0) {
			cli_err(err, EINVAL, "byte %zu is not UTF-8 text: a policy is text", at);
			goto out;
		}
	}
	*text = (struct str){ buf, len };
	ret = 0;
out:
	if (ret < 0)
		free(buf);
	if (fd >= 0)
		close(fd);
	return ret;
}

/* Readers find a key by its kid or, where it has none, take the first of its kind. */
static int check_findable(const struct jwk_set *set, const struct jwk *k, const char *what, struct err *err)
{
	const struct jwk *found = jwk_set_find(set, k->kind, k->has_kid, (struct str){ k->kid, k->kid_len });

	if (found == k || (found && k->kind == JWK_OKP && memcmp(found->x, k->x, sizeof k->x) == 0))
		return 0;
	return cli_err(err, EINVAL, "its %s has no key id, and readers would take the first of its kind instead: give the key a kid", what);
}

static int choose_keys(const struct jwk_set *set, const struct options *o, struct writer_params *p, struct err *err)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *k = &set->keys[i];
		if (k->kind == JWK_OCT && !p->kek)
			p->kek = k;
		if (k->kind == JWK_OKP && k->secret && !p->signer)
			p->signer = k;
	}
	if (!p->kek)
		return err_set(err, ERR_NOKEY, "holds no master key (kty oct): ct keygen makes one");
	if (!p->signer)
		return err_set(err, ERR_NOKEY, "holds no private signing key (kty okp with d): a set for readers cannot encrypt");
	if (check_findable(set, p->kek, "master key", err) < 0 || check_findable(set, p->signer, "private signing key", err) < 0)
		return -1;
	p->alg = o->has_alg ? o->alg : p->kek->has_alg ? p->kek->alg : AEAD_AES256GCM;
	/* A key without an algorithm of its own is used by its length. */
	if (!o->has_alg && !p->kek->has_alg && p->kek->secret->len == aead_key_len(AEAD_AES128GCM))
		p->alg = AEAD_AES128GCM;
	if (p->kek->has_alg && p->kek->alg != p->alg)
		return cli_err(err, EINVAL, "its master key is for %s, not for %s", aead_alg_name(p->kek->alg), aead_alg_name(p->alg));
	if (p->kek->secret->len != aead_key_len(p->alg))
		return cli_err(err, EINVAL, "its master key has %zu bytes, %s needs %zu", p->kek->secret->len, aead_alg_name(p->alg),
		               aead_key_len(p->alg));
	return 0;
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

int cmd_encrypt(int argc, char **argv)
{
	struct options o = { .version = 2, .chunk = CHUNK_DEFAULT, .reserve = EMIT_RESERVE };
	struct jwk_set set = { NULL, 0 };
	struct str policy = { NULL, 0 };
	struct err err = { 0 };
	int status;

	cli.help = HELP;
	status = parse_options(argc, argv, &o);
	if (status >= 0) {
		select_release(&o.select);
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
	if (jwk_set_read(&set, o.keys, &err) < 0 || choose_keys(&set, &o, &p, &err) < 0) {
		status = cli_failed(o.keys, &err);
	} else if (o.policy && read_policy(o.policy, &policy, &err) < 0) {
		status = cli_failed(o.policy, &err);
	} else {
		if (o.policy)
			p.local = policy;
		out_keep_path(o.keys); /* replaced by the output, the key that it needs would be gone */
		out_keep_path(o.policy);
		struct convert c = { .model = encrypt_model, .encrypting = true, .force = o.force, .arg = &p };
		status = convert_run(&c, argv[optind], argv[optind + 1]);
	}
	free((char *)policy.p);
	select_release(&o.select);
	jwk_set_release(&set);
	return status;
}
