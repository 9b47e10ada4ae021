/*
 * licence_lists: the lists of revoked licences that the configuration names.
 *
 * A file is read again when it is another one (stat) as somebody opens a model. A list that is older than the one before it, by somebody else, malformed or gone is
 * not taken, with a line: the one before it stays. Where there is none before it, nobody can say what is revoked, so no licence opens anything.
 */
#ifndef CT_AGENT_LICENCE_LISTS_H
#define CT_AGENT_LICENCE_LISTS_H

#include <stdbool.h>
#include <sys/stat.h>

#include "config.h"
#include "licence.h"

struct licence_lists {
	size_t count;
	struct licence_lists_file {
		char *path;
		struct stat st;     /* when it was read last */
		bool there, looked; /* list holds one; st is set */
		struct licence_list list;
		char why[400]; /* the last try failed; else empty */
	} files[CONFIG_REVOKED_MAX];
};

/* Those files from now on; what is known of one that was named before stays. -1: no memory. */
int licence_lists_name(struct licence_lists *l, char *const *paths, size_t count);
void licence_lists_release(struct licence_lists *l);

/* Reads what has changed. say: is told of each try that failed, and of each new list. */
void licence_lists_look(struct licence_lists *l, void (*say)(void *arg, const struct licence_lists_file *f), void *arg);

enum licence_revoked { LICENCE_VALID, LICENCE_REVOKED, LICENCE_UNKNOWN };

/* UNKNOWN: a list was never there; *f is the one. */
enum licence_revoked licence_lists_ask(const struct licence_lists *l, const struct licence *x, const struct licence_lists_file **f);

/* The latest time at which somebody signed one; 0: none. */
int64_t licence_lists_seen(const struct licence_lists *l, const uint8_t signer[SIGN_KEY_LEN]);

#endif
