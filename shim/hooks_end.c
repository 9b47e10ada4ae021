/*
 * The ways a process ends or becomes another program past its destructors, for CTSHIM_STATS; and what the next program inherits of signals.
 * Descriptors, keys and mappings need nothing here: the kernel drops them.
 */
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "hooks.h"
#include "real.h"
#include "signals_mask.h"
#include "stats.h"
#include "sys.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

HOOK void _exit(int status)
{
	if (real_ready)
		stats_write();
	for (;;)
		sys1(SYS_exit_group, status);
}

HOOK_ALIAS(void, _Exit, _exit, (int))

/* The next program inherits this thread's mask: as the application means it. */
static void before_exec(void)
{
	stats_write();
	signals_mask_bare();
}

static int failed(int r)
{
	signals_mask_adopt(0);
	stats_exec_failed();
	return r;
}

HOOK int execve(const char *path, char *const argv[], char *const env[])
{
	if (!real_ready)
		return (int)real_answer(sys3(SYS_execve, path, argv, env));
	before_exec();
	return failed(real.execve(path, argv, env));
}

HOOK int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

HOOK int execvpe(const char *file, char *const argv[], char *const env[])
{
	if (!real_ready)
		real_resolve();
	before_exec();
	return failed(real.execvpe(file, argv, env));
}

HOOK int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

HOOK int fexecve(int fd, char *const argv[], char *const env[])
{
	if (!real_ready)
		real_resolve();
	before_exec();
	return failed(real.fexecve(fd, argv, env));
}

HOOK int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                     char *const argv[], char *const env[])
{
	if (!real_ready)
		real_resolve();
	signals_mask_bare();
	int r = real.posix_spawn(pid, path, actions, attr, argv, env);
	signals_mask_adopt(0);
	return r;
}

HOOK int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
                      char *const argv[], char *const env[])
{
	if (!real_ready)
		real_resolve();
	signals_mask_bare();
	int r = real.posix_spawnp(pid, file, actions, attr, argv, env);
	signals_mask_adopt(0);
	return r;
}
