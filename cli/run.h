/*
 * run: the parts of ct run, which is fail-closed: a program starts under the shim or not at all.
 *
 * glibc silently ignores a preload that it cannot load, and the program would then take ciphertext for weights. So the program is looked at
 * beforehand (run_elf), and held at its entry point until the loaded shim has said hello (run_gate).
 */
#ifndef CT_RUN_H
#define CT_RUN_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "agent_client.h"
#include "err.h"

enum {
	RUN_CANNOT_EXECUTE = 126, /* as env(1) */
	RUN_NOT_FOUND = 127,
};

/* ---- run_elf: what the shim can't be loaded into ---- */

/* Finds name as execvp() would. Returns 0, RUN_NOT_FOUND or RUN_CANNOT_EXECUTE. */
int run_find(const char *name, char path[PATH_MAX]);

/*
 * Checks the program at path, and the interpreters of a script: -1 with a line that says why the shim cannot be loaded into it,
 * and what to do.
 */
int run_check_program(const char *path, struct err *err);

/* The same for the shim itself: a 64-bit shared object for this machine. */
int run_check_shim(const char *path, struct err *err);

/* Finds the shim: beside ct, in ../lib, or where make install puts it; checked. -1 with a line that says what to do. */
int run_find_shim(char path[PATH_MAX], struct err *err);

/* ---- run_gate: nothing runs before the shim is there ---- */

struct gate {
	int fd;         /* where the hello arrives */
	char name[48];  /* "@…": an abstract socket, for CTSHIM_HELLO or CTSHIM_DOCTOR */
};

int gate_open(struct gate *g, struct err *err);
void gate_close(struct gate *g);

/* The next datagram that this very process has sent, cut to cap bytes: its length, or -1 if none is there. Does not wait. */
ssize_t gate_receive(const struct gate *g, pid_t pid, void *buf, size_t cap);

struct gate_child {
	const char *path;
	char *const *argv;
	/* Called in the child before exec, to set the environment and signals. */
	void (*prepare)(void *arg);
	void *arg;
};

/*
 * Starts the program and lets it go once the shim has said hello: 0 and *pid. If it ended by itself before (a missing library):
 * also 0, with *ended true and its wait status in *status. RUN_NOT_FOUND or RUN_CANNOT_EXECUTE with *err if exec fails, CLI_RUN
 * (nothing of the program is left) if the shim was not loaded or the program cannot be held. Signals in `forward` that come
 * meanwhile are handed to the program.
 */
int gate_start(struct gate *g, const struct gate_child *c, const sigset_t *forward, pid_t *pid, bool *ended, int *status,
               struct err *err);

/* ---- run_rings: no io_uring ---- */

/*
 * From here on this process and its children are answered ENOSYS where they ask for an io_uring. Without CAP_SYS_ADMIN that takes no_new_privs: what
 * they start gains no rights by set-user-ID. -1: they could still have one.
 */
int run_refuse_rings(struct err *err);

/* ---- run_agent: an agent for one program ---- */

struct private_agent {
	char folder[64]; /* 0700; "" if there is none */
	pid_t pid;       /* -1: none */
	struct agent_addr addr;
};

/* Starts ct-agent (beside ct) in a folder of its own and gives it the keys of that file. On failure nothing is left. */
int private_agent_start(struct private_agent *a, const char *keys, struct err *err);
void private_agent_stop(struct private_agent *a);

/* Escapes the last line of text[0 .. n) that is not empty into dst; "" if there is none. For what a child left on stderr. */
void run_last_line(const char *text, size_t n, char *dst, size_t cap);

/* The folder of ct itself, without a slash at its end. */
int run_own_folder(char folder[PATH_MAX], struct err *err);

#endif
