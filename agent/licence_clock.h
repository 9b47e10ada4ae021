/*
 * licence_clock: the time that licences are judged by: never earlier than one that was seen before, also by a process of yesterday.
 *
 * The latest time is kept in a file of 21 bytes (seconds since 1970 in 20 digits, a line end), which is held open and written in place: that needs no way to
 * the folder, and no other file of ours. Who may write it may set the clock back; it holds against a clock that is wrong, and against who only sets that.
 */
#ifndef CT_AGENT_LICENCE_CLOCK_H
#define CT_AGENT_LICENCE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

#define LICENCE_CLOCK_STEP 60     /* seconds between two writes */
#define LICENCE_CLOCK_BACK 86400  /* a clock that is so far behind is told of */

struct licence_clock {
	int fd;         /* -1: nothing is kept */
	int64_t mark;   /* the latest time that was seen, seconds since 1970 */
	int64_t stored; /* of it, in the file */
	bool bad;       /* it cannot be kept */
};

#define LICENCE_CLOCK_INIT { .fd = -1 }

/*
 * Opens or makes the file: path, or NULL: ct-agent/clock in $XDG_STATE_HOME or ~/.local/state; root: /var/lib/ct-agent/clock. -1: it cannot be used
 * (then c->bad) or what is in it is no time (it is written anew): *err says so, and the clock goes all the same.
 */
int licence_clock_open(struct licence_clock *c, const char *path, struct err *err);
void licence_clock_close(struct licence_clock *c);

/* The wall clock's time, or the latest one that was seen; keeps it. */
int64_t licence_clock_now(struct licence_clock *c);

/* The wall clock is more than LICENCE_CLOCK_BACK behind. */
bool licence_clock_is_back(const struct licence_clock *c, int64_t seen);

#endif
