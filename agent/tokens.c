#include "tokens.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keeper_sets.h"
#include "text.h"
#include "trusted.h"
#include "words.h"

/* --- reading a line --- */

static int put_word(char **place, char *word, const char **why)
{
	*why = "a part of the line is there twice, or empty";
	words_plain(word);
	if (*place || !*word)
		return -1;
	*why = "no memory";
	*place = strdup(word);
	return *place ? 0 : -1;
}

/* What a kid in a file cannot be would never fit one. */
static bool kid_is_text(const char *kid, size_t len)
{
	uint32_t cp;

	for (size_t n; len; kid += n, len -= n) {
		n = text_utf8_decode(kid, len, &cp);
		if (!n || cp < 0x20)
			return false;
	}
	return true;
}

static int put_part(struct token_line *l, char *word, const char **why)
{
	if (strncmp(word, "verify=", 7) == 0) {
		if (put_word(&l->verify, word + 7, why))
			return -1;
		*why = "verify= takes a whole path: it begins with /";
		return l->verify[0] == '/' ? 0 : -1;
	}
	if (strncmp(word, "kid=", 4) == 0) {
		if (put_word(&l->kid, word + 4, why))
			return -1;
		*why = "kid= takes 1 to 255 bytes of plain UTF-8 text";
		return strlen(l->kid) <= JWK_KID_MAX && kid_is_text(l->kid, strlen(l->kid)) ? 0 : -1;
	}
	*why = "behind the URI of a token there are verify=FILE and kid=KID";
	return -1;
}

static void line_release(struct token_line *l)
{
	free(l->verify);
	free(l->kid);
}

int tokens_add(struct tokens *t, unsigned int line, char *const *words, int n, const char **why)
{
	struct token_line one = { .line = line };
	struct token_line *more;

	*why = "more token lines than there is room for (16)";
	if (t->count == TOKENS_MAX)
		return -1;
	*why = "token takes the URI of a key: token pkcs11:token=LABEL;object=KEY?module-path=/….so&pin-source=/… verify=FILE";
	if (n == 0 || token_uri_parse(&one.uri, words[0], why))
		return -1;
	for (int i = 1; i < n; i++)
		if (put_part(&one, words[i], why))
			goto fail;
	*why = "token needs verify=FILE: the verification keys of those whose files the token's key is for (ct keygen --verifier)";
	if (!one.verify)
		goto fail;
	*why = "no memory";
	more = realloc(t->all, (t->count + 1) * sizeof *more);
	if (!more)
		goto fail;
	t->all = more;
	t->all[t->count++] = one;
	return 0;
fail:
	line_release(&one);
	return -1;
}

void tokens_release(struct tokens *t)
{
	for (size_t i = 0; i < t->count; i++)
		line_release(&t->all[i]);
	free(t->all);
	*t = (struct tokens){ NULL, 0 };
}

/* --- opening --- */

/* A master key beside them would be one of the set, and mean that the token's need not be asked. */
static int read_verify(const char *path, struct jwk_set *set, struct err *err)
{
	const char *shown = TEXT(path, strlen(path));
	struct secret *text = trusted_read(path, 022, JWK_FILE_MAX, err);
	struct err why;
	int r;

	if (!text)
		return -1;
	r = jwk_set_parse(set, (const char *)text->data, text->len, &why);
	secret_free(text);
	if (r)
		return err_set(err, why.code, "%s: not a JWK set: %s", shown, why.text);
	for (size_t i = 0; i < set->count; i++)
		if (set->keys[i].kind != JWK_OKP || set->keys[i].secret) {
			jwk_set_release(set);
			return err_set(err, ERR_REJECTED, "%s holds secret keys: verification keys alone belong there (ct keygen --from FILE --verifier)",
			               shown);
		}
	return 0;
}

/* The token's key becomes one of the set of those that verify. */
static int put_set(struct keeper_sets *sets, struct token *t, const char *kid, size_t kid_len, struct jwk_set *verify, struct err *err)
{
	struct jwk *keys = realloc(verify->keys, (verify->count + 1) * sizeof *keys);

	if (!keys)
		return err_sys(err, ENOMEM, "a key set");
	verify->keys = keys;
	keys[verify->count] = (struct jwk){ .kind = JWK_OCT, .has_kid = true, .kid_len = kid_len, .has_alg = true,
		                            .alg = token_key_len(t) == 16 ? AEAD_AES128GCM : AEAD_AES256GCM };
	memcpy(keys[verify->count++].kid, kid, kid_len);
	return keeper_sets_put(sets, sets->count + 1, verify, t, -1) ? 0 : err_sys(err, ENOSPC, "%d key sets are the limit", KEEPER_SETS_MAX);
}

static int open_one(const struct token_line *l, struct keeper_sets *sets, struct err *err)
{
	struct jwk_set verify = { NULL, 0 };
	struct token *t = NULL;
	const char *kid = l->kid;
	size_t kid_len = kid ? strlen(kid) : 0;

	if (read_verify(l->verify, &verify, err))
		return -1;
	t = token_open(&l->uri, err);
	if (!t)
		goto fail;
	if (!kid)
		kid = token_key_label(t, &kid_len);
	if (!kid || kid_len > JWK_KID_MAX || !kid_is_text(kid, kid_len)) {
		err_set(err, ERR_NOKEY, "the key in the token \"%s\" has no label that a file could name it by: say kid=", token_label(t));
		goto fail;
	}
	if (put_set(sets, t, kid, kid_len, &verify, err) == 0)
		return 0;
fail:
	token_close(t);
	jwk_set_release(&verify);
	return -1;
}

int tokens_open(const struct tokens *t, struct keeper_sets *sets, struct err *err)
{
	struct err why = { 0 };

	for (size_t i = 0; i < t->count; i++)
		if (open_one(&t->all[i], sets, &why)) {
			err_set(err, why.code, "line %u of the configuration: %s", t->all[i].line, why.text);
			if (err)
				err->sys_errno = why.sys_errno; /* its name; strerror()'s text is there already */
			return -1;
		}
	return 0;
}
