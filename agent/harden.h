/*
 * harden: what ct-agent does to itself before it holds a key, and before it hears a peer. Every step is tried; what worked is said by `ct status`.
 */
#ifndef CT_AGENT_HARDEN_H
#define CT_AGENT_HARDEN_H

#include <stdbool.h>
#include <sys/types.h>

enum harden_step {
	HARDEN_NO_DUMP, /* not dumpable: no ptrace, no /proc/PID/mem for the same uid */
	HARDEN_NO_CORE, /* RLIMIT_CORE is 0 */
	HARDEN_NO_NEW_PRIVS,
	HARDEN_CAPABILITIES, /* none but those that reading /proc of others, and locked memory, take */
	HARDEN_MEMORY_BOUNDED, /* RLIMIT_DATA */
	HARDEN_PEER_PIDFD,     /* the kernel names peers by pidfd */
	HARDEN_SECCOMP,        /* of the process that serves */
	HARDEN_KEEPER_SECCOMP,
	HARDEN_KEEPER_LANDLOCK,
	HARDEN_STEPS
};

struct hardening {
	int missing[HARDEN_STEPS]; /* 0: done; else the errno of what failed */
};

/* Its name in the protocol's status. */
const char *harden_name(enum harden_step s);

/* Closes every inherited descriptor above `keep`, which is at least 2, and opens /dev/null on those of 0, 1, 2 that are missing. false: not even that. */
bool harden_descriptors(int keep);

/* Closes every descriptor above that one. */
void harden_close_above(int keep);

/* At the very start: dumps and privileges. All other steps are missing as yet. */
void harden_process(struct hardening *h);

/*
 * Before the first peer is heard, after everything is open that is ever written to, and the processes are there that start others. syslog: the descriptor of a
 * log daemon's socket, -1: none. keeper: who may be killed, and what he has done of the steps; those that both do are missing where one fails.
 */
void harden_front(struct hardening *h, int syslog, pid_t keeper, const struct hardening *of_keeper);
/* Descriptors 0, 1, 2 go to /dev/null. */
bool harden_to_null(void);

/* The keeper (keeper.h), which is forked off such a process, when it has opened its tokens; tokens: there are some, whose modules may do anything. Fills *h: 0
 * too for what is not its to do. */
void harden_keeper(struct hardening *h, bool tokens);

#endif
