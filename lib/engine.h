/*
 * engine: asks a policy engine, a program behind docs/POLICY.md's interface: input on 0, policy on 3, verdict on 4.
 *
 * A question takes a slot from engine_ask() until engine_answer() has given the answer or engine_drop() has given up on it; meanwhile the agent serves
 * others. Whatever is not exactly one verdict and status 0 in ENGINE_MS is an error, never a yes. For ct-agent and ct; one thread at a time.
 */
#ifndef CT_ENGINE_H
#define CT_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "header.h"
#include "launcher.h"

#define ENGINE_MS 2000
#define ENGINE_LOST_MS 6000 /* then its supervisor has gone without a word */
#define ENGINE_SLOTS 8      /* questions at once; more wait */
#define ENGINE_WORDS_MAX 280
#define ENGINE_POLICY_MAX 1048576u /* bytes; each question copies it */

struct engine_slot {
	uint64_t job; /* 0: free */
	int verdict;  /* where it is read from */
	int64_t lost_ms; /* clock_ms() */
	bool ended, dropped;
	struct launcher_end end;
};

struct engine {
	struct launcher launcher;
	char *command;                      /* malloc'ed; argv points into it */
	char *argv[LAUNCHER_ARGS_MAX + 1];
	uint64_t last_job;
	struct engine_slot slots[ENGINE_SLOTS];
};

/*
 * "exec:PROGRAM ARGS": cut at blanks, no shell. Forks the launcher; call it before other threads or a stranger's bytes are there. -1: not of that form,
 * no such program, system calls; then, and before a start, *e says that there is no engine.
 */
#define ENGINE_NONE { .launcher = { .sock = -1 } }
int engine_start(struct engine *e, const char *spec, struct err *err);
void engine_stop(struct engine *e);

/* One was started. If its launcher has ended since, all questions are errors. */
bool engine_there(const struct engine *e);

/* "none", "ready", "ended". */
const char *engine_state(const struct engine *e);

/* Returns a slot, -1: no more than `spare` are free, ask later; -2 with *err. */
int engine_ask(struct engine *e, struct str policy, struct str input, size_t spare, struct err *err);

enum engine_verdict { ENGINE_TRUE, ENGINE_FALSE, ENGINE_UNDEFINED };

/* "true", "false", "undefined". */
const char *engine_verdict_name(enum engine_verdict v);

/*
 * 1: *v, and the slot is free; 0: not yet; -1: the engine failed, *err says how, and the slot is free. words: what it said then to people itself, one
 * line, escaped, without double quotes; empty if nothing. Whoever wrote the policy may have written them.
 */
int engine_answer(struct engine *e, int slot, enum engine_verdict *v, char words[ENGINE_WORDS_MAX], struct err *err);

/* Nobody waits for it any more. */
void engine_drop(struct engine *e, int slot);

/* To be called when launcher.sock is readable. -1: the launcher is gone, and with it the engine; questions under way are answered with that. */
int engine_events(struct engine *e);

#endif
