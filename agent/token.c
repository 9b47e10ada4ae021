#include "token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cryptoki.h"
#include "secret.h"
#include "text.h"
#include "trusted.h"

#define SLOTS_MAX 256
#define PIN_MAX 256

struct token {
	struct token_uri uri;
	struct cryptoki *module;
	struct secret *pin; /* NULL: none */
	bool pin_is_wrong;  /* never tried again: tokens lock themselves */
	bool open;          /* session is valid */
	bool wants_login;
	ck_ulong slot, session, key;
	size_t key_len;
	char label[TEXT_MAX], key_label[TOKEN_URI_NAME_MAX];
	size_t key_label_len;
};

/* --- the token --- */

/* A field of the token's is padded with blanks; some pad with NULs. */
static size_t field_len(const uint8_t *field, size_t len)
{
	while (len && (field[len - 1] == ' ' || field[len - 1] == '\0'))
		len--;
	return len;
}

static bool field_fits(const char *wanted, const uint8_t *field, size_t len)
{
	return !*wanted || (strlen(wanted) == field_len(field, len) && memcmp(wanted, field, strlen(wanted)) == 0);
}

static bool info_fits(const struct token_uri *u, ck_ulong slot, const struct ck_token_info *i)
{
	return (!u->has_slot || u->slot == slot) && i->flags & CKF_TOKEN_INITIALIZED && field_fits(u->token, i->label, sizeof i->label) &&
	       field_fits(u->manufacturer, i->manufacturer, sizeof i->manufacturer) && field_fits(u->model, i->model, sizeof i->model) &&
	       field_fits(u->serial, i->serial, sizeof i->serial);
}

static int no_token(const struct token *t, unsigned int fitting, const char *others, struct err *err)
{
	const char *module = TEXT(t->uri.module_path, strlen(t->uri.module_path));

	if (fitting > 1)
		return err_set(err, ERR_NOKEY, "%u tokens of %s fit the URI: add serial= to it", fitting, module);
	if (!*others)
		return err_set(err, ERR_NOKEY, "%s has no token: is it plugged in, and the module's configuration the right one?", module);
	return err_set(err, ERR_NOKEY, "no token of %s fits the URI; there is %s", module, others);
}

/* The one slot whose token the URI fits, and what that says of itself. */
static int find_slot(struct token *t, struct ck_token_info *info, struct err *err)
{
	const struct ck_functions *f = t->module->f;
	ck_ulong slots[SLOTS_MAX], n = SLOTS_MAX;
	ck_rv rv = f->get_slot_list(CK_TRUE, slots, &n);
	char others[160] = "";
	unsigned int fitting = 0;

	if (rv != CKR_OK)
		return err_set(err, ERR_NOKEY, "the PKCS#11 module lists no tokens: %s", CRYPTOKI_NAME(rv));
	for (ck_ulong i = 0; i < n && i < SLOTS_MAX; i++) {
		struct ck_token_info one;

		memset(&one, 0, sizeof one);
		if (f->get_token_info(slots[i], &one) != CKR_OK)
			continue;
		if (info_fits(&t->uri, slots[i], &one)) {
			fitting++;
			t->slot = slots[i];
			*info = one;
		} else if (one.flags & CKF_TOKEN_INITIALIZED) {
			size_t at = strlen(others);

			snprintf(others + at, sizeof others - at, "%s\"%s\"", at ? ", " : "", TEXT(one.label, field_len(one.label, sizeof one.label)));
		}
	}
	if (fitting != 1)
		return no_token(t, fitting, others, err);
	text_escape(t->label, sizeof t->label, info->label, field_len(info->label, sizeof info->label));
	return 0;
}

/* --- the session --- */

static int login(struct token *t, const struct ck_token_info *info, struct err *err)
{
	bool by_itself = info->flags & CKF_PROTECTED_AUTHENTICATION_PATH;
	ck_rv rv;

	t->wants_login = info->flags & CKF_LOGIN_REQUIRED;
	if (!t->wants_login)
		return 0;
	if (!t->pin && !by_itself)
		return err_set(err, ERR_NOKEY, "the token \"%s\" wants a PIN: add pin-source=/FILE to the URI", t->label);
	if (t->pin_is_wrong)
		return err_set(err, ERR_NOKEY, "the token \"%s\" did not take the PIN; it is not tried again", t->label);
	if (info->flags & CKF_USER_PIN_LOCKED)
		return err_set(err, ERR_NOKEY, "the PIN of the token \"%s\" is locked after wrong ones: its SO has to unlock it", t->label);
	if (info->flags & CKF_USER_PIN_FINAL_TRY)
		return err_set(err, ERR_NOKEY, "one more wrong PIN would lock the token \"%s\", so none is tried: log in with another program first",
		               t->label);
	rv = t->module->f->login(t->session, CKU_USER, t->pin ? t->pin->data : NULL, t->pin ? t->pin->len : 0);
	if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
		return 0;
	t->pin_is_wrong = rv >= CKR_PIN_INCORRECT && rv <= CKR_PIN_LOCKED;
	return err_set(err, ERR_NOKEY, "the token \"%s\" does not take the PIN%s%s: %s", t->label, t->pin ? " in " : "",
	               t->pin ? TEXT(t->uri.pin_source, strlen(t->uri.pin_source)) : "", CRYPTOKI_NAME(rv));
}

/* Attributes one by one: a module that lacks one fails a list as a whole. */
static bool attribute(const struct token *t, ck_ulong type, void *value, size_t cap, size_t *len)
{
	struct ck_attribute a = { type, value, cap };

	if (t->module->f->get_attributes(t->session, t->key, &a, 1) != CKR_OK || a.len > cap)
		return false;
	*len = a.len;
	return true;
}

static bool flag(const struct token *t, ck_ulong type, bool unknown)
{
	uint8_t b = 0;
	size_t len;

	return attribute(t, type, &b, sizeof b, &len) && len == 1 ? b != 0 : unknown;
}

static int find_key(struct token *t, struct err *err)
{
	const struct ck_functions *f = t->module->f;
	ck_ulong class = CKO_SECRET_KEY, type = CKK_AES, found[2], n = 0;
	struct ck_attribute wanted[4] = { { CKA_CLASS, &class, sizeof class }, { CKA_KEY_TYPE, &type, sizeof type } };
	ck_ulong count = 2;
	ck_rv rv;

	if (t->uri.object[0])
		wanted[count++] = (struct ck_attribute){ CKA_LABEL, t->uri.object, strlen(t->uri.object) };
	if (t->uri.id_len)
		wanted[count++] = (struct ck_attribute){ CKA_ID, t->uri.id, t->uri.id_len };
	rv = f->find_begin(t->session, wanted, count);
	if (rv == CKR_OK) {
		rv = f->find(t->session, found, 2, &n);
		f->find_end(t->session);
	}
	if (rv != CKR_OK)
		return err_set(err, ERR_NOKEY, "the token \"%s\" cannot be searched: %s", t->label, CRYPTOKI_NAME(rv));
	if (n == 0)
		return err_set(err, ERR_NOKEY, "the token \"%s\" has no AES key that fits the URI's object= and id=: pkcs11-tool -l -O shows what it has",
		               t->label);
	if (n > 1)
		return err_set(err, ERR_NOKEY, "several AES keys of the token \"%s\" fit the URI: give both object= and id=", t->label);
	t->key = found[0];
	return 0;
}

/* What can be known before the first unwrap is an error at the start, not at somebody's open(). */
static int check_key(struct token *t, struct err *err)
{
	struct ck_mechanism_info gcm = { 0, 0, 0 };
	ck_ulong bytes = 0;
	size_t len;

	if (t->module->f->get_mechanism_info(t->slot, CKM_AES_GCM, &gcm) != CKR_OK || !(gcm.flags & CKF_DECRYPT))
		return err_set(err, ERR_REJECTED, "the token \"%s\" does not decrypt by AES-GCM", t->label);
	if (!flag(t, CKA_DECRYPT, true))
		return err_set(err, ERR_REJECTED, "the key in the token \"%s\" is not one for decryption (CKA_DECRYPT)", t->label);
	if (!flag(t, CKA_SENSITIVE, false) || flag(t, CKA_EXTRACTABLE, true))
		return err_set(err, ERR_REJECTED,
		               "the key can be read out of the token \"%s\" (CKA_SENSITIVE is not set, or CKA_EXTRACTABLE is): import it anew as one that stays",
		               t->label);
	if (t->wants_login && !flag(t, CKA_PRIVATE, false)) /* softhsm2 keeps such a key in the clear, on disk and in memory */
		return err_set(err, ERR_REJECTED, "the key in the token \"%s\" can be used without the PIN (CKA_PRIVATE is not set): import it anew", t->label);
	if (!attribute(t, CKA_VALUE_LEN, &bytes, sizeof bytes, &len) || (bytes != 16 && bytes != 32))
		return err_set(err, ERR_REJECTED, "the key in the token \"%s\" has %lu bytes: a master key has 16 or 32", t->label, bytes);
	t->key_len = bytes;
	if (!attribute(t, CKA_LABEL, t->key_label, sizeof t->key_label, &t->key_label_len))
		t->key_label_len = 0;
	return 0;
}

static void disconnect(struct token *t)
{
	if (t->open)
		t->module->f->close_session(t->session); /* the last one of a token logs out; a logout would end our other keys' sessions */
	t->open = false;
}

static int connect(struct token *t, struct err *err)
{
	struct ck_token_info info;
	ck_rv rv;

	disconnect(t);
	if (find_slot(t, &info, err))
		return -1;
	rv = t->module->f->open_session(t->slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session);
	if (rv != CKR_OK)
		return err_set(err, ERR_NOKEY, "the token \"%s\" opens no session: %s", t->label, CRYPTOKI_NAME(rv));
	t->open = true;
	if (login(t, &info, err) == 0 && find_key(t, err) == 0 && check_key(t, err) == 0)
		return 0;
	disconnect(t);
	return -1;
}

static int read_pin(struct token *t, struct err *err)
{
	if (!t->uri.pin_source[0])
		return 0;
	t->pin = trusted_read(t->uri.pin_source, 077, PIN_MAX, err);
	if (!t->pin)
		return -1;
	if (t->pin->len && t->pin->data[t->pin->len - 1] == '\n')
		t->pin->len--;
	t->pin = secret_hide(t->pin);
	return t->pin->len ? 0 : err_set(err, ERR_NOKEY, "%s: no PIN in it", TEXT(t->uri.pin_source, strlen(t->uri.pin_source)));
}

struct token *token_open(const struct token_uri *uri, struct err *err)
{
	struct token *t = calloc(1, sizeof *t);

	if (!t) {
		err_sys(err, ENOMEM, "a token");
		return NULL;
	}
	t->uri = *uri;
	if (read_pin(t, err))
		goto fail;
	t->module = cryptoki_load(uri->module_path, err);
	if (!t->module || connect(t, err))
		goto fail;
	return t;
fail:
	token_close(t);
	return NULL;
}

void token_close(struct token *t)
{
	if (!t)
		return;
	disconnect(t);
	cryptoki_unload(t->module);
	secret_free(t->pin);
	free(t);
}

size_t token_key_len(const struct token *t)
{
	return t->key_len;
}

const char *token_label(const struct token *t)
{
	return t->label;
}

const char *token_key_label(const struct token *t, size_t *len)
{
	*len = t->key_label_len;
	return t->key_label_len ? t->key_label : NULL;
}

/* --- unwrapping --- */

static bool lost(ck_rv rv)
{
	return rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED || rv == CKR_USER_NOT_LOGGED_IN || rv == CKR_KEY_HANDLE_INVALID ||
	       rv == CKR_OBJECT_HANDLE_INVALID || rv == CKR_DEVICE_REMOVED || rv == CKR_DEVICE_ERROR || rv == CKR_TOKEN_NOT_PRESENT ||
	       rv == CKR_CRYPTOKI_NOT_INITIALIZED;
}

/* sealed: ciphertext and tag. *begun: the token took the mechanism and the key, so what fails is about the ciphertext. */
static ck_rv decrypt(struct token *t, const uint8_t *iv, uint8_t *sealed, size_t len, uint8_t *clear, ck_ulong *clear_len, bool *begun)
{
	uint8_t iv_copy[AEAD_IV_LEN];
	struct ck_gcm_params p = { iv_copy, AEAD_IV_LEN, 8 * AEAD_IV_LEN, NULL, 0, 8 * AEAD_TAG_LEN };
	struct ck_mechanism m = { CKM_AES_GCM, &p, sizeof p };
	ck_rv rv;

	memcpy(iv_copy, iv, sizeof iv_copy); /* the interface knows no const */
	*begun = false;
	if (!t->open)
		return CKR_SESSION_HANDLE_INVALID;
	rv = t->module->f->decrypt_begin(t->session, &m, t->key);
	if (rv != CKR_OK)
		return rv;
	*begun = true;
	return t->module->f->decrypt(t->session, sealed, len, clear, clear_len);
}

int token_unwrap(struct token *t, const uint8_t iv[AEAD_IV_LEN], const uint8_t *wrapped, size_t len, const uint8_t tag[AEAD_TAG_LEN],
                 uint8_t *out, struct err *err)
{
	uint8_t sealed[AEAD_KEY_MAX + AEAD_TAG_LEN], clear[sizeof sealed]; /* as much room: some modules ask for it */
	ck_ulong n = sizeof clear;
	struct err why;
	bool begun;
	int r = -1;
	ck_rv rv;

	if (len > AEAD_KEY_MAX)
		return err_set(err, ERR_FORMAT, "a data key of %zu bytes", len);
	memcpy(sealed, wrapped, len);
	memcpy(sealed + len, tag, AEAD_TAG_LEN);
	rv = decrypt(t, iv, sealed, len + AEAD_TAG_LEN, clear, &n, &begun);
	if (lost(rv)) {
		if (connect(t, &why)) {
			err_set(err, ERR_NOKEY, "the token is gone (%s): %s", CRYPTOKI_NAME(rv), why.text);
			goto out;
		}
		n = sizeof clear;
		rv = decrypt(t, iv, sealed, len + AEAD_TAG_LEN, clear, &n, &begun);
	}
	if (rv == CKR_OK && n == len) {
		memcpy(out, clear, len);
		r = 0;
	} else if (begun && !lost(rv)) {
		err_set(err, ERR_FORMAT, "the token says %s", CRYPTOKI_NAME(rv));
	} else {
		err_set(err, ERR_NOKEY, "the token \"%s\" does not decrypt: %s", t->label, CRYPTOKI_NAME(rv));
	}
out:
	secret_wipe(clear, sizeof clear);
	return r;
}
