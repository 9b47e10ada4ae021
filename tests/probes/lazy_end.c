/*
 * lazy_end FILE REFERENCE COMMAND: how processes end, and what they do to descriptors, while a mapping is in use.
 *
 *   pthread_exit   main() ends by pthread_exit(); three threads read on and end one after the other. The process must end then.
 *   alone          the same without other threads.
 *   closing        every descriptor is closed and dup2'ed over in every way there is, with pages touched in between.
 *   lasting        the mapping outlives its descriptor and (FILE is removed!) its file.
 */
#include <pthread.h>
#include <sys/syscall.h>

#include "probe.h"

static unsigned char *map;
static pthread_t main_thread;

static void *reader(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg, part = probe_len / 4;
	if (i == 0)
		pthread_join(main_thread, NULL);
	line("thread", "%s", verdict(map + i * part, i * part, part));
	return NULL;
}

static void close_each(void)
{
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
}

static void close_from(void)
{
	closefrom(3);
}

static void close_range_all(void)
{
	close_range(3, ~0u, 0);
}

static void close_range_syscall(void)
{
	syscall(SYS_close_range, 3, ~0u, 0);
}

static void close_range_cloexec(void)
{
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
}

static void dup_over(void)
{
	int null = open("/dev/null", O_RDWR);
	for (int fd = 3; fd < 1024; fd++)
		if (fd != null)
			dup2(null, fd);
	for (int fd = 3; fd < 1024; fd++)
		if (fd != null)
			dup3(null, fd, O_CLOEXEC);
	close_each();
}

static void close_listed(void) /* what /proc lists, as careful daemons do */
{
	for (int fd = 3; fd < 1 << 20; fd++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (fd < 4096 ? access(path, F_OK) == 0 : fd % 1024 >= 960) /* high ones: where private descriptors like to stand */
			close(fd);
	}
}

static void closing(void)
{
	static const struct { const char *name; void (*close)(void); } ways[] = {
		{ "close", close_each }, { "closefrom", close_from }, { "close_range", close_range_all },
		{ "close_range-syscall", close_range_syscall }, { "close_range-cloexec", close_range_cloexec }, { "dup2", dup_over },
		{ "close-listed", close_listed },
	};
	size_t n = sizeof ways / sizeof *ways, part = probe_len / n;
	unsigned char *rw = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	for (size_t i = 0; i < n; i++) {
		ways[i].close();
		line(ways[i].name, "%s, %s", verdict(map + i * part, i * part, part), verdict(rw + i * part, i * part, part));
		madvise(map, probe_len, MADV_DONTNEED);
		line(ways[i].name, "again %s", verdict(map, 0, (i + 1) * part));
	}
	probe_fd = open(probe_path, O_RDONLY);
	unsigned char *fresh = map_whole(PROT_READ, MAP_PRIVATE);
	line("mapped-afterwards", "%s, %s, %s", verdict(map, 0, probe_len), verdict(rw, 0, probe_len), verdict(fresh, 0, probe_len));
}

static void lasting(void)
{
	unsigned char *rw = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	rw[0] = probe_want[0];
	close(probe_fd);
	line("closed", "%s, %s", verdict(map, 0, probe_len / 2), verdict(rw, 0, probe_len / 2));
	if (unlink(probe_path) < 0)
		probe_die(probe_path);
	line("unlinked", "%s, %s", verdict(map, 0, probe_len), verdict(rw, 0, probe_len));
	madvise(map, probe_len, MADV_DONTNEED);
	line("unlinked", "again %s", verdict(map, 0, probe_len));
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	probe_open(argv[1], argv[2]);
	map = map_whole(PROT_READ, MAP_PRIVATE);
	main_thread = pthread_self();
	if (strcmp(argv[3], "closing") == 0) {
		closing();
	} else if (strcmp(argv[3], "lasting") == 0) {
		lasting();
	} else if (strcmp(argv[3], "pthread_exit") == 0) {
		pthread_t t;
		line("main", "%s", verdict(map + probe_len / 4 * 3, probe_len / 4 * 3, probe_len / 4));
		for (size_t i = 0; i < 3; i++)
			pthread_create(&t, NULL, reader, (void *)(uintptr_t)i);
		pthread_exit(NULL);
	} else if (strcmp(argv[3], "alone") == 0) {
		line("main", "%s", verdict(map, 0, probe_len));
		pthread_exit(NULL);
	} else {
		return 2;
	}
	return 0;
}
