#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

#define DEPTH_MAX 64 /* nested folders */

/* A folder that is being walked, and those that it was reached through. */
struct folder {
	const struct folder *above;
	dev_t dev;
	ino_t ino;
};

struct walk {
	void (*fn)(void *arg, const char *path, const char *rel, const struct err *err);
	void *arg;
	size_t root; /* bytes of the outermost folder's path, with its slash */
	size_t files;
};

static void tell(struct walk *w, const char *path, const struct err *err)
{
	w->files++;
	w->fn(w->arg, path, strlen(path) > w->root ? path + w->root : path, err);
}

static int wanted(const struct dirent *d)
{
	return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

bool files_is_model_name(const char *name)
{
	static const char suffix[] = ".safetensors";
	size_t len = strlen(name), n = sizeof suffix - 1;

	return len >= n && strcmp(name + len - n, suffix) == 0;
}

/* A link leads back to a folder above: what is in it is told of already. With two such links there are 2^40 ways to each file. */
static bool is_within_itself(const struct folder *at, const struct stat *st)
{
	for (; at; at = at->above)
		if (at->dev == st->st_dev && at->ino == st->st_ino)
			return true;
	return false;
}

static void walk_folder(struct walk *w, const char *path, const struct folder *at, int depth)
{
	struct dirent **names = NULL;
	struct err err = { 0 };
	int n = depth > DEPTH_MAX ? -1 : scandir(path, &names, wanted, alphasort);

	if (n < 0) {
		err_sys(&err, depth > DEPTH_MAX ? ELOOP : errno, "cannot be looked into");
		tell(w, path, &err);
		return;
	}
	for (int i = 0; i < n; i++) {
		char in[PATH_MAX];
		struct stat st;
		bool model = files_is_model_name(names[i]->d_name);
		int room = snprintf(in, sizeof in, "%s/%s", path, names[i]->d_name);
		free(names[i]);
		if (room >= (int)sizeof in || stat(in, &st) < 0) {
			if (model) {
				err_sys(&err, room >= (int)sizeof in ? ENAMETOOLONG : errno, "cannot be opened");
				tell(w, in, &err);
			}
		} else if (S_ISDIR(st.st_mode)) {
			const struct folder below = { at, st.st_dev, st.st_ino };
			if (!is_within_itself(at, &st))
				walk_folder(w, in, &below, depth + 1);
		} else if (model) {
			tell(w, in, NULL);
		}
	}
	free(names);
}

void files_each(const char *path, void (*fn)(void *arg, const char *path, const char *rel, const struct err *err), void *arg)
{
	struct walk w = { .fn = fn, .arg = arg };
	struct err err = { 0 };
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		const struct folder outermost = { NULL, st.st_dev, st.st_ino };
		w.root = strlen(path) + 1;
		walk_folder(&w, path, &outermost, 0);
		if (w.files == 0) {
			cli_err(&err, ENOENT, "holds no .safetensors file");
			fn(arg, path, path, &err);
		}
		return;
	}
	const char *slash = strrchr(path, '/');
	fn(arg, path, slash ? slash + 1 : path, NULL);
}
