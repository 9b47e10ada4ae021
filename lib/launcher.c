#include "launcher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "sys.h"

#define SWEEPS 1000 /* a fork bomb is slower than that many rounds of SIGKILL */
#define FIRST_FD 16 /* handed over descriptors are kept from here on, out of the way of 0 … */

/* ---- the program ---- */

/* What its parents do about signals is not for it. */
static void plain_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What is started, and an order for it. */
struct program {
	char *const *argv, *const *environment;
	unsigned int run_ms;
};

struct order {
	uint64_t job;
	char last[LAUNCHER_LAST_MAX]; /* empty: none */
};

static _Noreturn void become(const struct program *p, struct order *o, const int *fds, int count, int words)
{
	static char *const plain[] = { "PATH=/usr/bin:/bin", "LANG=C", NULL };
	char *argv[LAUNCHER_ARGS_MAX + 2] = { NULL };
	int null = open("/dev/null", O_RDWR | O_NOCTTY), n = 0;

	for (; n < LAUNCHER_ARGS_MAX && p->argv[n]; n++)
		argv[n] = p->argv[n];
	if (o->last[0])
		argv[n] = o->last;

	plain_signals();
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (null < 0 || dup2(null, 1) < 0 || dup2(words < 0 ? null : words, 2) < 0 || dup2(fds[0], 0) < 0)
		_exit(127);
	for (int i = 1; i < count; i++)
		if (dup2(fds[i], 2 + i) < 0)
			_exit(127);
	sys3(SYS_close_range, (unsigned int)(2 + count), ~0u, 0);
	if (chdir("/") == 0)
		execve(argv[0], argv, p->environment ? p->environment : plain);
	_exit(127);
}

/* ---- the supervisor of one run: it outlives those who asked, to end what they started ---- */

/* The parent's pid in /proc/PID/stat, behind the name, which may hold anything. */
static pid_t parent_of(const char *pid)
{
	char path[280], text[512];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	char *behind = strrchr(text, ')');
	int parent = -1;
	return behind && sscanf(behind + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

/* Ends our children; orphans of what ran become ours, so rounds go on until there are none. */
static void sweep(void)
{
	for (int round = 0; round < SWEEPS; round++) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
			return;
		DIR *d = opendir("/proc");
		struct dirent *e;
		while (d && (e = readdir(d)))
			if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && parent_of(e->d_name) == getpid())
				kill((pid_t)atoi(e->d_name), SIGKILL);
		if (d)
			closedir(d);
		poll(NULL, 0, 1);
	}
}

/* What it says: the first line that is not empty is kept, the rest thrown away, so that it never waits for us. False: no more comes. */
static bool hear(int fd, struct launcher_end *end, bool *whole)
{
	char text[4096];
	ssize_t n = read(fd, text, sizeof text);

	for (ssize_t i = 0; i < n && !*whole; i++) {
		if (text[i] != '\n' && end->words_len < LAUNCHER_WORDS_MAX)
			end->words[end->words_len++] = text[i];
		else if (end->words_len > 0)
			*whole = true;
	}
	return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

/* Until it ends, its time is over, or nobody waits for it any more: sock, or a pipe among fds that it writes, has no other end then. */
static void watch(int pidfd, int sock, const int *fds, int count, int words, struct launcher_end *end, unsigned int run_ms)
{
	enum { PID, WORDS, SOCK, FDS }; /* its last words are there when its end is seen */
	struct pollfd p[FDS + LAUNCHER_FDS_MAX] = { [PID] = { pidfd, POLLIN, 0 }, [WORDS] = { words, POLLIN, 0 }, [SOCK] = { sock, 0, 0 } };
	int64_t until = clock_ms() + run_ms, left;
	bool whole = false, alone = false;

	for (int i = 0; i < count; i++)
		p[FDS + i] = (struct pollfd){ fds[i], 0, 0 };
	while (!p[PID].revents && !alone && (left = until - clock_ms()) > 0) {
		if (poll(p, (nfds_t)(FDS + count), (int)left) < 0)
			continue;
		if (p[WORDS].revents && !hear(words, end, &whole))
			p[WORDS].fd = -1;
		alone = p[SOCK].revents != 0;
		for (int i = FDS; i < FDS + count; i++) {
			alone |= (p[i].revents & POLLERR) != 0;
			if (p[i].revents) /* POLLHUP: one that it reads, written to its end */
				p[i].fd = -1;
		}
	}
	end->late = !p[PID].revents && !alone;
}

static _Noreturn void supervise(int sock, const struct program *program, struct order *o, const int *fds, int count)
{
	struct launcher_end end = { .job = o->job, .status = 127 << 8 };
	int words[2], pidfd;
	pid_t child;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	signal(SIGCHLD, SIG_DFL);
	if (pipe2(words, O_CLOEXEC) < 0)
		words[0] = words[1] = -1;
	child = fork();
	if (child == 0)
		become(program, o, fds, count, words[1]);
	if (words[0] >= 0) {
		close(words[1]);
		fcntl(words[0], F_SETFL, O_NONBLOCK);
	}
	pidfd = child > 0 ? (int)syscall(SYS_pidfd_open, child, 0) : -1;
	if (pidfd >= 0)
		watch(pidfd, sock, fds, count, words[0], &end, program->run_ms);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	if (child > 0)
		kill(child, SIGKILL);
	if (pidfd >= 0) /* without one there was no clock over it */
		while (waitpid(child, &end.status, 0) < 0 && errno == EINTR)
			;
	sweep();
	send(sock, &end, sizeof end, MSG_NOSIGNAL);
	_exit(0);
}

/* ---- the launcher ---- */

/* 1: an order with its descriptors; 0: none of ours; -1: who asks has gone. */
static int take_order(int sock, struct order *o, int fds[LAUNCHER_FDS_MAX], int *count)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(LAUNCHER_FDS_MAX * sizeof(int))];
	} control;
	struct iovec v = { o, sizeof *o };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);

	if (n == 0 || (n < 0 && errno != EINTR))
		return -1;
	o->last[sizeof o->last - 1] = '\0';
	struct cmsghdr *c = n == sizeof *o ? CMSG_FIRSTHDR(&m) : NULL;
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return 0;
	*count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(fds, CMSG_DATA(c), (size_t)*count * sizeof(int));
	return 1;
}

static _Noreturn void launch_all(int sock, const struct program *program)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	int fds[LAUNCHER_FDS_MAX], count = 0, r;
	struct order o = { 0 };

	/* Who waits for our parent's output to end, as a shell does, must not wait for us. */
	int null = open("/dev/null", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0 || chdir("/") < 0)
		_exit(1);
	close(null);
	plain_signals();
	signal(SIGCHLD, SIG_IGN); /* supervisors need nobody to wait for them */
	/* Of a terminal, or of who ends a whole group or unit: our parent's own end is the one that counts. */
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
		signal(ends[i], SIG_IGN);
	prctl(PR_SET_NAME, "ct-launcher", 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	while ((r = take_order(sock, &o, fds, &count)) >= 0) {
		if (r == 0)
			continue;
		for (int i = 0; i < count; i++) {
			int up = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FD);
			close(fds[i]);
			fds[i] = up;
		}
		pid_t child = fork();
		if (child == 0)
			supervise(sock, program, &o, fds, count);
		if (child < 0) {
			struct launcher_end end = { .job = o.job, .status = 127 << 8 };
			send(sock, &end, sizeof end, MSG_NOSIGNAL);
		}
		for (int i = 0; i < count; i++)
			close(fds[i]);
	}
	_exit(0);
}

int launcher_start(struct launcher *l, char *const *argv, char *const *environment, unsigned int run_ms, struct err *err)
{
	const struct program program = { argv, environment, run_ms };
	int pair[2];

	l->sock = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, errno, "a socket to the launcher");
	l->pid = fork();
	if (l->pid < 0) {
		close(pair[0]);
		close(pair[1]);
		return err_sys(err, errno, "the launcher");
	}
	if (l->pid == 0) {
		/* Standard descriptors and its end of the pair are all it keeps. */
		int sock = pair[1] == 3 ? 3 : dup3(pair[1], 3, O_CLOEXEC);
		sys3(SYS_close_range, 4u, ~0u, 0);
		launch_all(sock, &program);
	}
	close(pair[1]);
	l->sock = pair[0];
	fcntl(l->sock, F_SETFL, O_NONBLOCK);
	return 0;
}

void launcher_stop(struct launcher *l)
{
	if (l->sock < 0)
		return;
	close(l->sock);
	l->sock = -1;
	while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int launcher_run(struct launcher *l, uint64_t job, const char *last, const int *fds, int count, struct err *err)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(LAUNCHER_FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct order o = { .job = job };
	struct iovec v = { &o, sizeof o };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control,
		            .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	if (last && snprintf(o.last, sizeof o.last, "%s", last) >= (int)sizeof o.last)
		return err_sys(err, E2BIG, "the last argument");
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
	memcpy(CMSG_DATA(c), fds, (size_t)count * sizeof(int));
	if (sendmsg(l->sock, &m, MSG_NOSIGNAL) == (ssize_t)sizeof o)
		return 0;
	return err_sys(err, errno, "the launcher does not answer");
}

int launcher_ended(struct launcher *l, struct launcher_end *end)
{
	ssize_t n;

	do
		n = recv(l->sock, end, sizeof *end, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof *end)
		return 1;
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : -1;
}
