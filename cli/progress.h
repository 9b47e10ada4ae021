/*
 * progress: a bar on a terminal for work that takes over a second; nothing in a pipe or with -q.
 * A thread of its own reads the writer's counters between progress_start() and progress_stop().
 */
#ifndef CT_PROGRESS_H
#define CT_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>

#include "writer.h"

struct progress {
	struct writer_progress counters; /* for the writer */
	const char *name;                /* shown, escaped; the caller's */
	bool running, stop;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
};

void progress_start(struct progress *p, const char *name);
void progress_stop(struct progress *p);

#endif
