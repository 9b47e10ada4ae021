/*
 * window: decrypts whole chunks of a mapping into staging and puts the pages that are complete in place.
 *
 * A window is a run of units (file.h: chunks, pieces). Where its first or last page is shared with a unit outside, the part goes to the
 * fragments until the other is decrypted too: each unit is decrypted once. Staging is a few buffers for the whole process; who finds none
 * waits.
 *
 * Thread safe, and signal safe but for window_start(): staging is mapped memory, no lock is held while a page of the host is touched.
 */
#ifndef SHIM_WINDOW_H
#define SHIM_WINDOW_H

#include "method.h"

#define WINDOW_BYTES (2u << 20) /* as much is decrypted at a time when reading ahead, or one unit */

#define WINDOW_LEAST_MAX ((size_t)8 << 20) /* what method->least() may ask for */

enum window_end {
	WINDOW_DONE,  /* the page is there, or was given up and raises SIGBUS */
	WINDOW_BUSY,  /* somebody works there: flights_wait() or leave it to him */
	WINDOW_GONE,  /* addr isn't what it was */
	WINDOW_LOST,  /* it can't be filled, and the process may not even have the memory that raises SIGBUS */
};

int window_start(void); /* 0 or -ENOMEM */

/* Fills the page at addr, which r holds, with all units that have a byte on it. A page that cannot be right is given up, after one line. */
enum window_end window_touch(const struct range *r, uintptr_t addr);

/* The same before anybody has touched it. Never gives a page up, and leaves alone what somebody works on. */
void window_first(const struct range *r, uintptr_t addr);

/*
 * Fills the next window that is to be read ahead, of mapping `of` or (NULL) any. Never gives a page up: what cannot be right stays unfilled.
 * false: nothing was to be done.
 */
bool window_ahead(const struct mapping *of);

/* The units with a byte in [*from, *to), as bytes of the file. */
void window_units(const struct view *v, uint64_t *from, uint64_t *to);

void window_fork_child(void);

#endif
