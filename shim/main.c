/*
 * main: the shim's constructor and destructor.
 *
 * The constructor is the first of all (-z initfirst, Makefile), libc's own and .preinit_array included: what a library reads while it is being
 * loaded must not be ciphertext. Nothing here starts a thread or keeps a descriptor. After the destructor the hooks go on working: other
 * destructors read too.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"
#include "forks.h"
#include "guard.h"
#include "heap.h"
#include "real.h"
#include "report.h"
#include "stats.h"
#include "streams.h"
#include "views.h"

static void fork_child(void)
{
	forks_child(true);
}

/*
 * In a child our handler starts threads, which takes memory: it must come after that of the host's malloc, which opens its locks again. So
 * malloc's is registered first: by its first use, if not by a constructor that was earlier.
 */
static void at_fork(void)
{
	void *volatile p = malloc(1);
	free(p);
	pthread_atfork(forks_before, forks_after, fork_child);
}

__attribute__((constructor)) static void start(int argc, char **argv, char **env)
{
	int saved = errno;
	(void)argc;
	(void)argv;
	if (!environ) /* libc's constructor has yet to set it */
		environ = env;
	config_read();
	real_resolve();
	if (!config.off) {
		guard_start();
		views_start();
		heap_install();
		streams_start();
		stats_start();
	}
	__atomic_store_n(&real_ready, true, __ATOMIC_RELEASE);
	if (!config.off) {
		at_fork();
		if (at_quick_exit(stats_write) != 0)
			config_log(LOG_WARN, "CTSHIM_STATS: no line at quick_exit()");
		report_hello();
		report_doctor();
	}
	errno = saved;
}

__attribute__((destructor)) static void end(void)
{
	stats_write();
}
