/* ct run: one program, under the shim or not at all. */
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "text.h"

static const char HELP[] =
	"usage: ct run [--keys FILE | --agent SOCKET] [--] PROGRAM [ARGUMENTS]\n"
	"\n"
	"Runs a program that sees encrypted models as plain ones. It runs under the shim or not at all: a program into which the shim\n"
	"cannot be loaded (static, set-user-ID, another C library) is refused, never fed ciphertext. That holds for PROGRAM itself: what it\n"
	"starts in turn is covered as long as it passes LD_PRELOAD on, which env -i, sudo and static helpers do not.\n"
	"\n"
	"  -k, --keys FILE      key set: for a private agent that lives as long as the program\n"
	"      --agent SOCKET   the agent at that socket (default: the one that is running)\n"
	"      --io-uring       leave io_uring to the program; what it reads through it is ciphertext (default: ENOSYS, and, unless ct has\n"
	"                       CAP_SYS_ADMIN, set-user-ID programs that it starts gain no rights)\n"
	"  -q, --quiet          say nothing but errors\n"
	"      --help, --version\n"
	"\n"
	"Exit status: the program's own; 128 + n if signal n ended it; 126, 127: it cannot be executed, is not there; 125: ct run failed.\n";

struct options {
	const char *keys, *agent;
	bool rings;
};

/* Everything that belongs to one run. */
struct run {
	struct options o;
	char shim[PATH_MAX], program[PATH_MAX];
	struct gate gate;
	struct private_agent agent;
	char *socket;        /* for CT_AGENT_SOCK; NULL: leave it */
	sigset_t forward;    /* blocked here, handed to the program */
	sigset_t saved;      /* the mask to give back */
	struct sigaction sigchld;
};

static int parse_options(int argc, char **argv, struct options *o)
{
	enum { AGENT = CLI_OWN, RINGS };
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "keys", required_argument, NULL, 'k' },
		{ "agent", required_argument, NULL, AGENT },
		{ "io-uring", no_argument, NULL, RINGS },
		{ NULL, 0, NULL, 0 },
	};
	int opt, status;

	while ((opt = getopt_long(argc, argv, "+:" CLI_LETTERS "k:", LONG, NULL)) != -1) {
		if (opt == 'k') {
			o->keys = optarg;
			continue;
		}
		if (opt == AGENT) {
			o->agent = optarg;
			continue;
		}
		if (opt == RINGS) {
			o->rings = true;
			continue;
		}
		status = cli_option(opt, argv);
		if (status >= 0)
			return status == CLI_USAGE ? CLI_RUN : status;
	}
	if (o->keys && o->agent) {
		cli_usage("--keys brings an agent of its own: --agent does not go with it");
		return CLI_RUN;
	}
	if (optind == argc) {
		cli_usage("needs a program");
		return CLI_RUN;
	}
	return -1;
}

/* The agent that the program is to use: there, and answering. */
static int find_agent(struct run *r, struct err *err)
{
	struct agent_addr addr = { .trust = (uid_t)-1 };
	struct agent_reply reply;

	if (r->o.keys) {
		if (private_agent_start(&r->agent, r->o.keys, err) < 0)
			return -1;
		r->socket = strdup(r->agent.addr.path);
		return r->socket ? 0 : err_sys(err, ENOMEM, "the agent's path");
	}
	if (r->o.agent) {
		r->socket = realpath(r->o.agent, NULL);
		if (!r->socket)
			return err_sys(err, errno, "there is no agent at %s", TEXT(r->o.agent, strlen(r->o.agent)));
		setenv("CT_AGENT_SOCK", r->socket, 1);
	}
	if (agent_addr_find(&addr, cli_env, err) < 0 || agent_exchange(&addr, "{\"v\":1,\"op\":\"ping\"}", NULL, 0, &reply, err) < 0)
		return -1;
	agent_reply_release(&reply);
	return 0;
}

/* In the child, before exec. */
static void prepare(void *arg)
{
	const struct run *r = arg;
	const char *old = getenv("LD_PRELOAD");
	char *preload = NULL;
	struct err err = { 0 };

	if (asprintf(&preload, "%s%s%s", r->shim, old && *old ? ":" : "", old ? old : "") < 0 || setenv("LD_PRELOAD", preload, 1) < 0 ||
	    setenv("CTSHIM_HELLO", r->gate.name, 1) < 0 || (r->socket && setenv("CT_AGENT_SOCK", r->socket, 1) < 0))
		_exit(CLI_RUN);
	unsetenv("CTSHIM_DISABLE");
	if (!r->o.rings && run_refuse_rings(&err) < 0) {
		cli_failed(r->program, &err);
		_exit(CLI_RUN);
	}
	sigaction(SIGCHLD, &r->sigchld, NULL);
	sigprocmask(SIG_SETMASK, &r->saved, NULL);
}

/* From here on signals wait until the loops in gate_start() and wait_program() take them. */
static void hold_signals(struct run *r)
{
	static const int list[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH };
	const struct sigaction dfl = { .sa_handler = SIG_DFL };

	sigaction(SIGCHLD, &dfl, &r->sigchld);
	sigemptyset(&r->forward);
	for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
		sigaddset(&r->forward, list[i]);
	sigprocmask(SIG_BLOCK, &r->forward, &r->saved);
}

static int wait_program(const struct run *r, pid_t pid)
{
	siginfo_t info;
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);
		if (got == pid)
			return status;
		if (got < 0)
			return CLI_RUN << 8;
		if (sigwaitinfo(&r->forward, &info) < 0 || info.si_signo == SIGCHLD)
			continue;
		/* What the terminal sends (SI_KERNEL) reaches the program without us. */
		if (info.si_code != SI_KERNEL)
			kill(pid, info.si_signo);
	}
}

/* A signal to end that came before there was a program to hand it to; 0: none. */
static int ended_early(void)
{
	const struct timespec now = { 0, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	int sig = sigtimedwait(&set, NULL, &now);
	return sig > 0 ? sig : 0;
}

static int run(struct run *r, char **argv)
{
	struct err err = { 0 };
	struct gate_child c = { .path = r->program, .argv = argv, .prepare = prepare, .arg = r };
	const char *at = argv[0];
	bool ended;
	int status;
	pid_t pid;

	int found = run_find(argv[0], r->program);
	if (found != 0) {
		cli_err(&err, found == RUN_NOT_FOUND ? ENOENT : EACCES, found == RUN_NOT_FOUND ? "there is no such program" : "is not executable");
		cli_failed(at, &err);
		return found;
	}
	if (run_check_program(r->program, &err) < 0) {
		cli_failed(at, &err);
		return err_errno(&err) == ENOENT ? RUN_NOT_FOUND : CLI_RUN; /* a script whose interpreter is not there */
	}
	at = NULL;
	if (run_find_shim(r->shim, &err) < 0)
		goto fail;
	at = r->o.keys;
	if (find_agent(r, &err) < 0)
		goto fail;
	at = NULL;
	if (gate_open(&r->gate, &err) < 0)
		goto fail;
	int sig = ended_early();
	if (sig) {
		gate_close(&r->gate);
		return 128 + sig;
	}
	at = argv[0];
	int ret = gate_start(&r->gate, &c, &r->forward, &pid, &ended, &status, &err);
	gate_close(&r->gate);
	if (ret != 0) {
		cli_failed(at, &err);
		return ret;
	}
	if (!ended)
		status = wait_program(r, pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
fail:
	cli_failed(at, &err);
	return CLI_RUN;
}

int cmd_run(int argc, char **argv)
{
	struct run r = { .gate = { .fd = -1 }, .agent = { .pid = -1 } };
	int status;

	cli.help = HELP;
	status = parse_options(argc, argv, &r.o);
	if (status >= 0)
		return status;
	hold_signals(&r);
	status = run(&r, argv + optind);
	private_agent_stop(&r.agent);
	free(r.socket);
	return status;
}
