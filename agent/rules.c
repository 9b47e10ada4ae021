#include "rules.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "keystore.h"
#include "peer.h"
#include "words.h"

/* --- reading a line --- */

/* The part of a path's glob that names one file or folder. False: it has none, or none worth a look. */
static bool literal_part(const char *glob, char part[RULES_GLOB_MAX])
{
	size_t n = 0;
	char *slash;

	for (; *glob && !strchr("*?[", *glob); glob++) {
		if (*glob == '\\')
			glob++;
		part[n++] = *glob;
	}
	part[n] = '\0';
	if (*glob) {
		slash = strrchr(part, '/');
		if (slash)
			*slash = '\0';
	}
	return part[0] == '/' && part[1];
}

const char *rules_exe_objection(const char *glob)
{
	char part[RULES_GLOB_MAX], real[PATH_MAX];
	struct stat st;

	if (!literal_part(glob, part) || !realpath(part, real))
		return NULL;
	if (strcmp(part, real) != 0)
		return "the executable's path leads through a link, and a process shows the path behind it: readlink -f says which that is";
	if (!strpbrk(glob, "*?[") && stat(part, &st) == 0 && S_ISDIR(st.st_mode))
		return "the executable's path names a folder: PATH/* stands for all that is below it";
	return NULL;
}

/* One glob. What *place held before must be empty: two of a kind would both have to hold, which nobody means. */
static int put_glob(char **place, const char *glob, bool path, const char **why)
{
	size_t len = strlen(glob);

	*why = "a condition is there twice: all of a line must hold; give each program a line of its own";
	if (*place)
		return -1;
	*why = "exe= and cgroup= take a whole path: it begins with / or *";
	if (path && glob[0] != '/' && glob[0] != '*')
		return -1;
	*why = "a condition's value has 1 to 1023 bytes";
	if (len == 0 || len >= RULES_GLOB_MAX)
		return -1;
	*why = "no memory";
	*place = strdup(glob);
	return *place ? 0 : -1;
}

static int put_condition(struct rule *r, const char *word, const char **why)
{
	uint64_t v;

	if (strncmp(word, "exe=", 4) == 0) {
		if (put_glob(&r->exe, word + 4, true, why))
			return -1;
		*why = rules_exe_objection(r->exe);
		return *why ? -1 : 0;
	}
	if (strncmp(word, "cgroup=", 7) == 0)
		return put_glob(&r->cgroup, word + 7, true, why);
	if (strncmp(word, "keys=", 5) == 0)
		return put_glob(&r->keys, word + 5, false, why);
	*why = "there are the conditions exe=, uid=, cgroup= and keys=";
	if (strncmp(word, "uid=", 4) != 0)
		return -1;
	*why = "uid= takes one user's number, once";
	if (r->has_uid || !words_number(word + 4, UINT32_MAX - 1, &v))
		return -1;
	r->has_uid = true;
	r->uid = (uid_t)v;
	return 0;
}

static void rule_release(struct rule *r)
{
	free(r->exe);
	free(r->cgroup);
	free(r->keys);
}

int rules_add(struct rules *r, enum wire_disposition what, unsigned int line, char *const *words, int n, const char **why)
{
	struct rule rule = { .what = what, .line = line };
	struct rule *more;

	*why = "more lines of allow, ciphertext and deny than there is room for (256)";
	if (r->count == RULES_MAX)
		return -1;
	for (int i = 0; i < n; i++)
		if (put_condition(&rule, words[i], why))
			goto fail;
	*why = "no memory";
	more = realloc(r->all, (r->count + 1) * sizeof *more);
	if (!more)
		goto fail;
	r->all = more;
	r->all[r->count++] = rule;
	return 0;
fail:
	rule_release(&rule);
	return -1;
}

void rules_release(struct rules *r)
{
	for (size_t i = 0; i < r->count; i++)
		rule_release(&r->all[i]);
	free(r->all);
	*r = (struct rules){ NULL, 0 };
}

/* --- asking --- */

enum fit { FITS, FITS_NOT, MAY_FIT };

static bool glob_fits(const char *glob, const char *text)
{
	return fnmatch(glob, text, 0) == 0;
}

/* The kernel marks the path of what was removed, in a way in which a name may end, too: where one reading fits, nobody can say. */
static enum fit fact_fits(const char *glob, const struct peer_fact *f)
{
	char before[PATH_MAX];

	if (f->state == PEER_FACT_UNKNOWN)
		return MAY_FIT;
	if (f->state == PEER_FACT_KNOWN)
		return glob_fits(glob, f->text) ? FITS : FITS_NOT;
	memcpy(before, f->text, f->len - strlen(PEER_REMOVED));
	before[f->len - strlen(PEER_REMOVED)] = '\0';
	return glob_fits(glob, f->text) || glob_fits(glob, before) ? MAY_FIT : FITS_NOT;
}

/* What costs nothing comes first; /proc is asked only where the rest of the line holds. */
static enum fit rule_fits(const struct rule *r, struct peer *p, const struct keystore *keys, uint64_t set, enum rules_doubt *doubt)
{
	enum fit whole = FITS, f;

	if (r->has_uid && r->uid != p->uid)
		return FITS_NOT;
	if (r->keys && !keystore_has_kid(keys, set, r->keys))
		return FITS_NOT;
	if (r->cgroup) {
		f = fact_fits(r->cgroup, peer_cgroup(p));
		if (f == FITS_NOT)
			return f;
		if (f == MAY_FIT)
			*doubt = RULES_CGROUP;
		whole = f;
	}
	if (r->exe) {
		f = fact_fits(r->exe, peer_exe(p));
		if (f == FITS_NOT)
			return f;
		if (f == MAY_FIT)
			*doubt = RULES_EXE;
		whole = f == MAY_FIT ? f : whole;
	}
	return whole;
}

void rules_ask(const struct rules *r, struct peer *p, const struct keystore *keys, uint64_t set, struct rules_answer *a)
{
	struct rules_answer in_doubt = { .what = WIRE_REFUSE };
	unsigned int could = 0; /* a bit an answer that the lines so far may give */

	*a = (struct rules_answer){ .what = WIRE_SERVE };
	for (size_t i = 0; i < r->count; i++) {
		const struct rule *rule = &r->all[i];
		enum rules_doubt doubt = RULES_SURE;
		enum fit f = rule_fits(rule, p, keys, set, &doubt);

		if (f == FITS_NOT)
			continue;
		if (f == FITS) {
			a->what = rule->what;
			a->line = rule->line;
			break;
		}
		could |= 1u << rule->what;
		if (in_doubt.doubt == RULES_SURE) {
			in_doubt.doubt = doubt;
			in_doubt.line = rule->line;
		}
	}
	if (could & ~(1u << a->what))
		*a = in_doubt;
}
