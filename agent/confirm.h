/*
 * confirm: asks a person whether a program may have files opened with a key set (ct add -c), by the program in the agent's CT_ASKPASS.
 *
 * A question is asked once for a launch: a process, as its pid, its start and its executable have it, and those of its descendants that run the same
 * executable for the same user. The answer, a no too, holds for that set as long as the process is there. Nobody waits here: who asks comes again.
 */
#ifndef CT_AGENT_CONFIRM_H
#define CT_AGENT_CONFIRM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto_info.h"
#include "launcher.h"
#include "peer.h"

#define CONFIRM_MS 60000      /* for an answer */
#define CONFIRM_LOST_MS 65000 /* then the launcher has forgotten it */
#define CONFIRM_ASKED_MAX 4   /* questions at once, more wait; */
#define CONFIRM_OTHERS_MAX 2  /* of them for other uids than ours and root */
#define CONFIRM_KEPT_MAX 1024 /* answers, and questions; */
#define CONFIRM_KEPT_OTHERS_MAX 768 /* of them about processes of other uids */

struct confirm_answer;

struct confirm {
	struct launcher launcher;
	const char *why_not; /* static text; NULL: there is somebody to ask */
	uint64_t last_id;
	struct confirm_answer *all; /* malloc'ed */
	size_t count;
};

#define CONFIRM_NONE { .launcher = { .sock = -1 } }

/*
 * program: what CT_ASKPASS says, or NULL. Forks a launcher, which keeps the environment of now but for LD_*: call it where engine_start() is called. It
 * never fails: without a program, or with one that cannot be run, confirm_there() says why.
 */
void confirm_start(struct confirm *c, const char *program);
void confirm_stop(struct confirm *c);

/* NULL: a person can be asked; else why not. */
const char *confirm_there(const struct confirm *c);

enum confirm_state { CONFIRM_YES, CONFIRM_NO, CONFIRM_ASKED, CONFIRM_UNASKED };

/*
 * What the answer is, asking if nobody was asked: ASKED until there is one. look: never asks, so it may be UNASKED. With NO a line in reason. *id is the
 * caller's and 0 at first: what was found out about the process need not be looked up again.
 */
enum confirm_state confirm_ask(struct confirm *c, uint64_t *id, uint64_t set, struct peer *peer, const struct crypto_info *info, bool look, char *reason,
                               size_t cap);

/* The set is added anew: as if nobody had been asked about it. */
void confirm_forget(struct confirm *c, uint64_t set);

/* To be called when launcher.sock is readable. -1: the launcher is gone; all that wait have a no, and nobody can be asked any more. */
int confirm_events(struct confirm *c);

#endif
