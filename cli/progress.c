#include "progress.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "text.h"

#define WIDTH 30

static void draw(const struct progress *p, double seconds)
{
	uint64_t done = p->counters.done, total = p->counters.total;
	double part = total ? (double)done / (double)total : 0;
	char bar[WIDTH + 1], size[32];

	for (int i = 0; i < WIDTH; i++)
		bar[i] = i < (int)(part * WIDTH) ? '#' : '.';
	bar[WIDTH] = '\0';
	fprintf(stderr, "\r[%s] %3d%% of %s, %.2f GB/s  %s\033[K", bar, (int)(part * 100), cli_size(size, total),
	        (double)done / seconds / 1e9, TEXT(p->name, strlen(p->name)));
}

static void *run(void *arg)
{
	struct progress *p = arg;
	struct timespec start, until;
	bool drawn = false;

	clock_gettime(CLOCK_MONOTONIC, &start);
	until = start;
	until.tv_sec++;
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		if (pthread_cond_timedwait(&p->wake, &p->lock, &until) == 0)
			continue;
		draw(p, (double)(until.tv_sec - start.tv_sec) + (double)(until.tv_nsec - start.tv_nsec) / 1e9);
		drawn = true;
		until.tv_nsec += 200000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
	}
	pthread_mutex_unlock(&p->lock);
	if (drawn)
		fputs("\r\033[K", stderr);
	return NULL;
}

void progress_start(struct progress *p, const char *name)
{
	pthread_condattr_t attr;
	sigset_t all, saved;

	memset(p, 0, sizeof *p);
	p->name = name;
	if (cli.quiet || !isatty(STDERR_FILENO))
		return;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &saved);
	p->running = pthread_create(&p->thread, NULL, run, p) == 0;
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

void progress_stop(struct progress *p)
{
	if (!p->running)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	p->running = false;
}
