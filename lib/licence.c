#include "licence.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "jwe.h"
#include "jws.h"
#include "text.h"

enum member { M_V, M_ID, M_ISSUED, M_UNTIL, M_GRACE, M_NAME, M_TO, M_MACHINES, M_USERS, M_WHAT, M_KEYS, MEMBERS };

static const struct {
	const char *name, *shape;
	bool needed;
} members[MEMBERS] = {
	[M_V] = { "v", "1: a newer ct made it", true },
	[M_ID] = { "id", "1 to 64 letters, digits, '.', '_', '-'", true },
	[M_ISSUED] = { "issued", "a time in seconds", true },
	[M_UNTIL] = { "until", "a time in seconds", true },
	[M_GRACE] = { "grace", "a number of days up to 36500", false },
	[M_NAME] = { "name", "a text of at most 255 bytes", false },
	[M_TO] = { "to", "a public P-256 key", true },
	[M_MACHINES] = { "machines", "1 to 16 ids of machines", false },
	[M_USERS] = { "users", "1 to 64 numbers of users", false },
	[M_WHAT] = { "what", "at most 32 texts of at most 255 bytes", false },
	[M_KEYS] = { "keys", "a JWE", true },
};

bool licence_id_good(const char *id, size_t len)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	if (len == 0 || len > LICENCE_ID_MAX || strchr("._-", id[0]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!id[i] || !strchr(letters, id[i]))
			return false;
	return true;
}

bool licence_machine_good(const char *id, size_t len)
{
	bool zero = true;

	for (size_t i = 0; i < len; i++) {
		if (!id[i] || !strchr("0123456789abcdef", id[i]))
			return false;
		zero = zero && id[i] == '0';
	}
	return len == LICENCE_MACHINE_LEN && !zero;
}

/* ---- reading ---- */

/* A string without NUL into dst[cap]. */
static bool put_text(const struct json *j, int tok, char *dst, size_t cap)
{
	size_t len;

	if (json_type(j, tok) != JSON_STRING || json_unescape(j, tok, NULL) >= cap)
		return false;
	json_raw(j, tok, &len);
	char *raw = malloc(len + 1);
	if (!raw)
		return false;
	len = json_unescape(j, tok, raw);
	memcpy(dst, raw, len);
	dst[len] = '\0';
	free(raw);
	return strlen(dst) == len;
}

static bool put_time(const struct json *j, int tok, int64_t *out)
{
	uint64_t v;

	if (!json_u64(j, tok, &v) || v < 1 || v > (uint64_t)LICENCE_TIME_MAX)
		return false;
	*out = (int64_t)v;
	return true;
}

static bool put_array(struct licence *l, enum member m, const struct json *j, int array)
{
	size_t max = m == M_MACHINES ? LICENCE_MACHINES_MAX : m == M_USERS ? LICENCE_USERS_MAX : LICENCE_WHAT_MAX, n = 0;
	uint64_t v;

	if (json_type(j, array) != JSON_ARRAY || json_size(j, array) > max || (m != M_WHAT && json_size(j, array) == 0))
		return false;
	for (int e = json_first(j, array); e >= 0; e = json_sibling(j, e), n++) {
		bool good;

		if (m == M_MACHINES) {
			good = put_text(j, e, l->machines[n], sizeof l->machines[n]) && licence_machine_good(l->machines[n], strlen(l->machines[n]));
		} else if (m == M_WHAT) {
			good = put_text(j, e, l->what[n], sizeof l->what[n]);
		} else {
			good = json_u64(j, e, &v) && v < UINT32_MAX;
			l->users[n] = good ? (uid_t)v : 0;
		}
		if (!good)
			return false;
	}
	*(m == M_MACHINES ? &l->machine_count : m == M_USERS ? &l->user_count : &l->what_count) = n;
	return true;
}

static bool put_to(struct licence *l, const struct json *j, int tok)
{
	if (json_type(j, tok) != JSON_OBJECT || eckey_parse_object(&l->to, j, tok, NULL) < 0)
		return false;
	if (l->to.d) /* released with the rest */
		return false;
	return eckey_thumbprint(&l->to, l->to_thumb, l->to_kid);
}

static bool put(struct licence *l, enum member m, const struct json *j, int tok)
{
	uint64_t v;
	size_t len;

	switch (m) {
	case M_V:
		return json_u64(j, tok, &v) && v == 1;
	case M_ID:
		return put_text(j, tok, l->id, sizeof l->id) && licence_id_good(l->id, strlen(l->id));
	case M_ISSUED:
		return put_time(j, tok, &l->issued);
	case M_UNTIL:
		return put_time(j, tok, &l->until);
	case M_GRACE:
		if (!json_u64(j, tok, &v) || v > LICENCE_GRACE_MAX)
			return false;
		l->grace = (unsigned int)v;
		return true;
	case M_NAME:
		return put_text(j, tok, l->name, sizeof l->name);
	case M_TO:
		return put_to(l, j, tok);
	case M_MACHINES:
	case M_USERS:
	case M_WHAT:
		return put_array(l, m, j, tok);
	case M_KEYS:
		if (json_type(j, tok) != JSON_STRING)
			return false;
		json_raw(j, tok, &len);
		if (len > LICENCE_TEXT_MAX || !buf_reserve(&l->keys, len + 1))
			return false;
		l->keys.len = json_unescape(j, tok, l->keys.data);
		return jwe_is(l->keys.data, l->keys.len);
	default:
		return false;
	}
}

static int take_members(struct licence *l, const char *text, size_t len, struct err *err)
{
	unsigned int seen = 0;
	struct json_member jm;
	struct json j;
	int r;

	json_begin(&j, text, len);
	while ((r = json_next(&j, &jm, err)) > 0) {
		unsigned int m = 0;
		size_t raw;

		while (m < MEMBERS && !json_is(&j, jm.key, members[m].name))
			m++;
		if (m == MEMBERS) {
			const char *name = json_raw(&j, jm.key, &raw);
			r = err_set(err, ERR_FORMAT, "\"%s\" is not known here, and may be a condition: a newer ct knows it", TEXT(name, raw));
		} else if (seen & 1u << m) {
			r = err_set(err, ERR_FORMAT, "\"%s\" is there twice", members[m].name);
		} else if (!put(l, (enum member)m, &j, jm.value)) {
			r = err_set(err, ERR_FORMAT, "\"%s\" is not %s", members[m].name, members[m].shape);
		}
		if (r < 0)
			break;
		seen |= 1u << m;
	}
	json_release(&j);
	for (unsigned int m = 0; r == 0 && m < MEMBERS; m++)
		if (members[m].needed && !(seen & 1u << m))
			r = err_set(err, ERR_FORMAT, "\"%s\" is missing", members[m].name);
	return r;
}

int licence_read(struct licence *l, const char *text, size_t len, struct err *err)
{
	struct err why = { 0 };
	struct jws jws;
	int r;

	memset(l, 0, sizeof *l);
	if (len > LICENCE_TEXT_MAX)
		return err_set(err, ERR_FORMAT, "not a licence: over %u bytes", LICENCE_TEXT_MAX);
	if (jws_read(&jws, text, len, &why) < 0)
		return why.code == ERR_SYSTEM ? err_sys(err, why.sys_errno, "the licence") : err_set(err, ERR_FORMAT, "not a licence: %s", why.text);
	if (strcmp(jws.typ, LICENCE_TYP) != 0)
		r = err_set(err, ERR_FORMAT, "not a licence: a signed text of another type");
	else if ((r = take_members(l, jws.payload, jws.len, &why)) < 0)
		err_set(err, ERR_FORMAT, "not a sound licence: %s", why.text);
	memcpy(l->x, jws.x, sizeof l->x);
	jws_release(&jws);
	if (r < 0)
		licence_release(l);
	return r;
}

void licence_release(struct licence *l)
{
	eckey_release(&l->to);
	buf_release(&l->keys);
	memset(l, 0, sizeof *l);
}

int64_t licence_end(const struct licence *l)
{
	return l->until + (int64_t)l->grace * LICENCE_DAY;
}

/* ---- making ---- */

static void put_string(struct buf *b, const char *name, const char *text)
{
	buf_put_name(b, name);
	buf_put_json_string(b, text, strlen(text));
}

static void put_number(struct buf *b, const char *name, uint64_t v)
{
	buf_put_name(b, name);
	buf_put_u64(b, v);
}

static void put_list(struct buf *b, const struct licence *l, enum member m, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i == 0)
			buf_put_name(b, members[m].name);
		buf_putc(b, i ? ',' : '[');
		if (m == M_USERS)
			buf_put_u64(b, l->users[i]);
		else if (m == M_MACHINES)
			buf_put_json_string(b, l->machines[i], strlen(l->machines[i]));
		else
			buf_put_json_string(b, l->what[i], strlen(l->what[i]));
	}
	if (count)
		buf_putc(b, ']');
}

int licence_make(struct buf *out, const struct licence *l, const struct jwk *signer, struct err *err)
{
	struct secret *to = eckey_write(&l->to, false);
	struct buf b = BUF_INIT;
	size_t before = out->len;
	int ret = -1;

	if (!to)
		return err_sys(err, ENOMEM, "the licence");
	buf_puts(&b, "{\"v\":1");
	put_string(&b, "id", l->id);
	put_number(&b, "issued", (uint64_t)l->issued);
	put_number(&b, "until", (uint64_t)l->until);
	if (l->grace)
		put_number(&b, "grace", l->grace);
	if (l->name[0])
		put_string(&b, "name", l->name);
	buf_puts(&b, ",\"to\":");
	buf_put(&b, to->data, to->len - 1); /* without its newline */
	put_list(&b, l, M_MACHINES, l->machine_count);
	put_list(&b, l, M_USERS, l->user_count);
	put_list(&b, l, M_WHAT, l->what_count);
	buf_puts(&b, ",\"keys\":");
	buf_put_json_string(&b, l->keys.data, l->keys.len);
	buf_putc(&b, '}');
	secret_free(to);
	if (b.failed)
		err_sys(err, ENOMEM, "the licence");
	else
		ret = jws_make(out, LICENCE_TYP, b.data, b.len, signer, err);
	buf_release(&b);
	if (ret == 0 && out->len - before > LICENCE_TEXT_MAX)
		ret = err_sys(err, EFBIG, "the licence would have over %u bytes", LICENCE_TEXT_MAX);
	return ret;
}
