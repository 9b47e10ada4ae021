/*
 * hooks: what the shared object exports, and nothing else is exported (exports.map; tests/exports.bats).
 *
 * A hook is a thin forwarder: before the constructor has run it makes the system call itself; for the kernel's own files it calls
 * the real function; the rest is in files that export nothing. One file a family.
 */
#ifndef SHIM_HOOKS_H
#define SHIM_HOOKS_H

#define HOOK __attribute__((visibility("default")))

/* Another name that glibc exports for the same function, with the same parameters. */
#define HOOK_ALIAS(ret, other, name, params) HOOK ret other params __attribute__((alias(#name), copy(name)));

#endif
