/*
 * hooks: what the shared object exports, and nothing else is exported (exports.map; tests/exports.bats).
 *
 * A hook is a thin forwarder: before the constructor has run it makes the system call itself; for the kernel's own files it calls
 * the real function; the rest is in files that export nothing. One file a family.
 */
#ifndef SHIM_HOOKS_H
#define SHIM_HOOKS_H

#include <stddef.h>
#include <stdint.h>

#define HOOK __attribute__((visibility("default")))

/* Another name that glibc exports for the same function, with the same parameters. */
#define HOOK_ALIAS(ret, other, name, params) HOOK ret other params __attribute__((alias(#name), copy(name)));

/* hooks_open.c's part of syscall(). */
long hooks_openat2(int dir, const char *path, const void *how, size_t size);

/* hooks_uring.c's. */
long hooks_no_uring(void);

/* hooks_signal.c's part of syscall(). */
struct signals_action;
long hooks_rt_sigaction(int signo, const struct signals_action *set, struct signals_action *old, size_t size);
long hooks_rt_sigprocmask(int how, const uint64_t *set, uint64_t *old, size_t size);

#endif
