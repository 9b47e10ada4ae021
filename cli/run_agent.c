#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent_cmds.h"
#include "cli.h"
#include "keysource.h"
#include "run.h"
#include "text.h"

#define START_MS 10000 /* until the agent must answer */
#define STOP_MS 5000   /* until a SIGTERM must have ended it */

int run_own_folder(char folder[PATH_MAX], struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);

	if (n < 0)
		return err_sys(err, errno, "cannot find the folder of ct (is /proc mounted?)");
	folder[n] = '\0';
	char *slash = strrchr(folder, '/');
	if (slash)
		*slash = '\0';
	return 0;
}

static int make_folder(struct private_agent *a, struct err *err)
{
	const char *base = getenv("XDG_RUNTIME_DIR");

	/* A socket's path has room for 107 bytes. */
	if (!base || base[0] != '/' || strlen(base) > 40 || access(base, W_OK | X_OK) < 0)
		base = "/tmp";
	snprintf(a->folder, sizeof a->folder, "%s/ct-run-XXXXXX", base);
	if (!mkdtemp(a->folder)) {
		int errnum = errno;
		a->folder[0] = '\0';
		return err_sys(err, errnum, "cannot make a folder in %s", TEXT(base, strlen(base)));
	}
	snprintf(a->addr.path, sizeof a->addr.path, "%s/agent.sock", a->folder);
	a->addr.trust = (uid_t)-1;
	return 0;
}

/* What belongs to the shim is not the agent's. */
static void clean_environment(void)
{
	static const char prefix[] = "CTSHIM_";
	bool again = true;

	unsetenv("LD_PRELOAD");
	while (again) {
		again = false;
		for (char **e = environ; *e && !again; e++) {
			char name[128];
			size_t len = strcspn(*e, "=");
			if (strncmp(*e, prefix, sizeof prefix - 1) != 0 || len >= sizeof name)
				continue;
			memcpy(name, *e, len);
			name[len] = '\0';
			again = unsetenv(name) == 0;
		}
	}
}

static void __attribute__((noreturn)) become_agent(const struct private_agent *a, const char *program, pid_t follow, int log)
{
	char pid[24];
	sigset_t none;

	/* A session of its own: Ctrl-C is meant for the program, which may want its keys to the end. */
	setsid();
	/* Above the three that are replaced, of which some may have been closed. */
	log = fcntl(log, F_DUPFD_CLOEXEC, 3);
	int opened = open("/dev/null", O_RDWR | O_CLOEXEC), null = fcntl(opened, F_DUPFD_CLOEXEC, 3);
	if (log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
		_exit(CLI_RUN);
	clean_environment();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(pid, sizeof pid, "%ld", (long)follow);
	char *const argv[] = { (char[]){ "ct-agent" }, (char[]){ "-f" }, (char[]){ "-s" }, (char *)a->addr.path, (char[]){ "-P" }, pid, NULL };
	execv(program, argv);
	dprintf(2, "%s: %s\n", program, strerrordesc_np(errno));
	_exit(CLI_RUN);
}

void run_last_line(const char *text, size_t n, char *dst, size_t cap)
{
	while (n > 0 && text[n - 1] == '\n')
		n--;
	size_t from = n;
	while (from > 0 && text[from - 1] != '\n')
		from--;
	text_escape(dst, cap, text + from, n - from);
}

/* The last line of what the agent said. */
static void last_words(int log, char *dst, size_t cap)
{
	char text[512];
	off_t size = lseek(log, 0, SEEK_END);
	ssize_t n = pread(log, text, sizeof text, size > (off_t)sizeof text ? size - (off_t)sizeof text : 0);

	run_last_line(text, n > 0 ? (size_t)n : 0, dst, cap);
}

static int wait_for_agent(struct private_agent *a, int log, struct err *err)
{
	const struct timespec pause = { 0, 5000000 };
	char said[256];

	for (int ms = 0; ms < START_MS; ms += 5) {
		struct agent_reply reply;
		struct err e;
		if (waitpid(a->pid, NULL, WNOHANG) == a->pid) {
			a->pid = -1;
			last_words(log, said, sizeof said);
			return cli_err(err, ENOKEY, "the private agent ended at its start: %s", said[0] ? said : "it said nothing");
		}
		if (access(a->addr.path, F_OK) == 0 && agent_exchange(&a->addr, "{\"v\":1,\"op\":\"ping\"}", NULL, 0, &reply, &e) == 0) {
			bool ours = reply.pid == a->pid;
			agent_reply_release(&reply);
			return ours ? 0 : cli_err(err, EKEYREJECTED, "another process answers on the private agent's socket");
		}
		nanosleep(&pause, NULL);
	}
	return cli_err(err, ENOKEY, "the private agent did not start within %d s", START_MS / 1000);
}

int private_agent_start(struct private_agent *a, const char *keys, struct err *err)
{
	char folder[PATH_MAX], program[PATH_MAX];
	struct jwk_set set = { NULL, 0 };
	uint64_t number;
	int ret = -1, log = -1;

	*a = (struct private_agent){ .pid = -1 };
	if (keysource_read(&set, keys, err) < 0)
		return -1;
	if (run_own_folder(folder, err) < 0)
		goto out;
	if (snprintf(program, sizeof program, "%s/ct-agent", folder) >= (int)sizeof program || access(program, X_OK) < 0) {
		cli_err(err, ENOENT, "there is no ct-agent beside ct: install it again (make install)");
		goto out;
	}
	/* Without a name: it is gone with its processes, even if they are killed. */
	log = memfd_create("ct-agent log", MFD_CLOEXEC);
	if (log < 0) {
		err_sys(err, errno, "cannot make a log for the private agent");
		goto out;
	}
	if (make_folder(a, err) < 0)
		goto out;
	pid_t self = getpid();
	a->pid = fork();
	if (a->pid == 0)
		become_agent(a, program, self, log);
	if (a->pid < 0) {
		err_sys(err, errno, "cannot start a process");
		goto out;
	}
	if (wait_for_agent(a, log, err) < 0 || agent_add_set(&a->addr, &set, 0, &number, err) < 0)
		goto out;
	ret = 0;
out:
	if (log >= 0)
		close(log);
	jwk_set_release(&set);
	if (ret < 0)
		private_agent_stop(a);
	return ret;
}

/* Removes the folder and the few files in it, which are the agent's. */
static void remove_folder(const char *folder)
{
	static const char *const names[] = { "agent.sock", "agent.sock.lock" };
	char path[128];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		unlink(path);
	}
	if (rmdir(folder) < 0 && errno != ENOENT)
		cli_say("%s: cannot be removed: %s", folder, strerrordesc_np(errno));
}

void private_agent_stop(struct private_agent *a)
{
	const struct timespec pause = { 0, 2000000 };

	if (a->pid > 0) {
		kill(a->pid, SIGTERM);
		pid_t r = 0;
		for (int ms = 0; ms < STOP_MS && r == 0; ms += 2) {
			r = waitpid(a->pid, NULL, WNOHANG);
			if (r == 0)
				nanosleep(&pause, NULL);
		}
		if (r == 0) {
			kill(a->pid, SIGKILL);
			waitpid(a->pid, NULL, 0);
		}
	}
	if (a->folder[0])
		remove_folder(a->folder);
	*a = (struct private_agent){ .pid = -1 };
}
