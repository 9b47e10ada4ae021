/* ct licence: what its commands share; each has a file of its own. */
#include "licences.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "json.h"
#include "keysource.h"
#include "text.h"

#define REQUEST_MAX 8192u

static const char HELP[] =
	"usage: ct licence request --publisher FINGERPRINT --keys CUSTOMER.jwk -o REQUEST      (customer)\n"
	"       ct licence issue --keys K --to REQUEST --until DATE --id ID -o DIR FILE…      (publisher)\n"
	"       ct licence issue --keys K --renew LICENCE --until DATE --licence FILE         (publisher)\n"
	"       ct licence revoke --keys K -o LIST ID…                                        (publisher)\n"
	"       ct licence show [--keys CUSTOMER.jwk] FILE…                                   (both)\n"
	"\n"
	"Licences: a copy of a model that opens at one customer, until a day, with a key that only he can take out of the licence. ct licence COMMAND --help\n"
	"tells more; docs/LICENCES.md tells the whole story, and what it is worth.\n";

int cmd_licence(int argc, char **argv)
{
	static const struct {
		const char *name, *whole;
		int (*run)(int argc, char **argv);
	} commands[] = {
		{ "request", "licence request", licence_request },
		{ "issue", "licence issue", licence_issue },
		{ "show", "licence show", licence_show },
		{ "revoke", "licence revoke", licence_revoke },
	};
	int status;

	for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
		if (strcmp(argv[1], commands[i].name) == 0) {
			cli.command = commands[i].whole;
			return commands[i].run(argc - 1, argv + 1);
		}
	cli.help = HELP;
	static const struct option LONG[] = { CLI_OPTIONS, { NULL, 0, NULL, 0 } };
	int opt = getopt_long(argc, argv, "+:" CLI_LETTERS, LONG, NULL);
	if (opt != -1 && (status = cli_option(opt, argv)) >= 0)
		return status;
	return cli_usage("takes request, issue, show or revoke");
}

/* ---- texts ---- */

bool licence_fingerprint(const char *text, uint8_t out[JWS_FINGERPRINT_LEN])
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	size_t n = 0;

	for (; *text; text++) {
		const char *at = strchr(digits, *text);

		if (*text == ':' || *text == ' ')
			continue;
		if (!at || n == 2 * JWS_FINGERPRINT_LEN)
			return false;
		unsigned int v = (unsigned int)(at - digits) & 15;
		out[n / 2] = n % 2 ? (uint8_t)(out[n / 2] | v) : (uint8_t)(v << 4);
		n++;
	}
	return n == 2 * JWS_FINGERPRINT_LEN;
}

const char *licence_spoken(char dst[LICENCE_SPOKEN_MAX], const uint8_t bytes[JWS_FINGERPRINT_LEN])
{
	char *p = dst;

	for (size_t i = 0; i < JWS_FINGERPRINT_LEN; i++)
		p += sprintf(p, "%s%02x", i && i % 4 == 0 ? " " : "", bytes[i]);
	return dst;
}

const char *licence_date(char dst[LICENCE_DATE_MAX], int64_t t)
{
	time_t seconds = (time_t)t;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(dst, LICENCE_DATE_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm))
		snprintf(dst, LICENCE_DATE_MAX, "?");
	return dst;
}

int licence_file(const char *path, size_t max, struct buf *text, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), ret = -1;

	if (fd < 0)
		return err_sys(err, errno, "cannot be opened");
	for (;;) {
		ssize_t n;

		if (!buf_reserve(text, 4096)) {
			err_sys(err, ENOMEM, "the file");
			break;
		}
		n = read(fd, text->data + text->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_sys(err, errno, "cannot be read");
			break;
		}
		text->len += (size_t)n;
		if (n == 0) {
			ret = 0;
			break;
		}
		if (text->len > max) {
			cli_err(err, EFBIG, "has over %zu bytes: not what is looked for", max);
			break;
		}
	}
	close(fd);
	if (ret < 0)
		buf_release(text);
	return ret;
}

int licence_pinned(const uint8_t x[SIGN_KEY_LEN], const uint8_t pin[JWS_FINGERPRINT_LEN], struct err *err)
{
	uint8_t is[JWS_FINGERPRINT_LEN];

	if (!jws_fingerprint(x, is))
		return err_sys(err, EIO, "OpenSSL makes no digest");
	if (memcmp(is, pin, sizeof is) == 0)
		return 0;
	return err_set(err, ERR_REJECTED, "is signed by %s, not by the publisher that is pinned, %s: don't use it", LICENCE_SPOKEN(is), LICENCE_SPOKEN(pin));
}

/* ---- the customer's key, and what he asks with ---- */

/* A string member of the outer object, without NUL, into dst[cap]. 1: it is there, 0: not; -1: twice, of another type, too long, or no JSON. */
static int member(const char *text, size_t len, const char *name, char *dst, size_t cap)
{
	struct json_member m;
	struct json j;
	int r, found = 0;
	size_t raw;

	json_begin(&j, text, len);
	while ((r = json_next(&j, &m, NULL)) > 0) {
		if (!json_is(&j, m.key, name))
			continue;
		json_raw(&j, m.value, &raw);
		if (found++ || json_type(&j, m.value) != JSON_STRING || raw >= cap) {
			r = -1;
			break;
		}
		raw = json_unescape(&j, m.value, dst);
		dst[raw] = '\0';
		if (strlen(dst) != raw) {
			r = -1;
			break;
		}
	}
	json_release(&j);
	return r < 0 ? -1 : found;
}

int licence_customer_read(struct licence_customer *c, const char *source, struct err *err)
{
	const char *shown = TEXT(source, strlen(source));
	char pin[2 * JWS_FINGERPRINT_LEN + 1];
	struct err why = { 0 };
	int ret = -1;
	mode_t mode;

	memset(c, 0, sizeof *c);
	struct secret *text = keysource_text(source, &mode, err);
	if (!text)
		return -1;
	const char *json = (const char *)text->data;
	if (mode & 077)
		jwk_file_exposed(source, mode, err);
	else if (eckey_parse(&c->key, json, text->len, &why) < 0)
		err_set(err, why.code == ERR_SYSTEM ? ERR_FORMAT : why.code, "%s: not a customer's key (ct licence request makes one): %s", shown, why.text);
	else if (!c->key.d)
		err_set(err, ERR_FORMAT, "%s: the public half of a key only", shown);
	else if (member(json, text->len, LICENCE_PIN, pin, sizeof pin) != 1 || !licence_fingerprint(pin, c->pin))
		err_set(err, ERR_FORMAT, "%s: no publisher is pinned in it: ct licence request --publisher FINGERPRINT makes such a key", shown);
	else
		ret = 0;
	secret_free(text);
	if (ret < 0)
		licence_customer_release(c);
	return ret;
}

void licence_customer_release(struct licence_customer *c)
{
	eckey_release(&c->key);
	memset(c, 0, sizeof *c);
}

/* The object "key" of a request. */
static int request_key(struct licence_request *r, const char *text, size_t len, struct err *err)
{
	struct json_member m;
	struct json j;
	int more, found = 0, ret = 0;

	json_begin(&j, text, len);
	while ((more = json_next(&j, &m, NULL)) > 0)
		if (json_is(&j, m.key, "key") && json_type(&j, m.value) == JSON_OBJECT && found++ == 0)
			ret = eckey_parse_object(&r->key, &j, m.value, err);
	json_release(&j);
	if (ret == 0 && found == 0)
		ret = err_set(err, ERR_FORMAT, "not a request (ct licence request makes one): no \"key\"");
	if (ret == 0 && (more < 0 || found > 1 || r->key.d))
		ret = err_set(err, ERR_FORMAT, r->key.d ? "has the private half of a key in it: a request must not" : "not a request: malformed");
	return ret;
}

int licence_request_read(struct licence_request *r, const char *path, struct err *err)
{
	char version[8], pin[2 * JWS_FINGERPRINT_LEN + 1];
	struct buf text = BUF_INIT;
	int ret = -1, name, machine;

	memset(r, 0, sizeof *r);
	if (licence_file(path, REQUEST_MAX, &text, err) < 0)
		return -1;
	if (request_key(r, text.data, text.len, err) < 0)
		goto out;
	name = member(text.data, text.len, "name", r->name, sizeof r->name);
	machine = member(text.data, text.len, "machine", r->machine, sizeof r->machine);
	if (member(text.data, text.len, "ct_licence_request", version, sizeof version) != 1 || strcmp(version, "1") != 0)
		err_set(err, ERR_FORMAT, "not a request, or of another version of ct");
	else if (member(text.data, text.len, "publisher", pin, sizeof pin) != 1 || !licence_fingerprint(pin, r->pin))
		err_set(err, ERR_FORMAT, "names no publisher");
	else if (name < 0 || machine < 0 || (machine > 0 && !licence_machine_good(r->machine, strlen(r->machine))))
		err_set(err, ERR_FORMAT, "its name or machine is malformed");
	else if (!eckey_thumbprint(&r->key, r->thumb, r->kid))
		err_sys(err, EIO, "OpenSSL makes no digest");
	else
		ret = 0;
out:
	buf_release(&text);
	if (ret < 0)
		licence_request_release(r);
	return ret;
}

void licence_request_release(struct licence_request *r)
{
	eckey_release(&r->key);
}

int licence_unlock(const char *text, size_t len, const char *key_source, struct jwk_set *set, struct err *err)
{
	struct licence_customer c;
	struct licence l;
	int ret = -1;

	*set = (struct jwk_set){ NULL, 0 };
	if (licence_read(&l, text, len, err) < 0)
		return -1;
	if (!key_source)
		err_set(err, ERR_NOKEY, "is a licence: --licence-key CUSTOMER.jwk opens it");
	else if (licence_customer_read(&c, key_source, err) == 0) {
		ret = licence_pinned(l.x, c.pin, err) < 0 ? -1 : licence_open(&l, &c.key, set, err);
		licence_customer_release(&c);
	}
	licence_release(&l);
	return ret;
}
