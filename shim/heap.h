/*
 * heap: OpenSSL's memory inside the host.
 *
 * Key schedules live in it, so it is left out of core dumps and wiped when freed; and it is not the host's malloc, which may be
 * anybody's. Installed with CRYPTO_set_mem_functions before the first use of OpenSSL. Thread safe; signals are blocked while its lock is held.
 */
#ifndef SHIM_HEAP_H
#define SHIM_HEAP_H

void heap_install(void);

/*
 * Starts OpenSSL, with all ciphers; after the first time this costs next to nothing. No configuration file of the machine's; no handler at exit,
 * since other threads may still read then; none of the names that only old interfaces look for: a third of the time that this takes.
 */
void heap_start_openssl(void);

void heap_fork_child(void); /* see lock.h */

#endif
