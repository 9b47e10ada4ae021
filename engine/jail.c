#include "jail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "filter.h"
#include "sandbox.h"
#include "secret.h"
#include "sys.h"

#define STACK_MAX (8ul << 20)
#define LOG_MAX (64ul << 10) /* what may be appended to a file */

void jail_environment(void)
{
	static char *none[] = { NULL };

	for (char **e = environ; e && *e; e++)
		secret_wipe(*e, strlen(*e));
	environ = none;
}

void jail_words(void)
{
	if (dup2(2, JAIL_WORDS) < 0)
		close(JAIL_WORDS);
	close(2);
}

/* VmData in bytes (what RLIMIT_DATA counts) and the number of threads. */
static int measure(unsigned long *data, unsigned long *threads, struct err *err)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	int found = 0;

	while (f && fgets(line, sizeof line, f)) {
		found += sscanf(line, "VmData: %lu kB", data) == 1;
		found += sscanf(line, "Threads: %lu", threads) == 1;
	}
	if (f)
		fclose(f);
	*data *= 1024;
	return found == 2 ? 0 : err_sys(err, f ? EINVAL : errno, "/proc/self/status, for the bound on memory");
}

static int close_others(struct err *err)
{
	struct rlimit r;

	close(1); /* the engine prints errors there */
	if (sys3(SYS_close_range, JAIL_WORDS + 1, ~0u, 0) == 0)
		return 0;
	if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_max > 1u << 20)
		return err_sys(err, EMFILE, "closing descriptors"); /* kernels before 5.9 */
	for (int fd = JAIL_WORDS + 1; fd < (int)r.rlim_max; fd++)
		close(fd);
	return 0;
}

static int limit(int what, rlim_t max, const char *name, struct err *err)
{
	struct rlimit r;

	if (getrlimit((__rlimit_resource_t)what, &r))
		return err_sys(err, errno, "%s", name);
	r.rlim_max = max < r.rlim_max ? max : r.rlim_max;
	r.rlim_cur = r.rlim_max;
	return setrlimit((__rlimit_resource_t)what, &r) ? err_sys(err, errno, "%s", name) : 0;
}

/* Pipes know no size, files do: where stderr or the verdict's is one, a little may be added to it. */
static rlim_t file_size(void)
{
	static const int fds[] = { JAIL_WORDS, JAIL_VERDICT };
	rlim_t max = 0;
	struct stat st;

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fstat(fds[i], &st) == 0 && S_ISREG(st.st_mode) && (rlim_t)st.st_size + LOG_MAX > max)
			max = (rlim_t)st.st_size + LOG_MAX;
	return max;
}

static int limits(unsigned long data, struct err *err)
{
	if (limit(RLIMIT_DATA, data + JAIL_MEMORY, "RLIMIT_DATA", err) || limit(RLIMIT_STACK, STACK_MAX, "RLIMIT_STACK", err) ||
	    limit(RLIMIT_CPU, JAIL_CPU_S, "RLIMIT_CPU", err) || limit(RLIMIT_FSIZE, file_size(), "RLIMIT_FSIZE", err) ||
	    limit(RLIMIT_CORE, 0, "RLIMIT_CORE", err) || limit(RLIMIT_NPROC, 0, "RLIMIT_NPROC", err) ||
	    limit(RLIMIT_MEMLOCK, 0, "RLIMIT_MEMLOCK", err) || limit(RLIMIT_NOFILE, 0, "RLIMIT_NOFILE", err))
		return -1;
	alarm(JAIL_WALL_S);
	return 0;
}

int jail_enter(bool *has_landlock, struct err *err)
{
	unsigned long data = 0, threads = 0;

	if (measure(&data, &threads, err))
		return -1;
	if (threads != 1)
		return err_sys(err, EBUSY, "the library has started threads, which would stay outside");
	if (close_others(err))
		return -1;
	signal(SIGXFSZ, SIG_IGN); /* a full file loses a message, not the exit status */
	signal(SIGPIPE, SIG_IGN);
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_sys(err, errno, "prctl");
	if (sandbox_landlock(has_landlock, err) || limits(data, err))
		return -1;
	return filter_install(err);
}
