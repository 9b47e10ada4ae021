/*
 * segv: memory filled on touch without userfaultfd (Docker's default seccomp profile refuses it).
 *
 * An unfilled page is a mapping of an empty file that may not be accessed: a touch raises SIGSEGV, and the faulting thread fills the page from
 * the handler (signals.h). A foreign reader (/proc/PID/mem) gets an error, never zeros. A filled window is a memfd of its own, held by nothing
 * but its mapping: so what is unmapped is freed, and a fork child keeps what it inherited. Filled pages of a writable mapping stay
 * read-only until the first store: so it is known what the application has written, and the rest can be given back.
 *
 * A window costs a piece of address space of which a process has 65,530 (vm.max_map_count): where mappings are large beside their chunks,
 * windows become larger than what was touched.
 */
#ifndef SHIM_SEGV_H
#define SHIM_SEGV_H

#include "method.h"

extern const struct method segv_method;

/* 0, or -errno: it can't work here, with *why. */
int segv_start(const char **why);

/* What a page is. */
enum segv_state { SEGV_UNFILLED, SEGV_FILLED, SEGV_WRITABLE };
enum segv_state segv_page(const struct range *r, uintptr_t addr);

#endif
