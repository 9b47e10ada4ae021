/* Lists of revoked licences. */
#include "licence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "jws.h"
#include "text.h"

enum member { M_V, M_ISSUED, M_SEQ, M_IDS, MEMBERS };

static const char *const names[MEMBERS] = { "v", "issued", "seq", "ids" };

bool licence_list_has(const struct licence_list *l, const char *id)
{
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->ids[i], id) == 0)
			return true;
	return false;
}

int licence_list_add(struct licence_list *l, const char *id, struct err *err)
{
	if (licence_list_has(l, id))
		return 0;
	if (l->count == LICENCE_LIST_MAX)
		return err_sys(err, E2BIG, "a list has at most %u ids", LICENCE_LIST_MAX);
	char(*grown)[LICENCE_ID_MAX + 1] = realloc(l->ids, (l->count + 1) * sizeof *grown);
	if (!grown)
		return err_sys(err, ENOMEM, "the list");
	l->ids = grown;
	memset(grown[l->count], 0, sizeof *grown);
	memcpy(grown[l->count++], id, strnlen(id, LICENCE_ID_MAX));
	return 1;
}

/* Room for all at once: a realloc() for each would do, but a look at all before it would not for ten thousand of them. */
static bool put_ids(struct licence_list *l, const struct json *j, int array)
{
	size_t n = json_type(j, array) == JSON_ARRAY ? json_size(j, array) : LICENCE_LIST_MAX + 1, raw;

	if (n > LICENCE_LIST_MAX)
		return false;
	l->ids = calloc(n + 1, sizeof *l->ids);
	if (!l->ids)
		return false;
	for (int e = json_first(j, array); e >= 0; e = json_sibling(j, e)) {
		json_raw(j, e, &raw);
		if (json_type(j, e) != JSON_STRING || raw > LICENCE_ID_MAX)
			return false;
		raw = json_unescape(j, e, l->ids[l->count]);
		if (!licence_id_good(l->ids[l->count++], raw))
			return false;
	}
	return true;
}

static bool put(struct licence_list *l, enum member m, const struct json *j, int tok)
{
	uint64_t v;

	switch (m) {
	case M_V:
		return json_u64(j, tok, &v) && v == 1;
	case M_ISSUED:
		if (!json_u64(j, tok, &v) || v < 1 || v > (uint64_t)LICENCE_TIME_MAX)
			return false;
		l->issued = (int64_t)v;
		return true;
	case M_SEQ:
		return json_u64(j, tok, &l->seq) && l->seq >= 1;
	case M_IDS:
		return put_ids(l, j, tok);
	default:
		return false;
	}
}

static int take_members(struct licence_list *l, const char *text, size_t len, struct err *err)
{
	unsigned int seen = 0;
	struct json_member jm;
	struct json j;
	int r;

	json_begin(&j, text, len);
	while ((r = json_next(&j, &jm, err)) > 0) {
		unsigned int m = 0;
		size_t raw;

		while (m < MEMBERS && !json_is(&j, jm.key, names[m]))
			m++;
		if (m == MEMBERS) {
			const char *name = json_raw(&j, jm.key, &raw);
			r = err_set(err, ERR_FORMAT, "\"%s\" is not known here: a newer ct knows it", TEXT(name, raw));
		} else if (seen & 1u << m) {
			r = err_set(err, ERR_FORMAT, "\"%s\" is there twice", names[m]);
		} else if (!put(l, (enum member)m, &j, jm.value)) {
			r = err_set(err, ERR_FORMAT, "\"%s\" is not what it should be", names[m]);
		}
		if (r < 0)
			break;
		seen |= 1u << m;
	}
	json_release(&j);
	if (r == 0 && seen != (1u << MEMBERS) - 1)
		r = err_set(err, ERR_FORMAT, "v, issued, seq or ids is missing");
	return r;
}

int licence_list_read(struct licence_list *l, const char *text, size_t len, struct err *err)
{
	struct err why = { 0 };
	struct jws jws;
	int r;

	memset(l, 0, sizeof *l);
	if (jws_read(&jws, text, len, &why) < 0)
		return why.code == ERR_SYSTEM ? err_sys(err, why.sys_errno, "the list") : err_set(err, ERR_FORMAT, "not a list of revoked licences: %s", why.text);
	if (strcmp(jws.typ, LICENCE_LIST_TYP) != 0)
		r = err_set(err, ERR_FORMAT, "not a list of revoked licences: a signed text of another type");
	else if ((r = take_members(l, jws.payload, jws.len, &why)) < 0)
		err_set(err, ERR_FORMAT, "not a sound list of revoked licences: %s", why.text);
	memcpy(l->x, jws.x, sizeof l->x);
	jws_release(&jws);
	if (r < 0)
		licence_list_release(l);
	return r;
}

void licence_list_release(struct licence_list *l)
{
	free(l->ids);
	memset(l, 0, sizeof *l);
}

int licence_list_make(struct buf *out, const struct licence_list *l, const struct jwk *signer, struct err *err)
{
	struct buf b = BUF_INIT;
	int ret;

	buf_puts(&b, "{\"v\":1,\"issued\":");
	buf_put_u64(&b, (uint64_t)l->issued);
	buf_puts(&b, ",\"seq\":");
	buf_put_u64(&b, l->seq);
	buf_puts(&b, ",\"ids\":[");
	for (size_t i = 0; i < l->count; i++) {
		if (i)
			buf_putc(&b, ',');
		buf_put_json_string(&b, l->ids[i], strlen(l->ids[i]));
	}
	buf_puts(&b, "]}");
	ret = b.failed ? err_sys(err, ENOMEM, "the list") : jws_make(out, LICENCE_LIST_TYP, b.data, b.len, signer, err);
	buf_release(&b);
	return ret;
}
