/*
 * sandbox: what a process takes from itself, for good: system calls, by a table, and with Landlock every file, port and process outside. For the policy
 * engine and the agent's processes.
 *
 * Both need no_new_privs, and hold for all threads (sandbox_calls) or the calling one and what it starts (sandbox_landlock). Nothing is kept or allocated.
 */
#ifndef CT_SANDBOX_H
#define CT_SANDBOX_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

/*
 * A row fits a call of that number if the low half of its argument `arg`, under the mask, is the value; mask 0: always. The first row that fits decides.
 * Arguments are what the caller hands over: of pointers nobody can say here what they point to.
 */
struct sandbox_row {
	long nr;
	uint32_t arg, mask, value;
	uint32_t answer; /* SECCOMP_RET_… */
};

#define SANDBOX_ERRNO(error) (SECCOMP_RET_ERRNO | (uint32_t)(error))

#define SANDBOX_ALLOW(nr) { nr, 0, 0, 0, SECCOMP_RET_ALLOW }
#define SANDBOX_ALLOW_IF(nr, arg, mask, value) { nr, arg, mask, value, SECCOMP_RET_ALLOW }
#define SANDBOX_FAIL(nr, error) { nr, 0, 0, 0, SANDBOX_ERRNO(error) }
#define SANDBOX_KILL(nr) { nr, 0, 0, 0, SECCOMP_RET_KILL_PROCESS }

#define SANDBOX_ROWS_MAX 160

/*
 * Numbers that are in no row get the answer `otherwise`; x32's, too, but where that is ALLOW they end the process. Other architectures' calls always do.
 * 0, or -1 with ERR_SYSTEM (E2BIG: too many rows).
 */
int sandbox_calls(const struct sandbox_row *rows, size_t count, uint32_t otherwise, struct err *err);

/*
 * Every right that the kernel's Landlock knows, and a rule for none. What is open stays open. *there false, and 0: the kernel has no Landlock; else -1 with
 * ERR_SYSTEM. Who is in it cannot read /proc/PID/exe or the memory of a process that is not, root either.
 */
int sandbox_landlock(bool *there, struct err *err);

#endif
