#include "capture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "clock.h"
#include "text.h"

#define PAUSE_MS 2

/* The environment without what would make the program load code: an array of the same strings. */
static char **clean_environment(void)
{
	size_t n = 0, kept = 0;

	while (environ[n])
		n++;
	char **env = calloc(n + 1, sizeof *env);
	for (size_t i = 0; env && i < n; i++)
		if (strncmp(environ[i], "LD_", 3) != 0)
			env[kept++] = environ[i];
	return env;
}

/* Between fork and exec: async-signal-safe calls only. */
static void __attribute__((noreturn)) become(char *const argv[], char **env, int out, int tell, pid_t parent)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	setsid();
	/* Above the three that are replaced, of which some may have been closed. */
	tell = fcntl(tell, F_DUPFD_CLOEXEC, 4);
	out = fcntl(out, F_DUPFD_CLOEXEC, 4);
	int opened = open("/dev/null", O_RDONLY | O_CLOEXEC), null = fcntl(opened, F_DUPFD_CLOEXEC, 4);
	if (tell < 0 || out < 0 || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup3(tell, 3, O_CLOEXEC) < 0)
		goto fail;
	tell = 3;
	if (close_range(4, ~0u, 0) < 0)
		for (int fd = 4; fd < 1024; fd++)
			close(fd);
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		sigaction(sig, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(CLI_FAILED);
	execve(argv[0], argv, env);
fail:;
	int why = errno;
	while (write(tell, &why, sizeof why) < 0 && errno == EINTR)
		;
	_exit(CLI_FAILED);
}

/* Starts the program; *from is the reading end of its stdout. */
static pid_t start(char *const argv[], int *from, struct err *err)
{
	int out[2] = { -1, -1 }, tell[2] = { -1, -1 }, why = 0;
	char **env = clean_environment();
	pid_t pid = -1, self = getpid();
	ssize_t n;

	if (!env) {
		err_sys(err, ENOMEM, "cannot be run");
		goto out;
	}
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(tell, O_CLOEXEC) < 0) {
		err_sys(err, errno, "cannot be run: a pipe");
		goto out;
	}
	pid = fork();
	if (pid == 0)
		become(argv, env, out[1], tell[1], self);
	if (pid < 0) {
		err_sys(err, errno, "cannot be run: a process");
		goto out;
	}
	close(tell[1]);
	tell[1] = -1;
	while ((n = read(tell[0], &why, sizeof why)) < 0 && errno == EINTR)
		;
	if (n == sizeof why) {
		waitpid(pid, NULL, 0);
		pid = -1;
		err_sys(err, why, "%s cannot be run", TEXT(argv[0], strlen(argv[0])));
		goto out;
	}
	*from = out[0];
	out[0] = -1;
out:
	for (int i = 0; i < 2; i++) {
		if (out[i] >= 0)
			close(out[i]);
		if (tell[i] >= 0)
			close(tell[i]);
	}
	free(env);
	return pid;
}

static int too_late(int timeout_ms, const char *what, struct err *err)
{
	return cli_err(err, ETIMEDOUT, "did not %s within %d s: killed", what, timeout_ms / 1000);
}

/* Milliseconds until the deadline as poll() wants them; -1: there is none. */
static int left(int64_t deadline)
{
	if (deadline < 0)
		return -1;
	int64_t ms = deadline - clock_ms();
	return ms > 0 ? (int)ms : 0;
}

static int read_to_end(int fd, struct secret *out, int64_t deadline, int timeout_ms, struct err *err)
{
	size_t len = 0;
	uint8_t more;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int ready = poll(&p, 1, left(deadline));
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0)
			return err_sys(err, errno, "its output");
		if (ready == 0)
			return too_late(timeout_ms, "close its output", err);
		ssize_t n = len < out->len ? read(fd, out->data + len, out->len - len) : read(fd, &more, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "its output");
		if (n == 0) {
			out->len = len;
			return 0;
		}
		if (len == out->len)
			return cli_err(err, EFBIG, "printed over %zu bytes: killed", out->len);
		if (left(deadline) == 0) /* a little at a time, for ever */
			return too_late(timeout_ms, "close its output", err);
		len += (size_t)n;
	}
}

static int check_end(const siginfo_t *info, struct err *err)
{
	if (info->si_code == CLD_EXITED && info->si_status == 0)
		return 0;
	if (info->si_code == CLD_EXITED)
		return cli_err(err, EIO, "ended with status %d", info->si_status);
	return cli_err(err, EIO, "was ended by SIG%s", sigabbrev_np(info->si_status) ? sigabbrev_np(info->si_status) : "?");
}

static int wait_end(pid_t pid, int64_t deadline, int timeout_ms, struct err *err)
{
	siginfo_t info = { 0 };

	for (;;) {
		/* Not reaped yet: its number stays the group's. */
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | (deadline < 0 ? 0 : WNOHANG)) < 0) {
			if (errno != EINTR)
				return err_sys(err, errno, "cannot be waited for");
		} else if (info.si_pid == pid) {
			return check_end(&info, err);
		} else if (left(deadline) == 0) {
			return too_late(timeout_ms, "end", err);
		} else {
			clock_pause(PAUSE_MS);
		}
	}
}

int capture_run(char *const argv[], struct secret *out, int timeout_ms, struct err *err)
{
	const struct sigaction dfl = { .sa_handler = SIG_DFL };
	int64_t deadline = timeout_ms ? clock_ms() + timeout_ms : -1;
	struct sigaction saved;
	int from = -1, ret = -1;

	sigaction(SIGCHLD, &dfl, &saved); /* ignored, as it may come to us, it would take the status away */
	pid_t pid = start(argv, &from, err);
	if (pid >= 0) {
		ret = read_to_end(from, out, deadline, timeout_ms, err);
		close(from);
		if (ret == 0)
			ret = wait_end(pid, deadline, timeout_ms, err);
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	sigaction(SIGCHLD, &saved, NULL);
	return ret;
}
