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
		views_start();
		heap_install();
		streams_start();
		pthread_atfork(forks_before, forks_after, fork_child);
		stats_start();
		if (at_quick_exit(stats_write) != 0)
			config_log(LOG_WARN, "CTSHIM_STATS: no line at quick_exit()");
	}
	__atomic_store_n(&real_ready, true, __ATOMIC_RELEASE);
	if (!config.off) {
		report_hello();
		report_doctor();
	}
	errno = saved;
}

__attribute__((destructor)) static void end(void)
{
	stats_write();
}
