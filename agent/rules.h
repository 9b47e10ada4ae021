/*
 * rules: which programs may decrypt: the lines allow, ciphertext and deny of the configuration.
 *
 *     deny        exe=/usr/bin/curl
 *     ciphertext  exe=/usr/bin/rsync keys=team-*
 *     allow       uid=1000 cgroup=*.service
 *     deny
 *
 * exe: the executable's path as /proc/PID/exe has it; cgroup: see peer_cgroup(); keys: the id of a key of the set that opens the file. The
 * three are globs of fnmatch() in which '*' goes over slashes. All conditions of a line must hold, and the first line that fits decides;
 * where none does the file is served.
 *
 * What cannot be known (peer.h) makes a line that asks for it one that may fit or not. Where that makes a difference the answer is no:
 * neither plaintext for a program that may be denied, nor ciphertext for one that may be a loader of models.
 */
#ifndef CT_AGENT_RULES_H
#define CT_AGENT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire.h"

#define RULES_MAX 256
#define RULES_GLOB_MAX 1024u /* bytes of a glob */

struct peer;
struct keystore;

struct rule {
	enum wire_disposition what;
	unsigned int line;
	bool has_uid;
	uid_t uid;
	char *exe, *cgroup, *keys; /* malloc'ed; NULL: not asked for */
};

struct rules {
	struct rule *all; /* malloc'ed */
	size_t count;
};

/* Adds a line's rule: the n words behind its first. -1 with *why. */
int rules_add(struct rules *r, enum wire_disposition what, unsigned int line, char *const *words, int n, const char **why);
void rules_release(struct rules *r);

/* Why no process can show an executable's path that fits the glob, so that it would be without effect; NULL: one may. Looks at the file system. */
const char *rules_exe_objection(const char *glob);

enum rules_doubt { RULES_SURE, RULES_EXE, RULES_CGROUP };

struct rules_answer {
	enum wire_disposition what;
	unsigned int line;      /* that decided or, in doubt, that asks for what is not known; 0: none fits */
	enum rules_doubt doubt; /* not RULES_SURE: refused because this is not known */
};

/* Asks the rules about files of a key set. Facts about the peer are gathered as far as a line asks for them. */
void rules_ask(const struct rules *r, struct peer *p, const struct keystore *keys, uint64_t set, struct rules_answer *a);

#endif
