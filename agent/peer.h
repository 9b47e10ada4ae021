/*
 * peer: who is at the other end of a connection, and what he may.
 */
#ifndef CT_AGENT_PEER_H
#define CT_AGENT_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "config.h"

struct peer {
	uid_t uid;
	gid_t gid;
	pid_t pid; /* 0: in a pid namespace that we can't see */
	int pidfd; /* -1 before Linux 6.5; else what is asked about the process goes through it, so that a reused pid can't answer */
};

enum peer_rights { PEER_NOTHING, PEER_MAY_OPEN, PEER_MAY_ALL };

/* Reads it from the socket. false: the kernel does not say; nobody is admitted then. */
bool peer_of(struct peer *p, int fd);
void peer_release(struct peer *p);

enum peer_rights peer_rights(const struct peer *p, const struct config *c);

/* The process that connected is still there; true where there is no pidfd. */
bool peer_alive(const struct peer *p);

#endif
