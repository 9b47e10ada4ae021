#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "budget.h"
#include "choice.h"
#include "config.h"
#include "pool.h"
#include "sys.h"
#include "touch.h"
#include "views.h"

static long owner; /* pid */
static atomic_bool written;
static struct views_stats base;
static _Atomic uint64_t peak;

void stats_start(void)
{
	owner = sys0(SYS_getpid);
	written = false;
	peak = 0;
	views_stats(&base);
}

/* Bytes of one line of /proc/self/maps if it is plaintext of ours. */
static uint64_t line_bytes(char *line)
{
	char *end = NULL;
	if (!strstr(line, "/memfd:ctshim "))
		return 0;
	uint64_t from = strtoull(line, &end, 16);
	return *end == '-' ? strtoull(end + 1, NULL, 16) - from : 0;
}

static void add_resident(struct range *r, void *sum)
{
	unsigned char vec[4096];
	for (size_t at = 0, n; at < r->len; at += n) {
		n = r->len - at < sizeof vec * ranges_page() ? r->len - at : sizeof vec * ranges_page();
		if (sys3(SYS_mincore, r->base + at, n, vec) < 0)
			return;
		for (size_t i = 0; i < n / ranges_page(); i++)
			*(uint64_t *)sum += vec[i] & 1 ? ranges_page() : 0;
	}
}

uint64_t stats_held(void)
{
	char buf[8192];
	size_t len = 0;
	uint64_t sum = 0;
	if (strncmp(choice_name(), "userfaultfd", 11) == 0)
		ranges_each(add_resident, &sum);
	long fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0), n;
	if (fd < 0)
		return sum;
	while ((n = sys3(SYS_read, fd, buf + len, sizeof buf - 1 - len)) > 0) {
		len += (size_t)n;
		buf[len] = '\0';
		char *line = buf, *newline;
		for (; (newline = strchr(line, '\n')); line = newline + 1) {
			*newline = '\0';
			sum += line_bytes(line);
		}
		len -= (size_t)(line - buf);
		memmove(buf, line, len);
	}
	sys_close((int)fd);
	return sum;
}

static void raise_peak(uint64_t now)
{
	uint64_t old = peak;
	while (now > old && !atomic_compare_exchange_weak(&peak, &old, now))
		;
}

void stats_mapped(void)
{
	if (*config.stats)
		raise_peak(stats_held());
}

void stats_write(void)
{
	if (!*config.stats || config.off || sys0(SYS_getpid) != owner || atomic_exchange(&written, true))
		return;
	int saved = errno;
	struct views_stats s;
	char line[512];
	uint64_t holds = stats_held();
	raise_peak(holds);
	raise_peak(budget_peak());
	views_stats(&s);
	snprintf(line, sizeof line,
	         "{\"pid\":%ld,\"method\":\"%s\",\"opens\":%llu,\"agent_requests\":%llu,\"bytes_decrypted\":%llu,"
	         "\"chunks_decrypted\":%llu,\"faults\":%llu,\"seconds_decrypting\":%.6f,\"bytes_held\":%llu,\"peak_bytes_held\":%llu}\n",
	         owner, choice_name(), (unsigned long long)(s.opens - base.opens), (unsigned long long)(s.agent_requests - base.agent_requests),
	         (unsigned long long)(s.bytes_decrypted - base.bytes_decrypted),
	         (unsigned long long)(s.chunks_decrypted - base.chunks_decrypted), (unsigned long long)(pool_faults() + touch_faults()), (double)(s.ns_decrypting - base.ns_decrypting) / 1e9,
	         (unsigned long long)holds, (unsigned long long)peak);
	config_stats_line(line);
	errno = saved;
}

void stats_exec_failed(void)
{
	if (sys0(SYS_getpid) == owner)
		written = false;
}
