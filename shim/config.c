#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sys.h"

struct config config;

static dev_t stderr_dev;
static ino_t stderr_ino;
static bool stderr_known;

extern const char ctshim_stay_off __attribute__((weak));

static void copy(char *dst, size_t cap, const char *name)
{
	const char *v = secure_getenv(name);
	if (v && strlen(v) < cap)
		strcpy(dst, v);
}

static bool is_on(const char *name)
{
	const char *v = secure_getenv(name);
	return v && strcmp(v, "1") == 0;
}

#define MEMORY_MIN ((size_t)16 << 20) /* below, not even one window of the largest chunks would fit */

static void not_understood(const char *name, const char *remedy)
{
	config_log(LOG_ERROR, "%s is not understood and does nothing: it is %s", name, remedy);
}

/* Bytes, with K, M, G or T for powers of 1024. */
static size_t bytes(const char *name)
{
	static const char units[] = "KMGT";
	const char *v = secure_getenv(name), *unit;
	char *end = NULL;
	if (!v)
		return 0;
	unsigned long long n = *v >= '0' && *v <= '9' ? strtoull(v, &end, 10) : 0;
	if (n == 0)
		goto wrong;
	if (*end && (unit = strchr(units, *end))) {
		int shift = 10 * (int)(unit - units + 1);
		n = n > SIZE_MAX >> shift ? SIZE_MAX : n << shift;
		end++;
	}
	if (*end == '\0')
		return n < MEMORY_MIN ? MEMORY_MIN : (size_t)n;
wrong:
	not_understood(name, "a number of bytes, with K, M, G or T");
	return 0;
}

void config_read(void)
{
	static const char *const levels[] = { "error", "warn", "info", "debug" };
	struct stat st;
	config.off = &ctshim_stay_off || is_on("CTSHIM_DISABLE");
	config.require = is_on("CTSHIM_REQUIRE");
	const char *level = secure_getenv("CTSHIM_LOG");
	for (int i = 0; level && i < 4; i++)
		if (strcmp(level, levels[i]) == 0)
			config.level = (enum log_level)i;
	const char *threads = secure_getenv("CTSHIM_THREADS");
	config.threads = threads ? atoi(threads) : 0;
	if (config.threads < 0)
		config.threads = 0;
	copy(config.log_file, sizeof config.log_file, "CTSHIM_LOG_FILE");
	copy(config.stats, sizeof config.stats, "CTSHIM_STATS");
	if (sys2(SYS_fstat, 2, &st) == 0) { /* fstat() may be another interposer's, which is not ready */
		stderr_dev = st.st_dev;
		stderr_ino = st.st_ino;
		stderr_known = true;
	}
	const char *mode = secure_getenv("CTSHIM_MMAP");
	config.mmap = !mode ? MMAP_AUTO : strcmp(mode, "eager") == 0 ? MMAP_EAGER : strcmp(mode, "lazy") == 0 ? MMAP_LAZY : MMAP_AUTO;
	if (mode && config.mmap == MMAP_AUTO && strcmp(mode, "auto") != 0)
		not_understood("CTSHIM_MMAP", "auto, lazy or eager");
	config.memory_max = bytes("CTSHIM_MEMORY_MAX");
	const char *preload = secure_getenv("LD_PRELOAD"); /* valgrind's tools put a library of their own in front */
	config.valgrind = preload && strstr(preload, "/vgpreload_");
}

static int at_most(int n)
{
	return n < CONFIG_CORES_MAX ? n : CONFIG_CORES_MAX;
}

int config_cores(void)
{
	cpu_set_t cpus;
	return sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? at_most(CPU_COUNT(&cpus)) : 1;
}

int config_threads(void)
{
	return config.threads > 0 ? at_most(config.threads) : config_cores();
}

static bool stderr_is_ours(void)
{
	struct stat st;
	return stderr_known && sys2(SYS_fstat, 2, &st) == 0 && st.st_dev == stderr_dev && st.st_ino == stderr_ino;
}

/* A line to descriptor 2 must neither block the host nor end it by SIGPIPE. */
static void write_stderr(const char *line, size_t len)
{
	struct pollfd p = { .fd = 2, .events = POLLOUT };
	struct timespec now = { 0, 0 };
	uint64_t set = 1ull << (SIGPIPE - 1), before = 0, pending = 0;
	if (sys5(SYS_ppoll, &p, 1, &now, NULL, 0) != 1)
		return;
	sys2(SYS_rt_sigpending, &pending, sizeof pending);
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &set, &before, sizeof set);
	if (sys3(SYS_write, 2, line, len) == -EPIPE && !(pending & set))
		sys4(SYS_rt_sigtimedwait, &set, NULL, &now, sizeof set);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
}

static void write_line(const char *file, const char *line, size_t len)
{
	int saved = errno;
	if (*file) {
		long fd = sys4(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
		if (fd >= 0) {
			sys3(SYS_write, fd, line, len);
			sys_close((int)fd);
		}
	} else if (stderr_is_ours()) {
		write_stderr(line, len);
	}
	errno = saved;
}

void config_log(enum log_level level, const char *fmt, ...)
{
	if (level > config.level)
		return;
	char line[1024] = "ctshim: ";
	const size_t room = sizeof line - 1;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line + 8, room - 8, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	size_t len = strlen(line);
	line[len++] = '\n';
	write_line(config.log_file, line, len);
}

void config_stats_line(const char *line)
{
	if (*config.stats)
		write_line(strcmp(config.stats, "stderr") == 0 ? "" : config.stats, line, strlen(line));
}
