/*
 * errands: a process of the agent's own for what the process that serves has given up and still needs once in a while (calls.h): its socket's mode, and its
 * socket's end. It is forked before the first peer is heard and knows from then on which socket that is; it is told what to do, never where.
 *
 * Who sends it waits, mostly less than a millisecond, at most ERRANDS_MS. Where the process is not (not started yet, ended, stuck) the errand is done by the
 * caller, as far as he still can.
 */
#ifndef CT_AGENT_ERRANDS_H
#define CT_AGENT_ERRANDS_H

#include <stdbool.h>
#include <sys/types.h>

#include "err.h"
#include "listener.h"

#define ERRANDS_MS 5000

struct errands {
	int sock; /* -1: there is no process */
	pid_t pid;
	const struct listener *listener; /* the caller's; open when the process is started */
};

/* Forks it. -1 with ERR_SYSTEM. */
int errands_start(struct errands *e, struct err *err);

/* As listener_admit() and listener_remove(). */
int errands_admit(struct errands *e, bool others, struct err *err);
void errands_remove(struct errands *e);

/* Ends it. */
void errands_stop(struct errands *e);

#endif
