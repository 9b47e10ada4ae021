/*
 * guard: whatever the host closes or duplicates, our descriptors stay, its own are closed as it asked, and no number of ours ever comes
 * to the host. What is really open is asked by raw system calls.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "guard.h"
#include "sys.h"

#define OURS 6

static int ours[OURS];
static int hosts[2 * OURS + 2]; /* right beside ours, and two low ones */

static bool is_open(int fd)
{
	return sys3(SYS_fcntl, fd, F_GETFD, 0) >= 0;
}

static int memfd(char content)
{
	int fd = (int)sys2(SYS_memfd_create, "ours", 0);
	CHECK(fd >= 0 && sys4(SYS_pwrite64, fd, &content, 1, 0) == 1);
	return fd;
}

static void add_ours(int limit)
{
	struct rlimit soft = { 0 };
	getrlimit(RLIMIT_NOFILE, &soft);
	soft.rlim_cur = (rlim_t)limit;
	CHECK(setrlimit(RLIMIT_NOFILE, &soft) == 0);
	for (int i = 0; i < OURS; i++) {
		int fd = memfd((char)('a' + i));
		ours[i] = guard_add(fd);
		CHECK(!is_open(fd));
		CHECK(ours[i] >= limit / 2 || ours[i] >= 1024); /* out of the way */
		CHECK(ours[i] < limit && ours[i] < 2048);       /* or the kernel's table, copied at each fork, is large */
		CHECK(sys3(SYS_fcntl, ours[i], F_GETFD, 0) == FD_CLOEXEC);
		CHECK(guard_is(ours[i]) && guard_within((unsigned int)ours[i], (unsigned int)ours[i]));
	}
	for (int i = 0; i < OURS; i++)
		if (!guard_is(ours[i] - 1))
			hosts[2 * i] = dup2(0, ours[i] - 1);
		else
			hosts[2 * i] = dup2(0, 10 + i);
	for (int i = 0; i < OURS; i++)
		hosts[2 * i + 1] = guard_is(ours[i] + 1) || ours[i] + 1 >= limit ? dup2(0, 20 + i) : dup2(0, ours[i] + 1);
}

static void open_hosts(void)
{
	for (int i = 0; i < 2 * OURS; i++)
		CHECK(dup2(0, hosts[i]) == hosts[i]);
	hosts[2 * OURS] = dup(0);
	hosts[2 * OURS + 1] = open("/dev/null", O_RDONLY);
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
		CHECK(hosts[i] > 2 && is_open(hosts[i]) && !guard_is(hosts[i]));
}

static void ours_stand(const char *after)
{
	for (int i = 0; i < OURS; i++) {
		char c = 0;
		if (sys4(SYS_pread64, ours[i], &c, 1, 0) != 1 || c != 'a' + i) {
			fprintf(stderr, "%s: number %d is not ours any more\n", after, ours[i]);
			CHECK(false);
		}
	}
}

static void hosts_gone(const char *after)
{
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
		if (is_open(hosts[i])) {
			fprintf(stderr, "%s: the host's %d is still open\n", after, hosts[i]);
			CHECK(false);
		}
	ours_stand(after);
}

static void close_listed(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	int all[4096], count = 0;
	while (d && (e = readdir(d)) && count < 4096)
		if (atoi(e->d_name) > 2)
			all[count++] = atoi(e->d_name);
	CHECK(d && count > OURS);
	closedir(d);
	for (int i = 0; i < count; i++)
		close(all[i]);
}

#define REFUSED(call) \
	do { \
		errno = 0; \
		CHECK((call) == -1 && errno == EBADF); \
	} while (0)

static void not_there(int fd)
{
	REFUSED(close(fd));
	REFUSED(syscall(SYS_close, fd));
	REFUSED(dup(fd));
	REFUSED(dup2(fd, 30));
	REFUSED(dup2(0, fd));
	REFUSED(dup2(fd, fd));
	REFUSED(dup3(fd, 30, O_CLOEXEC));
	REFUSED(dup3(0, fd, 0));
	REFUSED(syscall(SYS_dup3, 0, fd, 0));
	REFUSED(fcntl(fd, F_GETFD));
	REFUSED(fcntl(fd, F_SETFD, 0));
	REFUSED(fcntl(fd, F_DUPFD, 3));
	REFUSED(fcntl(fd, F_DUPFD_CLOEXEC, 3));
	REFUSED(ioctl(fd, FIONCLEX));
	REFUSED(syscall(SYS_fcntl, fd, F_GETFL));
	int above = fcntl(0, F_DUPFD, fd); /* the next free number, never ours */
	CHECK((above > fd && !guard_is(above)) || (above < 0 && errno == EMFILE));
	if (above >= 0)
		close(above);
}

static void *unshared(void *arg)
{
	(void)arg;
	CHECK(close_range(3, UINT_MAX, CLOSE_RANGE_UNSHARE) == 0);
	hosts_gone("close_range(UNSHARE), in its thread");
	CHECK(close_range((unsigned int)ours[0], (unsigned int)ours[0], CLOSE_RANGE_UNSHARE) == 0); /* nothing but ours in it */
	ours_stand("close_range(UNSHARE) of one of ours");
	return NULL;
}

static void close_everything(int limit)
{
	open_hosts();
	close_listed();
	hosts_gone("each of /proc/self/fd");

	open_hosts();
	closefrom(3);
	hosts_gone("closefrom");

	open_hosts();
	CHECK(close_range(3, UINT_MAX, 0) == 0);
	hosts_gone("close_range");

	open_hosts();
	CHECK(syscall(SYS_close_range, 3, UINT_MAX, 0) == 0);
	hosts_gone("syscall(SYS_close_range)");

	open_hosts();
	for (int fd = 3; fd < limit; fd++)
		close(fd);
	hosts_gone("close of every number");

	for (int fd = 3; fd < limit; fd++) {
		int r = dup2(0, fd);
		CHECK(guard_is(fd) ? r == -1 && errno == EBADF : r == fd);
	}
	ours_stand("dup2 over every number");
	closefrom(3);

	open_hosts();
	CHECK(close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0);
	CHECK(is_open(hosts[0]) && sys3(SYS_fcntl, hosts[0], F_GETFD, 0) == FD_CLOEXEC);
	pthread_t t;
	CHECK(pthread_create(&t, NULL, unshared, NULL) == 0 && pthread_join(t, NULL) == 0);
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
		CHECK(is_open(hosts[i])); /* only that thread's table lost them */
	closefrom(3);

	REFUSED(close_range(3, UINT_MAX, 1 << 20) == -1 && errno == EINVAL ? (errno = EBADF, -1) : 0);
	REFUSED(close_range(UINT_MAX, 3, 0) == -1 && errno == EINVAL ? (errno = EBADF, -1) : 0);
	ours_stand("senseless calls");
}

static void children(void)
{
	int status = -1;
	open_hosts();
	pid_t pid = vfork(); /* as Python's subprocess does it */
	if (pid == 0) {
		close_range(3, UINT_MAX, 0);
		close(ours[0]);
		_exit(is_open(ours[0]) && !is_open(hosts[0]) ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
		CHECK(is_open(hosts[i]));
	ours_stand("a vfork child that closes everything");
	pid = fork();
	if (pid == 0) { /* a mapping that it inherited needs them */
		closefrom(3);
		hosts_gone("closefrom in a fork child");
		_exit(check_failures ? 1 : 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	closefrom(3);
}

/* A host that takes all it can get, then gives it back: no number of ours is among it. */
static void exhaust(void)
{
	int got, count = 0;
	while ((got = dup(0)) >= 0) {
		CHECK(!guard_is(got));
		count++;
	}
	CHECK(errno == EMFILE && count > 0);
	close(hosts[0] = 3);
	CHECK(guard_add((int)sys1(SYS_dup, 0)) == 3 || !is_open(3));
	closefrom(3);
	ours_stand("a host that took every number");
}

static atomic_bool stop;

/* A host's thread: what it opens it finds again, whatever ours come and go beside it. */
static void *opening(void *arg)
{
	int *lost = arg;
	while (!stop) {
		int low = dup(0), high = fcntl(0, F_DUPFD, ours[0]);
		*lost += low >= 0 ? guard_is(low) || close(low) != 0 : errno != EMFILE;
		*lost += high >= 0 && (guard_is(high) || close(high) != 0);
	}
	return NULL;
}

static void *adding(void *arg)
{
	int *lost = arg;
	for (int i = 0; i < 5000; i++) {
		int fd = guard_add((int)sys2(SYS_memfd_create, "added", 0));
		*lost += fd < 0 || !is_open(fd) || !guard_is(fd) || close(fd) == 0;
		guard_close(fd);
	}
	return NULL;
}

static void together(void)
{
	pthread_t host, adders[2];
	int lost[3] = { 0, 0, 0 };
	stop = false;
	CHECK(pthread_create(&host, NULL, opening, &lost[2]) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&adders[i], NULL, adding, &lost[i]) == 0);
	for (int i = 0; i < 2; i++)
		pthread_join(adders[i], NULL);
	stop = true;
	pthread_join(host, NULL);
	CHECK(lost[0] == 0 && lost[1] == 0 && lost[2] == 0);
	ours_stand("threads that add while another opens and closes");
}

static void one_limit(int limit)
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		check_failures = 0;
		add_ours(limit);
		for (int i = 0; i < OURS; i++)
			not_there(ours[i]);
		close_everything(limit);
		children();
		if (limit <= 2048)
			exhaust();
		together();
		for (int i = 0; i < OURS; i++) {
			guard_close(ours[i]);
			CHECK(!guard_is(ours[i]) && !is_open(ours[i]));
			CHECK(dup2(0, ours[i]) == ours[i] && close(ours[i]) == 0); /* an ordinary number again */
		}
		guard_close(-1);
		_exit(check_failures ? 1 : 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (status != 0) {
		fprintf(stderr, "with a limit of %d: status %d\n", limit, status);
		CHECK(false);
	}
}

int main(void)
{
	struct rlimit hard;
	CHECK(getrlimit(RLIMIT_NOFILE, &hard) == 0);
	static const int limits[] = { 128, 256, 1024, 4096, 1000000 };
	CHECK(!guard_is(0) && !guard_is(INT_MAX) && !guard_is(-1));
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		if ((rlim_t)limits[i] <= hard.rlim_max)
			one_limit(limits[i]);
	return check_status("shim_guard");
}
