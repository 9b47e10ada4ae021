/*
 * launcher: a process that starts programs for ct-agent and ct: the policy engine, who asks a person. Not for the shim: it forks, and is a child of its host.
 *
 * The agent forks it before any peer is heard, so it holds no keys. So the process that parses strangers' bytes need not be able to start programs, and
 * what is started inherits nothing of it: no descriptor but those handed over, no environment but the one of the launcher's start, a process group of its own. It starts
 * nothing but the program it was told of at its start. Each run has a supervisor (subreaper) that ends it after the time allowed, and with it
 * whatever it left behind, in other sessions too. One thread at a time.
 */
#ifndef CT_LAUNCHER_H
#define CT_LAUNCHER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

#define LAUNCHER_ARGS_MAX 16
#define LAUNCHER_FDS_MAX 4
#define LAUNCHER_LAST_MAX 1024 /* bytes, with a NUL */
#define LAUNCHER_WORDS_MAX 300 /* bytes */

struct launcher {
	int sock; /* non-blocking; readable: launcher_ended() has something to say. -1: not started */
	pid_t pid;
};

/*
 * Forks it. argv: NULL-terminated, argv[0] an absolute path; environment: the same, NULL: PATH and LANG alone; both borrowed for the call. run_ms: how long one run may take. -1: ERR_SYSTEM. Call it before any
 * other thread or child is there.
 */
int launcher_start(struct launcher *l, char *const *argv, char *const *environment, unsigned int run_ms, struct err *err);

/* It ends with its socket. */
void launcher_stop(struct launcher *l);

/*
 * Starts the program: its descriptors 0, 3, 4 … are fds[0], fds[1], fds[2] …, its 1 goes to /dev/null, and of its 2 the first line is kept. last: one more
 * argument, behind those it was started with (who asks a person takes the question as one); NULL: none. The caller closes its own descriptors. If one of
 * fds is a pipe to be written, and nobody can read it any more, the run is ended. -1: ERR_SYSTEM (EAGAIN: try again later).
 */
int launcher_run(struct launcher *l, uint64_t job, const char *last, const int *fds, int count, struct err *err);

struct launcher_end {
	uint64_t job;
	bool late;  /* it was ended, because its time was over */
	int status; /* as waitpid() has it; 127 << 8: it could not be started */

	/* The first line that it wrote to stderr, or its beginning: any bytes but a line end. */
	unsigned int words_len;
	char words[LAUNCHER_WORDS_MAX];
};

/* 1: a run has ended, and nothing of it is left; 0: none; -1: the launcher is gone. */
int launcher_ended(struct launcher *l, struct launcher_end *end);

#endif
