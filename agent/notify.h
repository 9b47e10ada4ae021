/*
 * notify: tells systemd how the agent is doing (sd_notify(3)'s protocol), and takes the socket that systemd has opened for it (sd_listen_fds(3)).
 *
 * A few lines of our own in place of libsystemd: it would bring compression libraries and its own parsers into the process that keys pass through. Without
 * systemd's variables every function does nothing.
 */
#ifndef CT_AGENT_NOTIFY_H
#define CT_AGENT_NOTIFY_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "err.h"

#define NOTIFY_LISTEN_FD 3 /* where a socket comes */

struct notify {
	struct sockaddr_un to;
	socklen_t len; /* 0: nobody is told */
	int fd;        /* to tell by, made while sockets can be made */
};

/* Reads and takes away NOTIFY_SOCKET: what the agent starts is not to speak for it. -1: it is there and is no address; no descriptor. */
int notify_init(struct notify *n, struct err *err);

void notify_ready(const struct notify *n);
void notify_reloading(const struct notify *n); /* notify_ready() follows */
void notify_stopping(const struct notify *n);

/*
 * Reads and takes away LISTEN_PID and its kin, at the start of the process. 1: NOTIFY_LISTEN_FD is a descriptor for us, close-on-exec now; 0: none is; -1: more than
 * one, or it is not open.
 */
int notify_listen_fd(struct err *err);

#endif
