/*
 * The gate. The loader (ld.so) maps the preload and runs all constructors, the shim's among them, before it jumps to the program's
 * entry point. So: start it traced, put a breakpoint on the entry point, and look for the shim's hello when it is reached. Not one
 * instruction of the program itself has run by then.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "run.h"

#define HELLO "hello 1"

#if defined(__x86_64__)
#define BREAKPOINT 0xccull /* int3: the pc stands behind it */
#define BREAKPOINT_MASK 0xffull
#define PC(regs) ((regs).rip)
#define PC_AFTER 1u
#elif defined(__aarch64__)
#define BREAKPOINT 0xd4200000ull /* brk #0: the pc stands on it */
#define BREAKPOINT_MASK 0xffffffffull
#define PC(regs) ((regs).pc)
#define PC_AFTER 0u
#endif

int gate_open(struct gate *g, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	unsigned char random[16];
	const int on = 1;
	size_t len;

	g->fd = -1;
	if (RAND_bytes(random, sizeof random) != 1)
		return err_sys(err, EIO, "OpenSSL has no random bytes");
	len = (size_t)snprintf(g->name, sizeof g->name, "@ct-run-");
	for (size_t i = 0; i < sizeof random; i++)
		len += (size_t)snprintf(g->name + len, sizeof g->name - len, "%02x", random[i]);
	memcpy(sun.sun_path + 1, g->name + 1, len - 1);
	g->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Credentials are asked for before anyone can send: every datagram then carries the kernel's word on who sent it. */
	if (g->fd < 0 || setsockopt(g->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ||
	    bind(g->fd, (struct sockaddr *)&sun, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
		err_sys(err, errno, "cannot make the socket for the shim's hello");
		gate_close(g);
		return -1;
	}
	return 0;
}

void gate_close(struct gate *g)
{
	if (g->fd >= 0)
		close(g->fd);
	g->fd = -1;
}

ssize_t gate_receive(const struct gate *g, pid_t pid, void *buf, size_t cap)
{
	char control[CMSG_SPACE(sizeof(struct ucred))];

	for (;;) {
		struct iovec iov = { buf, cap };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		ssize_t n = recvmsg(g->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
			continue;
		struct ucred who;
		memcpy(&who, CMSG_DATA(c), sizeof who);
		if (who.pid == pid)
			return n;
	}
}

/* True if the process itself has said hello. Takes every datagram that is there. */
static bool said_hello(const struct gate *g, pid_t pid)
{
	char text[16];
	bool found = false;
	ssize_t n;

	while ((n = gate_receive(g, pid, text, sizeof text)) >= 0)
		found = found || (n == sizeof HELLO - 1 && memcmp(text, HELLO, sizeof HELLO - 1) == 0);
	return found;
}

/* ---- the traced process ---- */

struct tracee {
	pid_t pid;
	uint64_t entry;
	long original; /* the word at the entry point */
	bool armed;
};

static int read_auxv(pid_t pid, Elf64_auxv_t *v, size_t room, size_t *count)
{
	char path[40];

	snprintf(path, sizeof path, "/proc/%ld/auxv", (long)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, v, room * sizeof *v);
	close(fd);
	*count = n > 0 ? (size_t)n / sizeof *v : 0;
	return n > 0 ? 0 : -1;
}

/* At an exec: puts the breakpoint on the new program's entry point. */
static int arm(struct tracee *t, struct err *err)
{
	Elf64_auxv_t v[64];
	size_t count;
	uint64_t entry = 0, base = 0, secure = 0;

	t->armed = false;
	if (read_auxv(t->pid, v, sizeof v / sizeof v[0], &count) < 0)
		return err_sys(err, errno, "cannot read the program's auxiliary vector (is /proc mounted?)");
	for (size_t i = 0; i < count; i++) {
		entry = v[i].a_type == AT_ENTRY ? v[i].a_un.a_val : entry;
		base = v[i].a_type == AT_BASE ? v[i].a_un.a_val : base;
		secure = v[i].a_type == AT_SECURE ? v[i].a_un.a_val : secure;
	}
	if (!entry || !base)
		return cli_err(err, ENOEXEC, "has no loader, so the shim cannot be loaded into it: use a dynamically linked build");
	if (secure)
		return cli_err(err, EPERM, "gains privileges when it starts, so the loader drops the shim: run it as the user it is to run as");
	errno = 0;
	t->entry = entry;
	t->original = ptrace(PTRACE_PEEKTEXT, t->pid, (void *)entry, NULL);
	if (errno == 0)
		ptrace(PTRACE_POKETEXT, t->pid, (void *)entry,
		       (void *)(((unsigned long)t->original & ~BREAKPOINT_MASK) | BREAKPOINT));
	if (errno != 0)
		return err_sys(err, errno, "cannot put a breakpoint on its entry point");
	t->armed = true;
	return 0;
}

static bool at_entry(const struct tracee *t, struct user_regs_struct *regs)
{
	struct iovec iov = { regs, sizeof *regs };

	return t->armed && ptrace(PTRACE_GETREGSET, t->pid, (void *)NT_PRSTATUS, &iov) == 0 && PC(*regs) == t->entry + PC_AFTER;
}

/* Takes the breakpoint out and lets the program go, as if nothing had been. */
static int release(const struct tracee *t, struct user_regs_struct *regs, struct err *err)
{
	struct iovec iov = { regs, sizeof *regs };

	PC(*regs) = t->entry;
	if (ptrace(PTRACE_POKETEXT, t->pid, (void *)t->entry, (void *)t->original) < 0 ||
	    ptrace(PTRACE_SETREGSET, t->pid, (void *)NT_PRSTATUS, &iov) < 0 || ptrace(PTRACE_DETACH, t->pid, NULL, NULL) < 0)
		return err_sys(err, errno, "cannot be let go");
	return 0;
}

/* Waits for a change of the process; hands on the signals that come meanwhile. */
static int wait_change(pid_t pid, const sigset_t *forward, int *status)
{
	for (;;) {
		siginfo_t info;
		pid_t r = waitpid(pid, status, __WALL | WNOHANG);
		if (r != 0)
			return r < 0 ? -1 : 0;
		if (sigwaitinfo(forward, &info) < 0)
			continue;
		/* What the terminal sends (SI_KERNEL) reaches the program without us. */
		if (info.si_signo != SIGCHLD && info.si_code != SI_KERNEL)
			kill(pid, info.si_signo);
	}
}

enum step { STEP_ON, STEP_FREE, STEP_ENDED, STEP_FAILED };

static bool is_fault(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE || sig == SIGABRT || sig == SIGTRAP;
}

/* Deals with one stop. */
static enum step step(struct tracee *t, struct gate *g, int status, struct err *err)
{
	struct user_regs_struct regs;
	int sig, event;

	if (WIFSIGNALED(status) && t->armed && is_fault(WTERMSIG(status))) {
		cli_err(err, ELIBACC, "was ended by %s while the loader set it up, before its first instruction", strsignal(WTERMSIG(status)));
		t->pid = -1;
		return STEP_FAILED;
	}
	if (!WIFSTOPPED(status))
		return STEP_ENDED;
	sig = WSTOPSIG(status);
	event = status >> 16;
	if (event == PTRACE_EVENT_EXEC) {
		if (arm(t, err) < 0)
			return STEP_FAILED;
		sig = 0;
	} else if (event == PTRACE_EVENT_STOP) {
		/* A group stop (Ctrl-Z) lasts until SIGCONT, for a traced process too. */
		bool stopped = sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
		return ptrace(stopped ? PTRACE_LISTEN : PTRACE_CONT, t->pid, NULL, NULL) < 0 && errno != ESRCH ?
		       (err_sys(err, errno, "cannot be held"), STEP_FAILED) : STEP_ON;
	} else if (sig == SIGTRAP && at_entry(t, &regs)) {
		if (said_hello(g, t->pid))
			return release(t, &regs, err) < 0 ? STEP_FAILED : STEP_FREE;
		cli_err(err, ELIBACC, "started without the shim, and was ended before its first instruction: the loader did not load it "
		        "(it says why above, or: LD_DEBUG=files)");
		return STEP_FAILED;
	}
	if (ptrace(PTRACE_CONT, t->pid, NULL, (void *)(long)sig) < 0 && errno != ESRCH) {
		err_sys(err, errno, "cannot be held");
		return STEP_FAILED;
	}
	return STEP_ON;
}

/* ---- the child ---- */

/* Waits until it is traced, then becomes the program. The pipe tells the errno of a failed exec, and closes by a good one. */
static void __attribute__((noreturn)) child(const struct gate_child *c, int go, int failed)
{
	char byte;

	if (read(go, &byte, 1) != 1)
		_exit(CLI_RUN);
	c->prepare(c->arg);
	execv(c->path, c->argv);
	if (errno == ENOEXEC) {
		/* A script without #!: as execvp() does. */
		size_t n = 0;
		while (c->argv[n])
			n++;
		char **argv = calloc(n + 2, sizeof *argv);
		if (!argv)
			_exit(CLI_RUN);
		argv[0] = (char[]){ "sh" };
		argv[1] = (char *)c->path;
		for (size_t i = 1; i < n; i++)
			argv[i + 1] = c->argv[i];
		execv("/bin/sh", argv);
	}
	int e = errno;
	ssize_t n = write(failed, &e, sizeof e);
	(void)n;
	_exit(CLI_RUN);
}

static int start(const struct gate_child *c, pid_t *pid, int *failed, struct err *err)
{
	int go[2], bad[2];

	if (pipe2(go, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot make a pipe");
	if (pipe2(bad, O_CLOEXEC) < 0) {
		err_sys(err, errno, "cannot make a pipe");
		close(go[0]);
		close(go[1]);
		return -1;
	}
	*pid = fork();
	if (*pid == 0) {
		close(go[1]); /* so that the end of ct run ends this process too */
		child(c, go[0], bad[1]);
	}
	close(go[0]);
	close(bad[1]);
	*failed = bad[0];
	int ret = 0;
	if (*pid < 0)
		ret = err_sys(err, errno, "cannot start a process");
	/* EXITKILL: while it is held it does not outlive ct run. */
	else if (ptrace(PTRACE_SEIZE, *pid, NULL, (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC)) < 0)
		ret = cli_err(err, errno, "cannot be held at its start, because ptrace is not permitted here (%s): allow it (kernel.yama.ptrace_scope, "
		              "seccomp profile of the container), or start an agent and use LD_PRELOAD, which nothing checks then",
		              strerrordesc_np(errno));
	else if (write(go[1], "", 1) != 1)
		ret = err_sys(err, errno, "cannot be started");
	close(go[1]);
	if (ret < 0)
		close(bad[0]);
	return ret;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
}

/* 0, or the exit status for an exec that failed. */
static int exec_failed(int failed, struct err *err)
{
	int e;

	if (read(failed, &e, sizeof e) != (ssize_t)sizeof e)
		return 0;
	err_sys(err, e, "cannot be executed");
	return e == ENOENT || e == ENOTDIR ? RUN_NOT_FOUND : RUN_CANNOT_EXECUTE;
}

int gate_start(struct gate *g, const struct gate_child *c, const sigset_t *forward, pid_t *pid, bool *ended, int *status,
               struct err *err)
{
	struct tracee t = { 0 };
	enum step s = STEP_ON;
	int failed = -1;

	*ended = false;
	if (start(c, &t.pid, &failed, err) < 0) {
		if (t.pid > 0)
			end(t.pid);
		return CLI_RUN;
	}
	while (s == STEP_ON) {
		if (wait_change(t.pid, forward, status) < 0) {
			err_sys(err, errno, "cannot be waited for");
			s = STEP_FAILED;
		} else {
			s = step(&t, g, *status, err);
		}
	}
	int ret = s == STEP_FAILED ? CLI_RUN : 0;
	if (s == STEP_FAILED && t.pid > 0)
		end(t.pid);
	*ended = s == STEP_ENDED;
	if (s == STEP_ENDED)
		ret = exec_failed(failed, err);
	close(failed);
	*pid = t.pid;
	return ret;
}
