#include "select.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

int select_add(struct select *s, const char *glob, struct err *err)
{
	bool exclude = glob[0] == '!';

	if (!glob[exclude])
		return cli_err(err, EINVAL, "an empty pattern");
	if (s->count == SELECT_MAX)
		return cli_err(err, EINVAL, "at most %u patterns", SELECT_MAX);
	struct select_glob *globs = realloc(s->globs, (s->count + 1) * sizeof *globs);
	if (!globs)
		return err_sys(err, ENOMEM, "patterns");
	s->globs = globs;
	globs[s->count++] = (struct select_glob){ .pattern = glob + exclude, .exclude = exclude };
	s->include |= !exclude;
	return 0;
}

void select_release(struct select *s)
{
	free(s->globs);
	*s = (struct select){ 0 };
}

/* NUL-terminated, in the caller's buffer if it fits; NULL: no memory. */
static char *c_string(struct str name, char *buf, size_t cap)
{
	char *p = name.len < cap ? buf : malloc(name.len + 1);

	if (p) {
		memcpy(p, name.p, name.len);
		p[name.len] = '\0';
	}
	return p;
}

static bool selects(const struct select *s, const char *name)
{
	bool wanted = !s->include;

	for (size_t i = 0; i < s->count; i++) {
		if (fnmatch(s->globs[i].pattern, name, 0) != 0)
			continue;
		if (s->globs[i].exclude)
			return false;
		wanted = true;
	}
	return wanted;
}

bool select_wanted(void *select, struct str name)
{
	char buf[512], *p = c_string(name, buf, sizeof buf);
	bool wanted = !p || selects(select, p); /* without memory: rather encrypted */

	if (p != buf)
		free(p);
	return wanted;
}

/* How many bytes to insert, delete or change (Levenshtein), the pattern's wildcards left out. */
static unsigned int distance(const char *pattern, const char *name, size_t len)
{
	unsigned int row[SELECT_NAME + 1];

	for (unsigned int k = 0; k <= len; k++)
		row[k] = k;
	for (; *pattern; pattern++) {
		unsigned int diagonal = row[0];
		if (strchr("*?[]\\", *pattern))
			continue;
		row[0]++;
		for (size_t k = 1; k <= len; k++) {
			unsigned int change = diagonal + (name[k - 1] != *pattern);
			unsigned int least = (row[k] < row[k - 1] ? row[k] : row[k - 1]) + 1;
			diagonal = row[k];
			row[k] = change < least ? change : least;
		}
	}
	return row[len];
}

static void note_near(struct select_glob *g, const char *name)
{
	size_t len = strnlen(name, SELECT_NAME), at = g->near_count;
	unsigned int d = distance(g->pattern, name, len);

	while (at > 0 && d < g->near[at - 1].distance)
		at--;
	if (at == SELECT_NEAR)
		return;
	size_t kept = g->near_count < SELECT_NEAR ? g->near_count++ : SELECT_NEAR - 1;
	memmove(&g->near[at + 1], &g->near[at], (kept - at) * sizeof g->near[0]);
	g->near[at].len = len;
	g->near[at].distance = d;
	memcpy(g->near[at].name, name, len);
}

int select_survey(struct select *s, const struct header *h, struct err *err)
{
	for (size_t t = 0; t < h->count; t++) {
		struct str name = h->tensors[t].name;
		char buf[512], *p;
		if (memchr(name.p, 0, name.len))
			return cli_err(err, EINVAL, "the tensor %s has a NUL in its name: no pattern can be matched with it", TEXT(name.p, name.len));
		p = c_string(name, buf, sizeof buf);
		if (!p)
			return err_sys(err, ENOMEM, "a tensor's name");
		for (size_t i = 0; i < s->count; i++) {
			struct select_glob *g = &s->globs[i];
			if (fnmatch(g->pattern, p, 0) == 0)
				g->hit = true;
			else if (!g->hit)
				note_near(g, p);
		}
		s->selected += selects(s, p);
		if (p != buf)
			free(p);
	}
	return 0;
}

#define SHORT(s, len) text_escape((char[90]){ 0 }, 90, (s), (len)) /* three of them fit a message */

int select_check(const struct select *s, struct err *err)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct select_glob *g = &s->globs[i];
		char near[300] = "";
		if (g->hit)
			continue;
		for (size_t k = 0; k < g->near_count && strlen(near) < 200; k++) {
			size_t at = strlen(near);
			snprintf(near + at, sizeof near - at, "%s%s", k ? ", " : "; near it: ", SHORT(g->near[k].name, g->near[k].len));
		}
		return cli_err(err, ENOENT, "--tensors %s%s matches no tensor%s", g->exclude ? "!" : "", SHORT(g->pattern, strlen(g->pattern)), near);
	}
	return s->count > 0 && s->selected == 0 ? cli_err(err, ENOENT, "the --tensors patterns leave no tensor to encrypt") : 0;
}
