#include "forks.h"

#include "heap.h"
#include "lazy.h"
#include "signals.h"
#include "stats.h"
#include "views.h"

void forks_before(void)
{
	lazy_fork_before();
}

void forks_after(void)
{
	lazy_fork_after();
}

void forks_child(bool threads)
{
	signals_fork_child();
	heap_fork_child();
	views_fork_child();
	lazy_fork_child(threads);
	stats_start();
}
