/* ct keygen: a master key and a signing key, and the set for those who only read. */
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "askpass.h"
#include "cli.h"
#include "jwe.h"
#include "jwk.h"
#include "keysource.h"
#include "licences.h"
#include "out.h"
#include "text.h"

static const char HELP[] =
	"usage: ct keygen [OPTIONS] -o FILE\n"
	"       ct keygen --from FILE [--reader FILE] [--verifier FILE]\n"
	"\n"
	"Makes a key file (JWK set, mode 0600): a master key, which encrypts, and a signing key, which says who encrypted.\n"
	"\n"
	"  -o, --output FILE   write the set there; without it: to stdout, unless that is a terminal\n"
	"      --reader FILE   also write the set for those who only read: without the private half of the signing key.\n"
	"                      It still holds the master key: keep it secret as well\n"
	"      --verifier FILE also write the verification key alone, for ct verify of files with digests (ct encrypt --digests). It is\n"
	"                      no secret; but who can change it decides what is called genuine\n"
	"      --from FILE     make no keys: derive --reader and --verifier from this set\n"
	"      --alg ALG       aes256gcm (default), aes128gcm, chacha20poly1305\n"
	"      --kid-enc ID    name of the master key (default: enc- and 8 random letters)\n"
	"      --kid-sign ID   name of the signing key (default: sign- and 8 random letters)\n"
	"      --passphrase    put -o and --reader under a passphrase, which is asked for (JWE; jose opens it, too)\n"
	"      --jose          spell the set as RFC 7517 does, for JOSE tools\n"
	"      --force         replace a file that exists\n"
	"  -q, --quiet         say nothing\n"
	"      --help, --version\n"
	"\n"
	"Wherever ct takes a key file, it takes cred:NAME (a file in $CREDENTIALS_DIRECTORY) and exec:CMD ARGS (what a program prints), too;\n"
	"whatever is under a passphrase asks for it: on the terminal, or by the program in CT_ASKPASS. docs/KEYS.md has recipes.\n";

struct options {
	const char *output, *reader, *verifier, *from, *kid_enc, *kid_sign;
	enum aead_alg alg;
	bool jose, force, passphrase, made; /* made: an option that only matters for new keys was given */
};

static int parse_options(int argc, char **argv, struct options *o)
{
	enum { READER = CLI_OWN, VERIFIER, FROM, ALG, KID_ENC, KID_SIGN, JOSE, PASSPHRASE };
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "output", required_argument, NULL, 'o' },
		{ "reader", required_argument, NULL, READER },
		{ "verifier", required_argument, NULL, VERIFIER },
		{ "from", required_argument, NULL, FROM },
		{ "alg", required_argument, NULL, ALG },
		{ "kid-enc", required_argument, NULL, KID_ENC },
		{ "kid-sign", required_argument, NULL, KID_SIGN },
		{ "jose", no_argument, NULL, JOSE },
		{ "passphrase", no_argument, NULL, PASSPHRASE },
		{ "force", no_argument, NULL, CLI_FORCE },
		{ NULL, 0, NULL, 0 },
	};
	int opt, status;

	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "o:", LONG, NULL)) != -1) {
		o->made = o->made || opt == ALG || opt == KID_ENC || opt == KID_SIGN || opt == 'o';
		switch (opt) {
		case 'o':
			o->output = optarg;
			break;
		case READER:
			o->reader = optarg;
			break;
		case VERIFIER:
			o->verifier = optarg;
			break;
		case FROM:
			o->from = optarg;
			break;
		case ALG:
			if (!aead_alg_parse(optarg, strlen(optarg), &o->alg))
				return cli_usage("unknown algorithm %s", TEXT(optarg, strlen(optarg)));
			break;
		case KID_ENC:
			o->kid_enc = optarg;
			break;
		case KID_SIGN:
			o->kid_sign = optarg;
			break;
		case JOSE:
			o->jose = true;
			break;
		case PASSPHRASE:
			o->passphrase = true;
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
	if (optind < argc)
		return cli_usage("unexpected argument %s", TEXT(argv[optind], strlen(argv[optind])));
	if (o->from && !o->reader && !o->verifier)
		return cli_usage("--from needs --reader or --verifier");
	if (o->from && o->passphrase && !o->reader)
		return cli_usage("a verification key is no secret: --passphrase does not go with it");
	if (o->from && o->made)
		return cli_usage("--from makes no keys: -o, --alg and the key ids do not go with it");
	if ((o->output && o->reader && out_same(o->output, o->reader)) || (o->output && o->verifier && out_same(o->output, o->verifier)) ||
	    (o->reader && o->verifier && out_same(o->reader, o->verifier)))
		return cli_usage("-o, --reader and --verifier name the same file");
	return -1;
}

static int set_kid(struct jwk *key, const char *kid, const char *prefix, struct err *err)
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* 32; without those that look alike */
	unsigned char random[8];
	size_t len;

	if (!kid) {
		if (RAND_bytes(random, sizeof random) != 1)
			return err_sys(err, EIO, "OpenSSL has no random bytes");
		len = (size_t)snprintf(key->kid, sizeof key->kid, "%s", prefix);
		for (size_t i = 0; i < sizeof random; i++)
			key->kid[len++] = letters[random[i] % 32];
	} else {
		len = strlen(kid);
		if (len == 0 || len > JWK_KID_MAX)
			return cli_err(err, EINVAL, "a key id has 1 to %u bytes", JWK_KID_MAX);
		for (size_t at = 0, n; at < len; at += n) {
			uint32_t cp;
			n = text_utf8_decode(kid + at, len - at, &cp);
			if (n == 0 || cp < 0x20)
				return cli_err(err, EINVAL, "the key id %s is not plain UTF-8 text", TEXT(kid, len));
		}
		memcpy(key->kid, kid, len);
	}
	key->kid[len] = '\0';
	key->kid_len = len;
	key->has_kid = true;
	return 0;
}

static int make_set(struct jwk_set *set, const struct options *o, struct err *err)
{
	set->keys = calloc(2, sizeof *set->keys);
	if (!set->keys)
		return err_sys(err, ENOMEM, "the keys");
	set->count = 2;
	struct jwk *kek = &set->keys[0], *signer = &set->keys[1];
	kek->kind = JWK_OCT;
	kek->has_alg = true;
	kek->alg = o->alg;
	kek->secret = secret_new(aead_key_len(o->alg));
	signer->kind = JWK_OKP;
	signer->secret = secret_new(SIGN_KEY_LEN);
	if (!kek->secret || !signer->secret)
		return err_sys(err, ENOMEM, "the keys");
	if (set_kid(kek, o->kid_enc, "enc-", err) < 0 || set_kid(signer, o->kid_sign, "sign-", err) < 0)
		return -1;
	if (RAND_priv_bytes(kek->secret->data, (int)kek->secret->len) != 1 || RAND_priv_bytes(signer->secret->data, SIGN_KEY_LEN) != 1 ||
	    !sign_public(signer->secret->data, signer->x))
		return err_sys(err, EIO, "OpenSSL cannot make keys");
	return 0;
}

static int write_all(int fd, const uint8_t *p, size_t len, struct err *err)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot be written");
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* What must not be replaced by the set for readers: the only copy of a private key is in it. */
static int keep_source(const struct options *o, struct err *err)
{
	char buf[PATH_MAX];
	const char *from = o->from ? keysource_path(o->from, buf) : NULL;
	struct stat st;

	if (o->from) {
		if (from && stat(from, &st) < 0)
			return err_sys(err, errno, "cannot be opened");
		if (from)
			out_keep(&st);
	} else if (!o->output && fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode)) {
		out_keep(&st);
		/* The shell made it by the umask. */
		if ((st.st_mode & 077) && fchmod(STDOUT_FILENO, 0600) < 0)
			return err_sys(err, errno, "stdout is a file that others can read, and its mode cannot be made 0600: use -o FILE");
	}
	return 0;
}

/* Fills a temporary file for path (NULL: writes to stdout at once). word: the passphrase, or NULL. */
static int put_set(struct out *out, const char *path, const struct jwk_set *set, const struct options *o, enum jwk_part part,
                   const struct secret *word, struct err *err)
{
	struct secret *text = jwk_set_write(set, o->jose ? JWK_RFC7517 : JWK_REFERENCE, part);
	struct buf jwe = BUF_INIT;
	int ret;

	if (!text)
		return err_sys(err, ENOMEM, "the key set");
	if (word && jwe_seal_passphrase(&jwe, JWE_JSON, text->data, text->len, "jwk-set+json", word, err) < 0) {
		secret_free(text);
		buf_release(&jwe);
		return -1;
	}
	ret = path ? out_open(out, path, part == JWK_VERIFIER ? 0644 : 0600, o->force, NULL, err) : 0;
	int fd = path ? out->fd : STDOUT_FILENO;
	if (ret == 0)
		ret = word ? write_all(fd, (const uint8_t *)jwe.data, jwe.len, err) : write_all(fd, text->data, text->len, err);
	secret_free(text);
	buf_release(&jwe);
	return ret;
}

static int put_verifier(struct out *out, const struct jwk_set *set, const struct options *o, struct err *err)
{
	if (!jwk_set_find(set, JWK_OKP, false, (struct str){ NULL, 0 }))
		return err_set(err, ERR_NOKEY, "there is no verification key in the set");
	return put_set(out, o->verifier, set, o, JWK_VERIFIER, NULL, err);
}

int cmd_keygen(int argc, char **argv)
{
	struct options o = { .alg = AEAD_AES256GCM };
	struct jwk_set set = { NULL, 0 };
	struct out out = { .fd = -1, .slot = -1 }, reader = out, verifier = out;
	struct secret *word = NULL;
	struct err err = { 0 };
	const char *at = NULL; /* the file that an error is about */
	int status;

	cli.help = HELP;
	status = parse_options(argc, argv, &o);
	if (status >= 0)
		return status;
	if (!o.from && !o.output && isatty(STDOUT_FILENO))
		return cli_usage("keys are not shown on a terminal: name a file with -o FILE");

	status = CLI_FAILED;
	at = o.from ? o.from : o.output;
	if (keep_source(&o, &err) < 0 || (o.from ? keysource_read(&set, o.from, &err) : make_set(&set, &o, &err)) < 0)
		goto out;
	if (o.passphrase && !(word = askpass("Passphrase for the new key file", true, &err)))
		goto out;
	if (!o.from && put_set(&out, o.output, &set, &o, JWK_ALL, word, &err) < 0)
		goto out;
	/*
	 * What cannot be written is found before anything has its final name, and the whole set gets its own first: the parts can be derived from
	 * it, and a reader's set whose keys nobody has is worse than none.
	 */
	at = o.reader;
	if (o.reader && put_set(&reader, o.reader, &set, &o, JWK_READER, word, &err) < 0)
		goto out;
	at = o.verifier;
	if (o.verifier && put_verifier(&verifier, &set, &o, &err) < 0)
		goto out;
	if (o.output) {
		at = o.output;
		if (out_commit(&out, &err) < 0)
			goto out;
		cli_say("%s: master key %s, signing key %s; keep it secret, and a copy of it safe: without it nobody reads what it encrypts",
		        TEXT(o.output, strlen(o.output)), TEXT(set.keys[0].kid, set.keys[0].kid_len),
		        TEXT(set.keys[1].kid, set.keys[1].kid_len));
	}
	if (o.reader) {
		at = o.reader;
		if (out_commit(&reader, &err) < 0)
			goto out;
		cli_say("%s: the set for those who only read; it holds the master key, so keep it secret",
		        TEXT(o.reader, strlen(o.reader)));
	}
	if (o.verifier) {
		at = o.verifier;
		if (out_commit(&verifier, &err) < 0)
			goto out;
		uint8_t fingerprint[JWS_FINGERPRINT_LEN] = { 0 };
		const struct jwk *key = jwk_set_find(&set, JWK_OKP, false, (struct str){ NULL, 0 });
		if (!key || !jws_fingerprint(key->x, fingerprint))
			goto out;
		cli_say("%s: the verification key, no secret; its fingerprint, for customers (ct licence request): %s", TEXT(o.verifier, strlen(o.verifier)),
		        LICENCE_SPOKEN(fingerprint));
	}
	status = CLI_OK;
out:
	if (status != CLI_OK)
		cli_failed(at, &err);
	out_abort(&out);
	out_abort(&reader);
	out_abort(&verifier);
	secret_free(word);
	jwk_set_release(&set);
	return status;
}
