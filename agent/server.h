/*
 * server: the poll loop: connections, each a state machine with a deadline, limits, signals, expiry.
 */
#ifndef CT_AGENT_SERVER_H
#define CT_AGENT_SERVER_H

#include "agent.h"

#define SERVER_CONNS_MAX 256
#define SERVER_CONNS_OTHERS_MAX 192 /* for uids other than ours and root */
#define SERVER_DEADLINE_MS 10000    /* from accept to the last byte */
#define SERVER_BLOBS_MAX (512u << 20)
#define SERVER_BLOBS_OTHERS_MAX (256u << 20)

/*
 * Serves until `signals` (a signalfd; every signal it carries ends the agent) or `follow` (a pidfd, -1: none) is readable. listen_fd:
 * non-blocking. Returns 0, or -1 with *err if the loop itself cannot go on, or has no keeper any more.
 */
int server_run(struct agent *a, int listen_fd, int signals, int follow, struct err *err);

#endif
