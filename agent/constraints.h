/*
 * constraints: what the owner of a key set has bound it to (ct add): whose files it opens, for which programs, how often, and whether a person is asked.
 *
 * They are asked after policies and rules, for each set whose key is tried. The table is the agent's and goes by the sets' numbers; a set without an
 * entry is bound to nothing.
 */
#ifndef CT_AGENT_CONSTRAINTS_H
#define CT_AGENT_CONSTRAINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "buf.h"
#include "json.h"
#include "keystore.h"
#include "peer.h"

#define CONSTRAINTS_MAX 64 /* of uids, of executables */
#define CONSTRAINTS_OPENS_MAX 4294967295u

struct constraints {
	uid_t *uids; /* malloc'ed, as exes and what they point to; none: anybody's */
	size_t uid_count;
	char **exes; /* globs, as exe= of rules.h */
	size_t exe_count;
	uint64_t opens; /* that are left; 0: without a bound */
	bool confirm;
};

/*
 * The members "uids", "exes" and "opens" of the request add, once each, into a struct that is zero before the first. -1 with *why, which says what would be
 * right; the struct is released in any case by constraints_release().
 */
int constraints_uids(struct constraints *c, const struct json *j, int tok, const char **why);
int constraints_exes(struct constraints *c, const struct json *j, int tok, const char **why);
int constraints_opens(struct constraints *c, const struct json *j, int tok, const char **why);

bool constraints_any(const struct constraints *c); /* it binds to something */
void constraints_release(struct constraints *c);

struct constraints_table { /* zero: empty */
	size_t count;
	struct {
		uint64_t set;
		struct constraints c;
	} all[KEYSTORE_SETS_MAX];
};

/* Binds a set that is in ks to *c, which is empty afterwards, in the place of what it was bound to. */
void constraints_put(struct constraints_table *t, const struct keystore *ks, uint64_t set, struct constraints *c);
void constraints_clear(struct constraints_table *t);

/* NULL: bound to nothing. Valid until the next constraints_put(). */
const struct constraints *constraints_of(const struct constraints_table *t, uint64_t set);

/* uids and exes hold for the peer; what cannot be known does not. Else a line in reason, which names the set and the peer, not what it is bound to. */
bool constraints_fit(const struct constraints *c, uint64_t set, struct peer *peer, char *reason, size_t cap);

/* One open was served. True: it was the last one. */
bool constraints_spend(struct constraints_table *t, uint64_t set);

/* Appends a set's members of the protocol's `list`, with a comma before each. */
void constraints_list(const struct constraints_table *t, uint64_t set, struct buf *out);

#endif
