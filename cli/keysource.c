#include "keysource.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "askpass.h"
#include "capture.h"
#include "cli.h"
#include "jwe.h"
#include "jws.h"
#include "text.h"

static const char CRED[] = "cred:", EXEC[] = "exec:", TOKEN[] = "pkcs11:";

static const char *after(const char *source, const char *scheme)
{
	size_t len = strlen(scheme);

	return strncmp(source, scheme, len) == 0 ? source + len : NULL;
}

/* The path of a credential, or why there is none. */
static int credential(const char *name, char buf[PATH_MAX], struct err *err)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");

	if (!name[0] || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return cli_err(err, EINVAL, "cred: takes the name of a credential, without folders");
	if (!folder || folder[0] != '/')
		return cli_err(err, ENOENT, "CREDENTIALS_DIRECTORY is not set: only a systemd unit with LoadCredential= and its kin has credentials");
	if (snprintf(buf, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
		return cli_err(err, ENAMETOOLONG, "the path of the credential is too long");
	return 0;
}

const char *keysource_path(const char *source, char buf[PATH_MAX])
{
	struct err err;
	const char *name = after(source, CRED);

	if (name)
		return credential(name, buf, &err) == 0 ? buf : NULL;
	return after(source, EXEC) || after(source, TOKEN) ? NULL : source;
}

/* Splits at blanks, in place. */
static int split(char *line, char *argv[KEYSOURCE_ARGS_MAX + 1], struct err *err)
{
	size_t n = 0;
	char *at = line, *word;

	while ((word = strsep(&at, " \t"))) {
		if (!word[0])
			continue;
		if (n == KEYSOURCE_ARGS_MAX)
			return cli_err(err, E2BIG, "exec: takes at most %u words", KEYSOURCE_ARGS_MAX);
		argv[n++] = word;
	}
	argv[n] = NULL;
	return n > 0 && argv[0][0] == '/' ? 0 : cli_err(err, EINVAL, "exec: takes the absolute path of a program, and its arguments between blanks");
}

/* What the program prints; NULL: an error, which names the source. */
static struct secret *run_program(const char *line, const char *shown, struct err *err)
{
	char *argv[KEYSOURCE_ARGS_MAX + 1], *copy = strdup(line);
	struct secret *text = secret_new(JWK_FILE_MAX);
	struct err why = { 0 };
	int ret = -1;

	if (!copy || !text)
		err_sys(err, ENOMEM, "%s", shown);
	else if (split(copy, argv, &why) < 0 || capture_run(argv, text, KEYSOURCE_EXEC_MS, &why) < 0)
		cli_err(err, err_errno(&why), "%s: %s", shown, why.text);
	else if (text->len == 0)
		err_set(err, ERR_FORMAT, "%s: printed nothing", shown);
	else
		ret = 0;
	free(copy);
	if (ret == 0)
		return text;
	secret_free(text);
	return NULL;
}

/* The text of the source. *mode: what of its permissions matters. */
static struct secret *fetch(const char *source, const char *shown, mode_t *mode, struct err *err)
{
	const char *name = after(source, CRED), *line = after(source, EXEC);
	char path[PATH_MAX];
	struct err why = { 0 };

	*mode = 0;
	if (line)
		return run_program(line, shown, err);
	if (after(source, TOKEN)) {
		cli_err(err, EOPNOTSUPP, "%s: pkcs11: is for ct-agent", shown);
		return NULL;
	}
	if (!name)
		return jwk_file_read(source, mode, err);
	struct secret *text = credential(name, path, &why) == 0 ? jwk_file_read(path, mode, &why) : NULL;
	if (!text && why.code == ERR_SYSTEM)
		cli_err(err, why.sys_errno, "%s: %s", shown, why.text);
	else if (!text)
		err_set(err, why.code, "%s: %s", shown, why.text);
	/* systemd lets a unit's user in by an ACL, which shows as the group's bits; the folder is closed. */
	*mode &= 07;
	return text;
}

/* The plaintext of a JWE; NULL: an error, which names the source. */
static struct secret *unlock(const struct secret *text, const char *shown, struct err *err)
{
	const char *json = (const char *)text->data;
	struct secret *word = NULL, *plain = NULL;
	struct err why = { 0 };
	enum jwe_way way;
	char prompt[TEXT_MAX + 32];

	if (jwe_way(json, text->len, &way, &why) < 0) {
		if (why.code == ERR_SYSTEM)
			err_sys(err, why.sys_errno, "%s", shown);
		else
			err_set(err, why.code, "%s: not a key file (JWE): %s", shown, why.text);
		return NULL;
	}
	if (way != JWE_PASSPHRASE) {
		err_set(err, ERR_NOKEY, "%s: is encrypted for the holder of an EC key, not under a passphrase", shown);
		return NULL;
	}
	snprintf(prompt, sizeof prompt, "Passphrase for %s", shown);
	word = askpass(prompt, false, &why);
	if (word)
		plain = jwe_open(json, text->len, word, NULL, &why);
	if (!plain && why.code == ERR_SYSTEM)
		cli_err(err, why.sys_errno, "%s: %s", shown, why.text);
	else if (!plain)
		err_set(err, why.code, "%s: %s", shown, why.text);
	secret_free(word);
	return plain;
}

struct secret *keysource_text(const char *source, mode_t *mode, struct err *err)
{
	const char *shown = TEXT(source, strlen(source));
	struct secret *text = fetch(source, shown, mode, err), *plain = NULL;

	if (!text || jws_is((const char *)text->data, text->len) || !jwe_is((const char *)text->data, text->len))
		return text;
	/* A passphrase can be guessed by whoever has the file. */
	if (*mode & 077)
		jwk_file_exposed(source, *mode, err);
	else
		plain = unlock(text, shown, err);
	*mode = 0;
	secret_free(text);
	return plain;
}

int keysource_read(struct jwk_set *set, const char *source, struct err *err)
{
	mode_t mode;
	struct secret *text = keysource_text(source, &mode, err);

	set->keys = NULL;
	set->count = 0;
	int ret = -1;
	if (text && jws_is((const char *)text->data, text->len))
		err_set(err, ERR_FORMAT, "%s: is a licence, not a key set: ct add --licence-key CUSTOMER.jwk takes it", TEXT(source, strlen(source)));
	else if (text)
		ret = jwk_file_parse(set, source, text, mode, err);
	secret_free(text);
	return ret;
}
