/*
 * harden: what ct-agent does to itself before it holds a key. Every step is tried; what worked is said by `ct status`.
 */
#ifndef CT_AGENT_HARDEN_H
#define CT_AGENT_HARDEN_H

#include <stdbool.h>

struct hardening {
	bool no_dump;      /* not dumpable: no ptrace, no /proc/PID/mem for the same uid */
	bool no_core;      /* RLIMIT_CORE is 0 */
	bool no_new_privs;
};

/* Closes every inherited descriptor above `keep`, which is at least 2, and opens /dev/null on those of 0, 1, 2 that are missing. false: not even that. */
bool harden_descriptors(int keep);

/* Closes every descriptor above that one. */
void harden_close_above(int keep);

void harden_process(struct hardening *h);

/* Descriptors 0, 1, 2 go to /dev/null. */
bool harden_to_null(void);

/* The keeper (keeper.h), which is forked off such a process, when it has opened its tokens; tokens: there are some, whose modules may do anything. */
void harden_keeper(struct hardening *h, bool tokens);

#endif
