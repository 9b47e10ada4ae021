/* What kernel, limits and drivers allow. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "doctor.h"
#include "secret.h"
#include "text.h"

#define KEYS_BYTES 65536u  /* the data keys of 2,000 tensors */
#define NOFILE_MIN 256u    /* a model in hundreds of shards, libraries, sockets */
#define MAP_COUNT_MIN 65530u /* the kernel's default */

/* ---- the lazy method ---- */

static const struct method {
	const char *name;
	enum doctor_status status;
	const char *what, *remedy;
} methods[] = {
	{ "userfaultfd", DOCTOR_OK, "pages of a mapping are decrypted when they are touched", "" },
	{ "userfaultfd-user", DOCTOR_WARN,
	  "pages of a mapping are decrypted when they are touched, but not for the kernel: memory that is handed to a system call is filled first if the "
	  "call comes through libc; one made past libc gets EFAULT",
	  "sysctl vm.unprivileged_userfaultfd=1, or access to /dev/userfaultfd, or CAP_SYS_PTRACE" },
	{ "sigsegv", DOCTOR_WARN,
	  "pages of a mapping are decrypted when they are touched, by a signal handler, but not for the kernel or other processes: memory that is handed "
	  "to a system call is filled first if the call comes through libc; one made past libc gets EFAULT; debuggers cannot read what is not filled",
	  "allow the system call userfaultfd (seccomp profile of the container)" },
	{ "eager", DOCTOR_WARN, "a mapping is decrypted whole when it is made, and takes memory for all of it at once",
	  "allow the system call userfaultfd (seccomp profile of the container)" },
};

static const struct method *method_of(const struct doctor *d)
{
	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
		if (strcmp(methods[i].name, d->report.method) == 0)
			return &methods[i];
	return NULL;
}

static bool is_full(const struct doctor *d)
{
	return strcmp(d->report.method, "userfaultfd") == 0;
}

bool doctor_method(struct doctor *d, struct finding *f)
{
	const struct method *m = method_of(d);
	const char *asked = getenv("CTSHIM_MMAP");
	char why[sizeof d->report.why];

	if (!d->report.version[0])
		return false;
	if (!m) {
		doctor_say(f, DOCTOR_WARN, "the shim's way of mapping is one that ct does not know: \"%s\"",
		           TEXT(d->report.method, strlen(d->report.method)));
		return doctor_remedy(f, "install both again (make install)");
	}
	if (strcmp(m->name, "eager") == 0 && asked && strcmp(asked, "eager") == 0)
		return doctor_say(f, DOCTOR_OK, "eager, as CTSHIM_MMAP asks: %s", m->what);
	text_escape(why, sizeof why, d->report.why, strlen(d->report.why));
	doctor_say(f, m->status, "%s: %s%s%s%s", m->name, m->what, why[0] ? " (" : "", why, why[0] ? ")" : "");
	return doctor_remedy(f, "%s", m->remedy);
}

/* ---- GPU ---- */

static bool exists(char path[PATH_MAX], const char *folder, size_t len, const char *name)
{
	int n = snprintf(path, PATH_MAX, "%.*s/%s", (int)len, folder, name);

	return len > 0 && n > 0 && n < PATH_MAX && access(path, F_OK) == 0;
}

/* The loader's cache holds the paths of libraries as strings, each with a NUL before and behind it. */
static bool in_cache(char path[PATH_MAX], const char *tail)
{
	size_t len = strlen(tail) + 1; /* with its NUL */
	int fd = open("/etc/ld.so.cache", O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *all = NULL, *at, *end;
	bool found = false;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size < 64 << 20)
		all = malloc((size_t)st.st_size);
	ssize_t n = all ? read(fd, all, (size_t)st.st_size) : -1;
	close(fd);
	end = n > 0 ? all + n : all;
	for (at = all; !found && at < end && (at = memmem(at, (size_t)(end - at), tail, len)); at += len) {
		char *from = at;
		while (from > all && from[-1] != '\0')
			from--;
		found = *from == '/' && exists(path, from, (size_t)(at - from), tail + 1);
	}
	free(all);
	return found;
}

static bool find_libcuda(char path[PATH_MAX])
{
	static const char name[] = "libcuda.so.1";
	static const char *const folders[] = { "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib",
	                                       "/usr/local/nvidia/lib64", "/usr/local/cuda/compat", "/usr/lib/wsl/lib" };
	const char *list = getenv("LD_LIBRARY_PATH");

	while (list && *list) {
		size_t len = strcspn(list, ":");
		if (exists(path, list, len, name))
			return true;
		list += len + (list[len] == ':');
	}
	if (in_cache(path, "/libcuda.so.1"))
		return true;
	for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
		if (exists(path, folders[i], strlen(folders[i]), name))
			return true;
	return false;
}

bool doctor_gpu(struct doctor *d, struct finding *f)
{
	char path[PATH_MAX];

	if (!find_libcuda(path))
		return doctor_say(f, DOCTOR_OK, "no NVIDIA driver is installed (libcuda.so.1)");
	const char *shown = TEXT(path, strlen(path));
	if (!d->report.version[0] || is_full(d))
		return doctor_say(f, DOCTOR_OK, "NVIDIA driver: %s", shown);
	doctor_say(f, DOCTOR_WARN, "NVIDIA driver: %s; the driver reads memory past libc, so in programs that load it a mapping is decrypted whole when it "
	           "is made", shown);
	return doctor_remedy(f, "sysctl vm.unprivileged_userfaultfd=1, or access to /dev/userfaultfd, or CAP_SYS_PTRACE; in a container a seccomp "
	                     "profile that allows userfaultfd");
}

/* ---- limits ---- */

/* "8.0 MiB", "unlimited", "?" */
static const char *limit_text(char out[32], int which)
{
	struct rlimit l;

	if (getrlimit((__rlimit_resource_t)which, &l) < 0)
		return "?";
	return l.rlim_cur == RLIM_INFINITY ? "unlimited" : cli_size(out, l.rlim_cur);
}

bool doctor_memlock(struct doctor *d, struct finding *f)
{
	struct secret *s = secret_new(KEYS_BYTES);
	bool locked = s && s->locked;
	char size[32];

	(void)d;
	secret_free(s);
	const char *limit = limit_text(size, RLIMIT_MEMLOCK);
	if (locked)
		return doctor_say(f, DOCTOR_OK, "keys lie in locked memory (limit: %s)", limit);
	doctor_say(f, DOCTOR_WARN, "keys can reach swap: the limit of locked memory is %s", limit);
	return doctor_remedy(f, "ulimit -l 1024, LimitMEMLOCK= of the service, --ulimit memlock= of the container");
}

bool doctor_nofile(struct doctor *d, struct finding *f)
{
	struct rlimit l;

	(void)d;
	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return false;
	if (l.rlim_cur >= NOFILE_MIN)
		return doctor_say(f, DOCTOR_OK, "%" PRIu64 " open files", (uint64_t)l.rlim_cur);
	doctor_say(f, DOCTOR_WARN, "only %" PRIu64 " open files, of which the shim needs some beside the program's own", (uint64_t)l.rlim_cur);
	return doctor_remedy(f, "ulimit -n 1024");
}

bool doctor_fsize(struct doctor *d, struct finding *f)
{
	struct rlimit l;
	char size[32];

	if (getrlimit(RLIMIT_FSIZE, &l) < 0)
		return false;
	if (l.rlim_cur == RLIM_INFINITY)
		return doctor_say(f, DOCTOR_OK, "no limit of file sizes");
	const char *text = cli_size(size, l.rlim_cur);
	if (is_full(d))
		return doctor_say(f, DOCTOR_OK, "files are limited to %s, which is not in the way of mappings", text);
	doctor_say(f, DOCTOR_WARN, "files are limited to %s: a longer mapping that is decrypted whole fails with ENOMEM", text);
	return doctor_remedy(f, "ulimit -f unlimited");
}

/* A file of /proc or /sys that holds a number. */
static bool read_number(const char *path, uint64_t *v)
{
	char text[64];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return cli_number(text, 0, UINT64_MAX, false, v);
}

bool doctor_map_count(struct doctor *d, struct finding *f)
{
	uint64_t max;

	if (strcmp(d->report.method, "sigsegv") != 0 || !read_number("/proc/sys/vm/max_map_count", &max))
		return false;
	if (max >= MAP_COUNT_MIN)
		return doctor_say(f, DOCTOR_OK, "vm.max_map_count is %" PRIu64, max);
	doctor_say(f, DOCTOR_WARN, "vm.max_map_count is %" PRIu64 ": each piece that is decrypted by itself takes one of these", max);
	return doctor_remedy(f, "sysctl vm.max_map_count=%u or more", MAP_COUNT_MIN);
}

/* ---- the memory cgroup ---- */

struct cgroup {
	const char *root, *limit, *usage; /* where it is mounted; names of files */
};

/*
 * Lowers *limit to the least one of the group at `path` and those above it, with what is in use there. In a container the path may be the
 * host's, and the container's own group the root of what is mounted: going up ends there. `path` is used up.
 */
static void least_limit(const struct cgroup *g, char *path, uint64_t *limit, uint64_t *usage)
{
	char file[PATH_MAX + 64], *slash;

	if (strcmp(path, "/") == 0)
		*path = '\0';
	do {
		uint64_t v;
		snprintf(file, sizeof file, "%s%s/%s", g->root, path, g->limit);
		/* v1 says "none" by a number near 2^63, v2 by "max". */
		if (read_number(file, &v) && v < UINT64_C(1) << 60 && v < *limit) {
			*limit = v;
			snprintf(file, sizeof file, "%s%s/%s", g->root, path, g->usage);
			if (!read_number(file, usage))
				*usage = 0;
		}
		slash = strrchr(path, '/');
		if (slash)
			*slash = '\0';
	} while (slash);
}

static bool has_word(const char *list, size_t len, const char *word)
{
	while (len > 0) {
		size_t n = 0;
		while (n < len && list[n] != ',')
			n++;
		if (n == strlen(word) && memcmp(list, word, n) == 0)
			return true;
		n += n < len;
		list += n;
		len -= n;
	}
	return false;
}

bool doctor_memory(struct doctor *d, struct finding *f)
{
	static const struct cgroup v1 = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes" };
	static const struct cgroup v2 = { "/sys/fs/cgroup", "memory.max", "memory.current" };
	FILE *in = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX], a[32], b[32];
	uint64_t limit = UINT64_MAX, usage = 0;

	(void)d;
	/* "4:memory:/path" or "0::/path" */
	while (in && fgets(line, sizeof line, in)) {
		line[strcspn(line, "\n")] = '\0';
		char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
		if (!path)
			continue;
		if (path == names + 1)
			least_limit(&v2, path + 1, &limit, &usage);
		else if (has_word(names + 1, (size_t)(path - names - 1), "memory"))
			least_limit(&v1, path + 1, &limit, &usage);
	}
	if (in)
		fclose(in);
	return limit != UINT64_MAX && doctor_say(f, DOCTOR_OK, "the memory cgroup allows %s, %s are in use", cli_size(a, limit), cli_size(b, usage));
}
