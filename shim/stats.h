/*
 * stats: CTSHIM_STATS: one line of JSON a process, when it ends or becomes another program.
 *
 * exit() comes by the destructor, _exit, quick_exit and exec by their hooks (hooks_end.c). A vfork child shares our memory but is not
 * the process that counted: it writes nothing.
 */
#ifndef SHIM_STATS_H
#define SHIM_STATS_H

#include <stdint.h>

void stats_start(void);    /* in the constructor, and again in a fork child: counts from here on */
void stats_mapped(void);   /* a mapping was made: for peak_bytes_held */
void stats_write(void);    /* once; errno is kept */
/* Bytes that the process holds of decrypted mappings now: asked from the kernel, which may have taken pages back. Takes a while. */
uint64_t stats_held(void);
void stats_exec_failed(void); /* the process goes on after all */

#endif
