/* A small program under the shim, and what it reports; whether ct run could hold one. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "clock.h"
#include "doctor.h"
#include "json.h"
#include "run.h"
#include "text.h"

#define SLICE_MS 10 /* how often the child's end is looked for */
#define KILL_MS 1000
#define BARE "libctshim.so" /* as the README has it, for the loader to find */

/* One run. */
struct probe {
	struct gate gate;
	pid_t pid;
	int out;         /* the child's stderr; -1: at its end */
	char said[2048]; /* the beginning of it */
	size_t said_len;
	char datagram[PATH_MAX + 2048];
	ssize_t got; /* bytes of it; -1: none yet */
	bool ended;
	int status;
};

static void __attribute__((noreturn)) child(const struct probe *p, const char *const *argv, const char *preload, int err_fd)
{
	/* What would write elsewhere, or change what is asked. CTSHIM_MMAP and its kin stay. */
	static const char *const out[] = { "CTSHIM_DISABLE", "CTSHIM_HELLO", "CTSHIM_STATS", "CTSHIM_LOG", "CTSHIM_LOG_FILE", "LD_DEBUG" };
	const char *old = getenv("LD_PRELOAD");
	char *all = NULL;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
		unsetenv(out[i]);
	if (asprintf(&all, "%s%s%s", preload, old && *old ? ":" : "", old ? old : "") < 0 || setenv("LD_PRELOAD", all, 1) < 0 ||
	    setenv("CTSHIM_DOCTOR", p->gate.name, 1) < 0)
		_exit(CLI_FAILED);
	/* Above the three that are replaced, of which some may have been closed. */
	null = fcntl(null, F_DUPFD_CLOEXEC, 3);
	err_fd = fcntl(err_fd, F_DUPFD_CLOEXEC, 3);
	if (null < 0 || err_fd < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(err_fd, 2) < 0)
		_exit(CLI_FAILED);
	execv(argv[0], (char *const *)argv);
	_exit(CLI_FAILED);
}

static int start(struct probe *p, const char *const *argv, const char *preload, struct err *err)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(err, errno, "cannot make a pipe");
	p->pid = fork();
	if (p->pid == 0)
		child(p, argv, preload, fd[1]);
	close(fd[1]);
	p->out = fd[0];
	return p->pid < 0 ? err_sys(err, errno, "cannot start a process") : 0;
}

/* Takes what is there, within bounds; what is too much is thrown away, so that the child never waits for us. */
static void drain(struct probe *p)
{
	char more[4096];

	for (int i = 0; i < 16 && p->out >= 0; i++) {
		size_t room = sizeof p->said - p->said_len;
		ssize_t n = read(p->out, room ? p->said + p->said_len : more, room ? room : sizeof more);
		if (n > 0 && room)
			p->said_len += (size_t)n;
		if (n > 0 || (n < 0 && errno == EINTR))
			continue;
		if (n == 0) {
			close(p->out);
			p->out = -1;
		}
		return;
	}
}

static bool look(struct probe *p)
{
	if (!p->ended)
		p->ended = waitpid(p->pid, &p->status, WNOHANG) == p->pid;
	if (p->got < 0)
		p->got = gate_receive(&p->gate, p->pid, p->datagram, sizeof p->datagram);
	drain(p);
	return p->ended;
}

/* Until the child has ended or the time is over, when it is killed. */
static void attend(struct probe *p)
{
	int64_t deadline = clock_ms() + DOCTOR_MS;

	while (!look(p) && clock_ms() < deadline) {
		struct pollfd wait[] = { { .fd = p->got < 0 ? p->gate.fd : -1, .events = POLLIN }, { .fd = p->out, .events = POLLIN } };
		poll(wait, 2, SLICE_MS);
	}
	if (p->ended)
		return;
	kill(p->pid, SIGKILL);
	/* In vain if it hangs in the kernel. */
	for (deadline = clock_ms() + KILL_MS; waitpid(p->pid, NULL, WNOHANG) == 0 && clock_ms() < deadline;)
		clock_pause(1);
}

static void take(const struct json *j, int tok, char *dst, size_t cap)
{
	size_t raw;

	if (json_type(j, tok) != JSON_STRING)
		return;
	json_raw(j, tok, &raw);
	if (raw < cap)
		dst[json_unescape(j, tok, dst)] = '\0';
}

static int read_report(struct doctor_report *r, const struct probe *p, struct err *err)
{
	struct json_member m;
	struct json j;
	int more;

	*r = (struct doctor_report){ 0 };
	json_begin(&j, p->datagram, (size_t)p->got);
	while ((more = json_next(&j, &m, err)) > 0) {
		if (json_is(&j, m.key, "version"))
			take(&j, m.value, r->version, sizeof r->version);
		else if (json_is(&j, m.key, "path"))
			take(&j, m.value, r->path, sizeof r->path);
		else if (json_is(&j, m.key, "openssl"))
			take(&j, m.value, r->openssl, sizeof r->openssl);
		else if (json_is(&j, m.key, "method"))
			take(&j, m.value, r->method, sizeof r->method);
		else if (json_is(&j, m.key, "why"))
			take(&j, m.value, r->why, sizeof r->why);
	}
	json_release(&j);
	if (more < 0 || !r->version[0])
		return cli_err(err, EPROTO, "the shim's report cannot be understood: install it again (make install)");
	return 0;
}

static int judge(const struct probe *p, const char *program, struct doctor_report *r, struct err *err)
{
	char said[256];

	run_last_line(p->said, p->said_len, said, sizeof said);
	if (!p->ended)
		return cli_err(err, ETIMEDOUT, "%s under the shim %s within %d s, and was ended", program,
		               p->got < 0 ? "did neither report nor end" : "did not end", DOCTOR_MS / 1000);
	if (WIFSIGNALED(p->status))
		return cli_err(err, ELIBACC, "%s under the shim was ended by %s", program, strsignal(WTERMSIG(p->status)));
	if (WEXITSTATUS(p->status) != 0)
		return cli_err(err, ELIBACC, "%s under the shim ended with status %d%s%s", program, WEXITSTATUS(p->status), said[0] ? ", saying " : "",
		               said);
	if (p->got < 0)
		return cli_err(err, ELIBACC, "%s ran without it%s%s", program, said[0] ? ", saying " : "", said);
	return read_report(r, p, err);
}

/* A program that does nothing and that the shim can be loaded into; NULL: there is none. */
static const char *const *pick(void)
{
	static const char *const programs[][4] = { { "/bin/true" }, { "/usr/bin/true" }, { "/bin/sh", "-c", ":" } };
	char path[PATH_MAX];
	struct err err;

	for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
		if (run_find(programs[i][0], path) == 0 && run_check_program(path, &err) == 0)
			return programs[i];
	return NULL;
}

enum doctor_probed doctor_probe(const char *preload, struct doctor_report *r, struct err *err)
{
	struct probe p = { .gate = { .fd = -1 }, .pid = -1, .out = -1, .got = -1 };
	const char *const *argv = pick();
	int ret = -1;

	if (!argv)
		return DOCTOR_NO_PROGRAM;
	if (gate_open(&p.gate, err) < 0 || start(&p, argv, preload, err) < 0)
		goto out;
	attend(&p);
	ret = judge(&p, argv[0], r, err);
out:
	gate_close(&p.gate);
	if (p.out >= 0)
		close(p.out);
	return ret < 0 ? DOCTOR_NO_REPORT : DOCTOR_REPORTED;
}

/* ---- findings ---- */

bool doctor_shim(struct doctor *d, struct finding *f)
{
	struct err err = { 0 };

	if (run_find_shim(d->shim, &err) < 0) {
		d->shim[0] = '\0';
		doctor_say(f, DOCTOR_FAIL, "%s", err.text);
		char *colon = strrchr(f->text, ':');
		if (colon && colon[1] == ' ') {
			doctor_remedy(f, "%s", colon + 2);
			*colon = '\0';
		}
		return true;
	}
	const char *path = TEXT(d->shim, strlen(d->shim));
	switch (doctor_probe(d->shim, &d->report, &err)) {
	case DOCTOR_NO_PROGRAM:
		doctor_say(f, DOCTOR_WARN, "%s: not tried, since there is no program here to try it with (/bin/true, /bin/sh)", path);
		return true;
	case DOCTOR_NO_REPORT:
		doctor_say(f, DOCTOR_FAIL, "%s: %s", path, err.text);
		return doctor_remedy(f, "install ct and the shim again, of one version (make install)");
	case DOCTOR_REPORTED:
		break;
	}
	const char *version = TEXT(d->report.version, strlen(d->report.version));
	if (strcmp(d->report.version, CT_VERSION) == 0)
		return doctor_say(f, DOCTOR_OK, "%s, version %s", path, version);
	doctor_say(f, DOCTOR_FAIL, "%s is version %s, ct is " CT_VERSION, path, version);
	return doctor_remedy(f, "install both again (make install)");
}

/* LD_PRELOAD=libctshim.so, without a folder: what the loader finds, where ct run takes the file beside ct. */
bool doctor_preload(struct doctor *d, struct finding *f)
{
	struct doctor_report r;
	struct err err = { 0 };
	char found[PATH_MAX];

	if (!d->report.version[0])
		return false;
	if (doctor_probe(BARE, &r, &err) != DOCTOR_REPORTED) {
		doctor_say(f, DOCTOR_WARN, "LD_PRELOAD=" BARE " is not found by the loader, which then goes on without it");
		return doctor_remedy(f, "LD_PRELOAD=%s, or make install, or its folder into /etc/ld.so.conf.d and ldconfig", TEXT(d->shim, strlen(d->shim)));
	}
	if (!realpath(r.path, found))
		return false;
	if (strcmp(found, d->shim) == 0)
		return doctor_say(f, DOCTOR_OK, "LD_PRELOAD=" BARE " is the same file");
	doctor_say(f, DOCTOR_WARN, "LD_PRELOAD=" BARE " is another file than the one that ct run takes: %s, version %s", TEXT(found, strlen(found)),
	           TEXT(r.version, strlen(r.version)));
	return doctor_remedy(f, "remove one of them, or name the one that you want by its path");
}

bool doctor_ptrace(struct doctor *d, struct finding *f)
{
	pid_t pid = fork();
	int why = 0;

	(void)d;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	if (pid < 0)
		return false;
	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_EXITKILL) < 0)
		why = errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, __WALL);
	if (why == 0)
		return doctor_say(f, DOCTOR_OK, "ct run can hold a program until the shim is there");
	doctor_say(f, DOCTOR_WARN, "ct run cannot hold a program until the shim is there (%s), and refuses to start any", strerrordesc_np(why));
	return doctor_remedy(f, "allow ptrace (kernel.yama.ptrace_scope, seccomp profile of the container), or ct-agent and LD_PRELOAD");
}
