#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"
#include "trusted.h"
#include "words.h"

void config_default(struct config *c)
{
	memset(c, 0, sizeof *c);
	c->keep_s = 60;
}

void config_release(struct config *c)
{
	rules_release(&c->rules);
	tokens_release(&c->tokens);
	free(c->environment);
	free(c->standing);
	free(c->clock);
	for (size_t i = 0; i < c->revoked_count; i++)
		free(c->revoked[i]);
	for (size_t i = 0; i < c->attribute_count; i++) {
		free(c->attributes[i].name);
		free(c->attributes[i].value);
	}
}

static int copy_word(char **place, const char *word, const char **what)
{
	*what = "no memory";
	*place = strdup(word);
	return *place ? 0 : -1;
}

/* Its reason is the file's; static, since it outlives the call: one thread reads configurations. */
static int read_policy(char **place, const char *path, const char **what)
{
	static struct err why;
	struct secret *text;

	*what = "policy takes the absolute path of a file";
	if (path[0] != '/')
		return -1;
	*what = why.text;
	text = trusted_read(path, 022, CONFIG_POLICY_MAX, &why);
	if (!text)
		return -1;
	if (memchr(text->data, 0, text->len))
		*what = "policy: a NUL byte in the file";
	else if (!(*place = strndup((const char *)text->data, text->len)))
		*what = "no memory";
	secret_free(text);
	return *place ? 0 : -1;
}

/* `attribute NAME VALUE`. */
static int put_attribute(struct config *c, const char *name, const char *value, const char **what)
{
	struct config_attribute *x = &c->attributes[c->attribute_count];
	size_t len = strlen(name);

	*what = "attribute takes a name of letters, digits, _ and -, at most 64 of them, and a value";
	if (len == 0 || len > 64 || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != len)
		return -1;
	*what = "more attribute lines than there is room for (64)";
	if (c->attribute_count == CONFIG_ATTRIBUTES_MAX)
		return -1;
	*what = "an attribute of that name is there already";
	for (size_t i = 0; i < c->attribute_count; i++)
		if (strcmp(c->attributes[i].name, name) == 0)
			return -1;
	c->attribute_count++;
	return copy_word(&x->name, name, what) < 0 ? -1 : copy_word(&x->value, value, what);
}

/* `revoked FILE`, `clock FILE`. */
static int put_licence_file(struct config *c, bool list, const char *path, const char **what)
{
	*what = list ? "revoked takes the absolute path of a file" : "clock takes the absolute path of a file";
	if (path[0] != '/')
		return -1;
	*what = list ? "more revoked lines than there is room for (16)" : "clock is there twice";
	if (list ? c->revoked_count == CONFIG_REVOKED_MAX : c->clock != NULL)
		return -1;
	return copy_word(list ? &c->revoked[c->revoked_count++] : &c->clock, path, what);
}

/* One setting. Leaves in *what why it is none. */
static int setting(struct config *c, const char *name, const char *value, const char **what)
{
	uint64_t v;

	if (strcmp(name, "keep") == 0) {
		*what = "keep takes a number of seconds up to 31536000";
		if (!words_number(value, CONFIG_KEEP_MAX, &v))
			return -1;
		c->keep_s = (unsigned int)v;
		return 0;
	}
	if (strcmp(name, "allow-uid") == 0) {
		*what = "allow-uid takes one user's number";
		if (!words_number(value, UINT32_MAX - 1, &v))
			return -1;
		*what = "more allow-uid lines than there is room for (64)";
		if (c->allow_count == CONFIG_ALLOW_MAX)
			return -1;
		c->allow[c->allow_count++] = (uid_t)v;
		return 0;
	}
	if (strcmp(name, "environment") == 0) {
		*what = "environment is there twice";
		return c->environment ? -1 : copy_word(&c->environment, value, what);
	}
	if (strcmp(name, "policy") == 0) {
		*what = "policy is there twice";
		return c->standing ? -1 : read_policy(&c->standing, value, what);
	}
	if (strcmp(name, "revoked") == 0 || strcmp(name, "clock") == 0)
		return put_licence_file(c, name[0] == 'r', value, what);
	if (strcmp(name, "remote") == 0) {
		*what = "remote takes ignore or refuse";
		c->refuse_remote = strcmp(value, "refuse") == 0;
		return c->refuse_remote || strcmp(value, "ignore") == 0 ? 0 : -1;
	}
	*what = "unknown setting: there are keep, allow-uid, environment, attribute, policy, remote, revoked, clock, allow, ciphertext, deny and token";
	return -1;
}

/* The names of lines that are rules. */
static bool is_rule(const char *name, enum wire_disposition *what)
{
	static const char *const names[] = { [WIRE_SERVE] = "allow", [WIRE_CIPHERTEXT] = "ciphertext", [WIRE_REFUSE] = "deny" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0) {
			*what = (enum wire_disposition)i;
			return true;
		}
	return false;
}

static int line_in(struct config *c, char *line, unsigned int number_of, const char **what)
{
	enum wire_disposition disposition;
	char *words[WORDS_MAX];
	int n = words_split(line, words, what);

	if (n <= 0)
		return n;
	if (is_rule(words[0], &disposition))
		return rules_add(&c->rules, disposition, number_of, words + 1, n - 1, what);
	if (strcmp(words[0], "attribute") == 0) {
		*what = "attribute takes a name and a value";
		if (n != 3)
			return -1;
		words_plain(words[2]);
		return put_attribute(c, words[1], words[2], what);
	}
	if (strcmp(words[0], "token") == 0)
		return tokens_add(&c->tokens, number_of, words + 1, n - 1, what);
	*what = "a line is a name and one value";
	if (n != 2)
		return -1;
	words_plain(words[1]);
	return setting(c, words[0], words[1], what);
}

int config_read(struct config *c, const char *path, struct err *err)
{
	const char *shown = TEXT(path, strlen(path)), *what = NULL;
	unsigned int number_of = 0;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int r = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO is refused, not waited for */
	FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;

	if (!f) {
		err_sys(err, errno, "%s", shown);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (trusted_fd(fileno(f), path, 022, err))
		goto out;
	while ((n = getline(&line, &cap, f)) >= 0) {
		number_of++;
		what = "a NUL byte";
		if (strlen(line) != (size_t)n || line_in(c, line, number_of, &what)) {
			err_set(err, ERR_FORMAT, "%s:%u: %s", shown, number_of, what);
			goto out;
		}
	}
	r = ferror(f) ? err_sys(err, errno, "%s", shown) : 0;
out:
	free(line);
	fclose(f);
	return r;
}

int config_check(const struct config *c, bool engine, struct err *err)
{
	if (c->standing && !engine)
		return err_set(err, ERR_FORMAT, "the configuration has a policy of its own, which takes a --policy-engine");
	return 0;
}

bool config_allows(const struct config *c, uid_t uid)
{
	for (size_t i = 0; i < c->allow_count; i++)
		if (c->allow[i] == uid)
			return true;
	return false;
}
