/*
 * heap: OpenSSL's memory inside the host.
 *
 * Key schedules live in it, so it is left out of core dumps and wiped when freed; and it is not the host's malloc, which may be
 * anybody's. Installed with CRYPTO_set_mem_functions before the first use of OpenSSL. Thread safe; signals are blocked while its lock is held.
 */
#ifndef SHIM_HEAP_H
#define SHIM_HEAP_H

void heap_install(void);
void heap_fork_child(void); /* see lock.h */

#endif
