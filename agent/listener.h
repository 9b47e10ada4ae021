/*
 * listener: the agent's socket file and the lock beside it.
 *
 * SOCK.lock is held (flock) as long as the agent lives; only its holder binds, replaces a stale SOCK, and removes the two.
 */
#ifndef CT_AGENT_LISTENER_H
#define CT_AGENT_LISTENER_H

#include <stdbool.h>
#include <sys/types.h>

#include "err.h"

#define LISTENER_PATH_MAX 108 /* with its NUL, as in sun_path */

struct listener {
	int fd; /* listening, non-blocking, close-on-exec */
	int lock;
	char path[LISTENER_PATH_MAX]; /* absolute */
	char lock_path[LISTENER_PATH_MAX + 8];
	dev_t dev; /* of the socket that we bound */
	ino_t ino;
	bool adopted; /* made by somebody else, who keeps the path */
};

/* Makes path absolute, its folder's symbolic links resolved. Errors: no such folder, too long. */
int listener_path(char out[LISTENER_PATH_MAX], const char *path, struct err *err);

/*
 * Binds and listens at an absolute path. others: peers of other uids may connect (0666 in place of 0600). Must be called by the process
 * that will serve: SO_PEERCRED shows clients the one that called listen(). Errors: a live agent there (ERR_SYSTEM, EADDRINUSE), a folder that
 * others may write (ERR_REJECTED), something there that is no socket, system calls. On failure nothing is left behind.
 */
int listener_open(struct listener *l, const char *path, bool others, struct err *err);

/*
 * The path of a socket that the manager of services (systemd) has bound and passed on. -1: it is no listening stream socket of a path, or its folder is one that
 * listener_open() would not take.
 */
int listener_passed(char out[LISTENER_PATH_MAX], int fd, struct err *err);

/* Takes over such a socket: no lock, and the file stays. By the process that will serve, as above. */
int listener_adopt(struct listener *l, int fd, const char *path, struct err *err);

/* Lets peers of other uids connect, or no longer. Of an adopted socket the mode is its maker's. */
int listener_admit(const struct listener *l, bool others, struct err *err);

/* Removes the socket, if it is still ours, and the lock's file. Before it is closed. */
void listener_remove(const struct listener *l);

void listener_close(struct listener *l);

#endif
