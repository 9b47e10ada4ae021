/* calls: which system calls the agent keeps once it serves (lib/sandbox.h). For good, and for all threads. docs/SECURITY.md, "ct-agent". */
#ifndef CT_AGENT_CALLS_H
#define CT_AGENT_CALLS_H

#include <sys/types.h>

#include "err.h"

/*
 * Of the process that serves. syslog: the descriptor that may be connected anew, -1: none; keeper: the process that may be killed. Files are opened for
 * reading alone, sockets only accepted, and there is no child and no code but what is loaded. 0, or -1 with ERR_SYSTEM.
 */
int calls_front(int syslog, pid_t keeper, struct err *err);

/* Of the process that keeps the keys: its descriptors, those that come through them, and memory. */
int calls_keeper(struct err *err);

/* Of that one with PKCS#11 modules in it, which open, connect and start threads as they like: all but what only an attacker would do. */
int calls_modules(struct err *err);

#endif
