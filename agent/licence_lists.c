#include "licence_lists.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jws.h"
#include "text.h"
#include "trusted.h"

static void release(struct licence_lists_file *f)
{
	free(f->path);
	licence_list_release(&f->list);
	memset(f, 0, sizeof *f);
}

void licence_lists_release(struct licence_lists *l)
{
	for (size_t i = 0; i < l->count; i++)
		release(&l->files[i]);
	l->count = 0;
}

int licence_lists_name(struct licence_lists *l, char *const *paths, size_t count)
{
	struct licence_lists fresh = { .count = 0 };

	for (; fresh.count < count; fresh.count++) {
		fresh.files[fresh.count].path = strdup(paths[fresh.count]);
		if (!fresh.files[fresh.count].path) {
			licence_lists_release(&fresh);
			return -1;
		}
	}
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < l->count; k++) {
			struct licence_lists_file *f = &fresh.files[i], before = *f;

			if (!l->files[k].path || strcmp(l->files[k].path, f->path) != 0)
				continue;
			*f = l->files[k];
			l->files[k] = before;
		}
	licence_lists_release(l);
	*l = fresh;
	return 0;
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* What is there in the place of what was. -1: that stays. */
static int read_new(struct licence_lists_file *f, struct err *err)
{
	struct secret *text = trusted_read(f->path, 022, JWS_TEXT_MAX, err);
	struct licence_list list;

	if (!text)
		return -1;
	int r = licence_list_read(&list, (const char *)text->data, text->len, err);
	secret_free(text);
	if (r < 0)
		return -1;
	if (f->there && memcmp(list.x, f->list.x, sizeof list.x) != 0)
		r = err_set(err, ERR_REJECTED, "is by another publisher than the list that was there");
	else if (f->there && list.seq < f->list.seq)
		r = err_set(err, ERR_REJECTED, "is list %llu, and %llu was here already", (unsigned long long)list.seq, (unsigned long long)f->list.seq);
	if (r < 0) {
		licence_list_release(&list);
		return -1;
	}
	licence_list_release(&f->list);
	f->list = list;
	f->there = true;
	return 0;
}

void licence_lists_look(struct licence_lists *l, void (*say)(void *arg, const struct licence_lists_file *f), void *arg)
{
	for (size_t i = 0; i < l->count; i++) {
		struct licence_lists_file *f = &l->files[i];
		struct err why = { 0 };
		struct stat st = { 0 };

		if (stat(f->path, &st) < 0)
			err_sys(&why, errno, "%s", TEXT(f->path, strlen(f->path)));
		if (f->looked && same(&st, &f->st))
			continue;
		f->looked = true;
		f->st = st;
		if (why.code == ERR_NONE)
			read_new(f, &why);
		snprintf(f->why, sizeof f->why, "%.399s", why.code == ERR_NONE ? "" : why.text);
		say(arg, f);
	}
}

enum licence_revoked licence_lists_ask(const struct licence_lists *l, const struct licence *x, const struct licence_lists_file **f)
{
	enum licence_revoked answer = LICENCE_VALID;

	for (size_t i = 0; i < l->count; i++) {
		const struct licence_lists_file *file = &l->files[i];

		if (!file->there) {
			*f = file;
			answer = LICENCE_UNKNOWN;
		} else if (memcmp(file->list.x, x->x, sizeof x->x) == 0 && licence_list_has(&file->list, x->id)) {
			return LICENCE_REVOKED;
		}
	}
	return answer;
}

int64_t licence_lists_seen(const struct licence_lists *l, const uint8_t signer[SIGN_KEY_LEN])
{
	int64_t seen = 0;

	for (size_t i = 0; i < l->count; i++) {
		const struct licence_lists_file *f = &l->files[i];

		if (f->there && memcmp(f->list.x, signer, SIGN_KEY_LEN) == 0 && f->list.issued > seen)
			seen = f->list.issued;
	}
	return seen;
}
