#include "constraints.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"
#include "text.h"

/* --- reading the request --- */

int constraints_uids(struct constraints *c, const struct json *j, int tok, const char **why)
{
	uint64_t v;

	*why = "uids is an array of 1 to 64 numbers of users";
	if (json_type(j, tok) != JSON_ARRAY || json_size(j, tok) < 1 || json_size(j, tok) > CONSTRAINTS_MAX)
		return -1;
	c->uids = calloc(json_size(j, tok), sizeof *c->uids);
	for (int k = json_first(j, tok); k >= 0; k = json_sibling(j, k)) {
		if (!json_u64(j, k, &v) || v >= UINT32_MAX)
			return -1;
		if (!c->uids) {
			*why = "no memory";
			return -1;
		}
		c->uids[c->uid_count++] = (uid_t)v;
	}
	return 0;
}

static int put_exe(struct constraints *c, const struct json *j, int tok, const char **why)
{
	char text[6 * RULES_GLOB_MAX]; /* as it is escaped */
	size_t raw, len;

	if (json_type(j, tok) != JSON_STRING)
		return -1;
	json_raw(j, tok, &raw);
	if (raw >= sizeof text)
		return -1;
	len = json_unescape(j, tok, text);
	text[len] = '\0';
	if (len == 0 || len >= RULES_GLOB_MAX || memchr(text, 0, len) || (text[0] != '/' && text[0] != '*'))
		return -1;
	*why = rules_exe_objection(text);
	if (*why)
		return -1;
	*why = "no memory";
	c->exes[c->exe_count] = strdup(text);
	return c->exes[c->exe_count++] ? 0 : -1;
}

int constraints_exes(struct constraints *c, const struct json *j, int tok, const char **why)
{
	static const char right[] = "exes is an array of 1 to 64 globs of executables, whole paths of 1 to 1023 bytes that begin with / or *";

	*why = right;
	if (json_type(j, tok) != JSON_ARRAY || json_size(j, tok) < 1 || json_size(j, tok) > CONSTRAINTS_MAX)
		return -1;
	c->exes = calloc(json_size(j, tok), sizeof *c->exes);
	if (!c->exes) {
		*why = "no memory";
		return -1;
	}
	for (int k = json_first(j, tok); k >= 0; k = json_sibling(j, k)) {
		*why = right;
		if (put_exe(c, j, k, why))
			return -1;
	}
	return 0;
}

int constraints_opens(struct constraints *c, const struct json *j, int tok, const char **why)
{
	*why = "opens is a number of opens, 1 to 4294967295";
	return json_u64(j, tok, &c->opens) && c->opens >= 1 && c->opens <= CONSTRAINTS_OPENS_MAX ? 0 : -1;
}

bool constraints_any(const struct constraints *c)
{
	return c->uid_count || c->exe_count || c->opens || c->confirm;
}

void constraints_release(struct constraints *c)
{
	for (size_t i = 0; i < c->exe_count; i++)
		free(c->exes[i]);
	free(c->exes);
	free(c->uids);
	*c = (struct constraints){ 0 };
}

/* --- the table --- */

static size_t place(const struct constraints_table *t, uint64_t set)
{
	size_t i = 0;

	while (i < t->count && t->all[i].set != set)
		i++;
	return i;
}

static void drop(struct constraints_table *t, size_t i)
{
	constraints_release(&t->all[i].c);
	t->all[i] = t->all[--t->count];
}

/* Sets go without a word to this table, and their numbers never come again: those that are there always fit. */
void constraints_put(struct constraints_table *t, const struct keystore *ks, uint64_t set, struct constraints *c)
{
	for (size_t i = t->count; i-- > 0;)
		if (t->all[i].set == set || !keystore_has(ks, t->all[i].set))
			drop(t, i);
	if (!constraints_any(c))
		return;
	t->all[t->count].set = set;
	t->all[t->count++].c = *c;
	*c = (struct constraints){ 0 };
}

void constraints_clear(struct constraints_table *t)
{
	while (t->count)
		drop(t, t->count - 1);
}

const struct constraints *constraints_of(const struct constraints_table *t, uint64_t set)
{
	size_t i = place(t, set);

	return i < t->count ? &t->all[i].c : NULL;
}

bool constraints_spend(struct constraints_table *t, uint64_t set)
{
	size_t i = place(t, set);

	return i < t->count && t->all[i].c.opens && --t->all[i].c.opens == 0;
}

/* --- asking --- */

static bool fits_uid(const struct constraints *c, uid_t uid)
{
	for (size_t i = 0; i < c->uid_count; i++)
		if (c->uids[i] == uid)
			return true;
	return c->uid_count == 0;
}

static bool fits_exe(const struct constraints *c, const struct peer_fact *exe)
{
	for (size_t i = 0; exe->state == PEER_FACT_KNOWN && i < c->exe_count; i++)
		if (fnmatch(c->exes[i], exe->text, 0) == 0)
			return true;
	return false;
}

bool constraints_fit(const struct constraints *c, uint64_t set, struct peer *peer, char *reason, size_t cap)
{
	unsigned long long n = set;
	const struct peer_fact *exe;

	if (!fits_uid(c, peer->uid)) {
		snprintf(reason, cap, "key set %llu is not for uid %u", n, peer->uid);
		return false;
	}
	if (c->exe_count == 0)
		return true;
	exe = peer_exe(peer);
	if (fits_exe(c, exe))
		return true;
	if (exe->state == PEER_FACT_KNOWN)
		snprintf(reason, cap, "key set %llu is not for the program %s", n, TEXT(exe->text, exe->len));
	else if (exe->state == PEER_FACT_REMOVED)
		snprintf(reason, cap, "key set %llu is for certain programs only, and %s was removed or replaced since it started: start it anew", n,
		         TEXT(exe->text, exe->len));
	else
		snprintf(reason, cap, "key set %llu is for certain programs only, and the agent cannot find out which this is (pid %d, uid %u)", n, peer->pid,
		         peer->uid);
	return false;
}

void constraints_list(const struct constraints_table *t, uint64_t set, struct buf *out)
{
	const struct constraints *c = constraints_of(t, set);

	if (!c)
		return;
	for (size_t i = 0; i < c->uid_count; i++) {
		buf_puts(out, i ? "," : ",\"uids\":[");
		buf_put_u64(out, c->uids[i]);
	}
	if (c->uid_count)
		buf_putc(out, ']');
	for (size_t i = 0; i < c->exe_count; i++) {
		buf_puts(out, i ? "," : ",\"exes\":[");
		buf_put_json_string(out, c->exes[i], strlen(c->exes[i]));
	}
	if (c->exe_count)
		buf_putc(out, ']');
	if (c->opens) {
		buf_puts(out, ",\"opens\":");
		buf_put_u64(out, c->opens);
	}
	if (c->confirm)
		buf_puts(out, ",\"confirm\":true");
}
