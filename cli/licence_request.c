/* ct licence request: the customer's key, and what he sends to the publisher. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "askpass.h"
#include "cli.h"
#include "jwe.h"
#include "keysource.h"
#include "licences.h"
#include "machine.h"
#include "out.h"
#include "text.h"

static const char HELP[] =
	"usage: ct licence request --publisher FINGERPRINT --keys CUSTOMER.jwk -o REQUEST [OPTIONS]\n"
	"\n"
	"Writes what you send to a publisher to get licences. CUSTOMER.jwk, which opens them, is made if it is not there (mode 0600): it stays with you, and the\n"
	"publisher is pinned in it: no other one's licences are taken with it.\n"
	"\n"
	"      --publisher FINGERPRINT  the publisher's, from a place that is to be trusted: 64 hexadecimal digits (ct keygen --verifier, ct list)\n"
	"  -k, --keys CUSTOMER.jwk      the private key\n"
	"  -o, --output REQUEST         what is to be sent; it holds no secret\n"
	"      --name TEXT              who you are, as it will stand in licences\n"
	"      --machine                add this machine's id, so that the publisher can bind a licence to it\n"
	"      --passphrase             put a new CUSTOMER.jwk under a passphrase, which is asked for\n"
	"      --force                  replace REQUEST if it exists\n"
	"  -q, --quiet                  say nothing\n"
	"      --help, --version\n";

struct options {
	const char *publisher, *keys, *output, *name;
	uint8_t pin[JWS_FINGERPRINT_LEN];
	bool machine, passphrase, force;
};

static bool is_text(const char *s)
{
	uint32_t cp;

	for (size_t len = strlen(s), n; len; s += n, len -= n) {
		n = text_utf8_decode(s, len, &cp);
		if (n == 0 || !text_is_harmless(cp))
			return false;
	}
	return true;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	enum { PUBLISHER = CLI_OWN, NAME, MACHINE, PASSPHRASE };
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "publisher", required_argument, NULL, PUBLISHER },
		{ "keys", required_argument, NULL, 'k' },
		{ "output", required_argument, NULL, 'o' },
		{ "name", required_argument, NULL, NAME },
		{ "machine", no_argument, NULL, MACHINE },
		{ "passphrase", no_argument, NULL, PASSPHRASE },
		{ "force", no_argument, NULL, CLI_FORCE },
		{ NULL, 0, NULL, 0 },
	};
	int opt, status;

	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "k:o:", LONG, NULL)) != -1) {
		switch (opt) {
		case PUBLISHER:
			o->publisher = optarg;
			break;
		case 'k':
			o->keys = optarg;
			break;
		case 'o':
			o->output = optarg;
			break;
		case NAME:
			o->name = optarg;
			break;
		case MACHINE:
			o->machine = true;
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
	if (!o->publisher || !o->keys || !o->output)
		return cli_usage("--publisher, --keys and -o are needed");
	if (!licence_fingerprint(o->publisher, o->pin))
		return cli_usage("--publisher takes a fingerprint: 64 hexadecimal digits");
	if (o->name && (strlen(o->name) > LICENCE_NAME_MAX || !is_text(o->name)))
		return cli_usage("--name takes a text of at most %u bytes without control characters", LICENCE_NAME_MAX);
	if (out_same(o->keys, o->output))
		return cli_usage("--keys and -o name the same file");
	return -1;
}

static int write_file(const char *path, mode_t mode, bool force, const void *text, size_t len, struct err *err)
{
	struct out out;

	if (out_open(&out, path, mode, force, NULL, err) < 0)
		return -1;
	if (write(out.fd, text, len) == (ssize_t)len)
		return out_commit(&out, err);
	err_sys(err, errno, "cannot be written");
	out_abort(&out);
	return -1;
}

/* The key with the pin in it, as text. */
static struct secret *key_text(const struct eckey *key, const uint8_t pin[JWS_FINGERPRINT_LEN])
{
	static const char name[] = ",\"" LICENCE_PIN "\":\"";
	struct secret *jwk = eckey_write(key, true), *out = jwk ? secret_new(jwk->len + sizeof name + 2 * JWS_FINGERPRINT_LEN + 2) : NULL;
	struct buf hex = BUF_INIT;

	buf_put_hex(&hex, pin, JWS_FINGERPRINT_LEN);
	if (out && !hex.failed) {
		char *p = mempcpy(out->data, jwk->data, jwk->len - 2); /* without "}\n" */
		p = mempcpy(p, name, sizeof name - 1);
		p = mempcpy(p, hex.data, hex.len);
		p = mempcpy(p, "\"}\n", 3);
		out->len = (size_t)(p - (char *)out->data);
	}
	buf_release(&hex);
	secret_free(jwk);
	return out;
}

static int make_key(const struct options *o, struct err *err)
{
	struct secret *word = NULL, *text = NULL;
	struct buf jwe = BUF_INIT;
	uint8_t thumb[ECKEY_THUMB_LEN];
	struct eckey key;
	int ret = -1;

	if (eckey_generate(&key, err) < 0)
		return -1;
	key.has_kid = eckey_thumbprint(&key, thumb, key.kid);
	key.kid_len = strlen(key.kid);
	text = key_text(&key, o->pin);
	if (!text)
		err_sys(err, ENOMEM, "the key");
	else if (!o->passphrase)
		ret = write_file(o->keys, 0600, false, text->data, text->len, err);
	else if ((word = askpass("Passphrase for the new key file", true, err)) &&
	         jwe_seal_passphrase(&jwe, JWE_JSON, text->data, text->len, "jwk+json", word, err) == 0)
		ret = write_file(o->keys, 0600, false, jwe.data, jwe.len, err);
	buf_release(&jwe);
	secret_free(word);
	secret_free(text);
	eckey_release(&key);
	return ret;
}

static int write_request(const struct options *o, struct licence_customer *c, struct err *err)
{
	char machine[MACHINE_ID_LEN + 1];
	struct buf b = BUF_INIT;
	int ret;

	if (o->machine && !machine_id(machine))
		return cli_err(err, ENOENT, "this machine has no id in /etc/machine-id");
	c->key.has_kid = false; /* names nothing that is not computed */
	struct secret *public = eckey_write(&c->key, false);
	if (!public)
		return err_sys(err, ENOMEM, "the request");
	buf_puts(&b, "{\"ct_licence_request\":\"1\",\"publisher\":\"");
	buf_put_hex(&b, c->pin, sizeof c->pin);
	buf_puts(&b, "\",\n \"key\":");
	buf_put(&b, public->data, public->len - 1);
	if (o->name) {
		buf_puts(&b, ",\n \"name\":");
		buf_put_json_string(&b, o->name, strlen(o->name));
	}
	if (o->machine) {
		buf_puts(&b, ",\n \"machine\":\"");
		buf_puts(&b, machine);
		buf_putc(&b, '"');
	}
	buf_puts(&b, "}\n");
	secret_free(public);
	ret = b.failed ? err_sys(err, ENOMEM, "the request") : write_file(o->output, 0644, o->force, b.data, b.len, err);
	buf_release(&b);
	return ret;
}

int licence_request(int argc, char **argv)
{
	struct options o = { 0 };
	struct licence_customer c = { 0 };
	uint8_t thumb[ECKEY_THUMB_LEN] = { 0 };
	char kid[ECKEY_THUMB_TEXT];
	struct err err = { 0 };
	int status;

	cli.help = HELP;
	status = parse_options(argc, argv, &o);
	if (status >= 0)
		return status;
	char path[PATH_MAX];
	bool made = keysource_path(o.keys, path) == o.keys && access(o.keys, F_OK) < 0 && errno == ENOENT;
	if (!made && o.passphrase)
		return cli_usage("--passphrase goes with a key file that is made now");
	if (made && make_key(&o, &err) < 0)
		return cli_failed(o.keys, &err);
	if (licence_customer_read(&c, o.keys, &err) < 0)
		return cli_failed(o.keys, &err);
	if (memcmp(c.pin, o.pin, sizeof o.pin) != 0) {
		err_set(&err, ERR_REJECTED, "another publisher is pinned in it, %s: make another key for this one", LICENCE_SPOKEN(c.pin));
		status = cli_failed(o.keys, &err);
	} else if (write_request(&o, &c, &err) < 0) {
		status = cli_failed(o.output, &err);
	} else {
		if (made)
			cli_say("%s: the private key: keep it, and keep it secret; licences open with it alone", TEXT(o.keys, strlen(o.keys)));
		eckey_thumbprint(&c.key, thumb, kid);
		cli_say("%s: send it to the publisher, and tell him on the phone what its key is: %s", TEXT(o.output, strlen(o.output)), LICENCE_SPOKEN(thumb));
		status = CLI_OK;
	}
	licence_customer_release(&c);
	return status;
}
