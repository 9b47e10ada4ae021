/*
 * jail: what the process gives up before it sees a policy. It cannot be undone.
 *
 * Left are descriptors 0 (input), 3 (policy), 4 (verdict) and 5 (stderr, moved away from where the library would write), which can be
 * read or written as such; memory within a bound; a second of processor time; and no other system call that reaches anything.
 */
#ifndef CT_ENGINE_JAIL_H
#define CT_ENGINE_JAIL_H

#include <stdbool.h>

#include "err.h"

#define JAIL_INPUT 0
#define JAIL_POLICY 3
#define JAIL_VERDICT 4
#define JAIL_WORDS 5 /* after jail_words() */

#define JAIL_MEMORY (64ul << 20) /* bytes beyond what the libraries hold */
#define JAIL_CPU_S 1
#define JAIL_WALL_S 10 /* a backstop: whoever asks has a shorter deadline of his own */

/* First of all: wipes the environment (the strings too), so that neither library nor policy finds it. */
void jail_environment(void);

/* Moves stderr there. Without a stderr nobody hears; no failure. */
void jail_words(void);

/* 0, or -1 with ERR_SYSTEM: a step failed. *landlock: false where the kernel has none, which alone is no failure. */
int jail_enter(bool *landlock, struct err *err);

#endif
