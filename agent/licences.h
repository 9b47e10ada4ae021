/*
 * licences: key sets that came with a licence (lib/licence.h), and what that says of an open. Holds no secret.
 *
 * A set with a licence opens only files whose signed entry __licence__ is its id, and only while the licence runs, on its machines, for its users, not
 * revoked. A set without one opens what its keys open, and the entry says nothing to it: who has such keys needs no licence. Nothing is judged but an open.
 */
#ifndef CT_AGENT_LICENCES_H
#define CT_AGENT_LICENCES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "err.h"
#include "header.h"
#include "licence.h"

struct agent;
struct licences; /* opaque */

struct licences *licences_new(void); /* NULL: no memory */
void licences_free(struct licences *l);

/*
 * At the start, while files can still be written: the clock's file, and licences_configure(). -1: the one that the configuration names cannot be used (without the
 * default one all goes on, and status says so); ENOMEM.
 */
int licences_start(struct agent *a, struct err *err);

/* What the configuration says of lists; again when it was read anew. -1: ENOMEM. */
int licences_configure(struct agent *a, const struct config *c, struct err *err);

/*
 * A licence that came with an add, before the keys are taken: read, its signature checked by the key that it names. NULL: ERR_FORMAT, ENOMEM, or
 * ERR_REJECTED: a later one of that id is here. The caller hands it to licences_put(), or frees it by licences_drop().
 */
struct licence *licences_take(struct agent *a, const char *text, size_t len, struct err *err);
void licences_drop(struct licence *x);

/*
 * After they are taken: the set is under x from now on, which the agent owns; NULL: under none. -1: ERR_REJECTED: the set has not the key that signed x: it is
 * the caller's still.
 */
int licences_put(struct agent *a, uint64_t set, struct licence *x, struct err *err);

struct licences_answer {
	const char *says; /* "none": no licence; "good", "grace"; or what is wrong: "over", "revoked", "unknown", "machine", "user", "file". Static */
	bool no;
	int64_t left_s;   /* until nothing opens any more; 0 where that is never, or over */
	char reason[400]; /* for people, one line, if no */
};

/* The file's entry (NULL: none), for a set of which the signature was verified, and a peer of that uid. */
void licences_judge(struct agent *a, uint64_t set, const struct str *file_id, uid_t uid, struct licences_answer *answer);

/* Warns of what ends soon, once a licence and step (30, 7, 1 days, grace, over), in log and audit. Returns when to come again (clock_boot_ms()), or -1. */
int64_t licences_tick(struct agent *a, int64_t now_boot_ms);

/* Appends an array of objects, one a licence; and an object on clock and lists (docs/PROTOCOL.md, status). */
void licences_status(struct agent *a, struct buf *out);
void licences_state(struct agent *a, struct buf *out);
bool licences_any(const struct agent *a);

#endif
