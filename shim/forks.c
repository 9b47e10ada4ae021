#include "forks.h"

#include "choice.h"
#include "guard.h"
#include "heap.h"
#include "signals.h"
#include "stats.h"
#include "views.h"

void forks_before(void)
{
	choice_fork_before();
}

void forks_after(void)
{
	choice_fork_after();
}

void forks_child(bool threads)
{
	if (threads)
		guard_start();
	signals_fork_child();
	heap_fork_child();
	views_fork_child();
	choice_fork_child(threads);
	stats_start();
}
