/*
 * budget: how much plaintext mappings hold, and what is given back when that is too much.
 *
 * What was put in place is remembered in the order of filling. CTSHIM_MEMORY_MAX is a hard bound: before more is put in place the oldest is
 * dropped, to fault again when it is touched. (It is passed only where nothing can be dropped: pages that the application wrote count as well.) Where the kernel can't take filled pages back by itself (sigsegv), they are given back
 * as well when MemAvailable or the memory cgroup's limit runs short. Pages that the application has written are its own and stay.
 *
 * Thread and signal safe.
 */
#ifndef SHIM_BUDGET_H
#define SHIM_BUDGET_H

#include <stddef.h>
#include <stdint.h>

#include "method.h"

/* Before len bytes are put in place: they count as held from now on. */
void budget_make_room(size_t len);

/* They were put in place at `base`, in a mapping with that id; of them `bytes` are new, the rest was there or failed. */
void budget_note(uint32_t id, uintptr_t base, size_t len, size_t bytes);

/* [base, base + len) was unmapped, replaced or emptied: it holds nothing any more. */
void budget_forget(uintptr_t base, size_t len);

/* The most that should be asked for at once (bytes). */
size_t budget_most(void);

/* Looks whether memory runs short, if nobody did a moment ago, and gives back. For threads of ours. Returns whether there is anything to watch. */
bool budget_watch(void);

/* Bytes held now (an upper bound: what the kernel took back is not known), and the highest it ever was. */
uint64_t budget_held(void);
uint64_t budget_peak(void);

void budget_fork_child(void);

#endif
