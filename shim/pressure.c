#include "pressure.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys.h"

#define MARGIN_MIN ((uint64_t)32 << 20)
#define MARGIN_MAX ((uint64_t)1 << 30)
#define LEVELS 8 /* a cgroup and those above it */

struct level {
	char limit[300], usage[300], stat[300];
};

static struct level levels[LEVELS];
static int level_count;
static const char *reclaimable; /* the line of memory.stat that the kernel can take back at once */
static _Atomic int looked;      /* 0, 1: somebody does, 2: done */

static size_t read_file(const char *path, char *buf, size_t cap)
{
	long fd = sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	size_t len = 0;
	if (fd >= 0) {
		long n;
		while (len + 1 < cap && (n = sys3(SYS_read, fd, buf + len, cap - 1 - len)) > 0)
			len += (size_t)n;
		sys_close((int)fd);
	}
	buf[len] = '\0';
	return len;
}

/* The number behind `key` at the start of a line; `none` if there is no such line, or it says "max". */
static uint64_t number(const char *text, const char *key, uint64_t none)
{
	size_t len = strlen(key);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (strncmp(line, key, len) != 0)
			continue;
		line += len + strspn(line + len, ": \t");
		return *line >= '0' && *line <= '9' ? strtoull(line, NULL, 10) : none;
	}
	return none;
}

static uint64_t number_in(const char *path, const char *key, uint64_t none)
{
	char buf[8192];
	return read_file(path, buf, sizeof buf) ? number(buf, key, none) : none;
}

static bool exists(const char *path)
{
	return sys4(SYS_faccessat, AT_FDCWD, path, 4 /* R_OK */, 0) == 0;
}

/* The cgroup `path` and its parents, below the mount point. */
static void add_levels(const char *mount, char *path, const char *limit, const char *usage)
{
	for (;;) {
		struct level *l = &levels[level_count];
		int a = snprintf(l->limit, sizeof l->limit, "%s%s/%s", mount, path, limit);
		int b = snprintf(l->usage, sizeof l->usage, "%s%s/%s", mount, path, usage);
		int c = snprintf(l->stat, sizeof l->stat, "%s%s/memory.stat", mount, path);
		if (a < (int)sizeof l->limit && b < (int)sizeof l->usage && c < (int)sizeof l->stat && exists(l->limit) && level_count < LEVELS - 1)
			level_count++;
		char *slash = strrchr(path, '/');
		if (!slash)
			return;
		*slash = '\0';
	}
}

static void look(void)
{
	char buf[4096], *line, *next;
	read_file("/proc/self/cgroup", buf, sizeof buf);
	for (line = buf; *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = '\0';
		char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = '\0';
		controllers++;
		if (strcmp(path, "/") == 0)
			*path = '\0';
		if (strcmp(controllers, "memory") == 0) {
			reclaimable = "total_inactive_file";
			add_levels("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes");
		} else if (*controllers == '\0' && exists("/sys/fs/cgroup/cgroup.controllers")) {
			reclaimable = "inactive_file";
			add_levels("/sys/fs/cgroup", path, "memory.max", "memory.current");
		}
	}
}

static uint64_t margin(uint64_t total)
{
	uint64_t m = total / 16;
	return m < MARGIN_MIN ? MARGIN_MIN : m > MARGIN_MAX ? MARGIN_MAX : m;
}

/* Widens *most by what is missing of one margin, and narrows *room. */
static void weigh(uint64_t total, uint64_t free, uint64_t *most, uint64_t *room)
{
	uint64_t keep = margin(total), lack = free < keep ? keep - free : 0, left = free < keep ? 0 : free - keep;
	*most = lack > *most ? lack : *most;
	*room = left < *room ? left : *room;
}

size_t pressure_missing(size_t *room)
{
	char buf[4096];
	uint64_t most = 0, left = SIZE_MAX;
	int expected = 0;
	if (atomic_compare_exchange_strong(&looked, &expected, 1)) {
		look();
		atomic_store(&looked, 2);
	}
	if (read_file("/proc/meminfo", buf, sizeof buf))
		weigh(number(buf, "MemTotal", 0) * 1024, number(buf, "MemAvailable", UINT64_MAX / 1024) * 1024, &most, &left);
	for (int i = 0; i < level_count && atomic_load(&looked) == 2; i++) {
		uint64_t limit = number_in(levels[i].limit, "", UINT64_MAX);
		if (limit >= (uint64_t)INT64_MAX / 2)
			continue;
		uint64_t used = number_in(levels[i].usage, "", 0), cache = number_in(levels[i].stat, reclaimable, 0);
		used = used > cache ? used - cache : 0;
		weigh(limit, limit > used ? limit - used : 0, &most, &left);
	}
	*room = (size_t)left;
	return (size_t)most;
}
