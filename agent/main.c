/* ct-agent: holds key sets and opens encrypted models for the shim and ct. See docs/PROTOCOL.md and docs/SECURITY.md. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "agent_client.h"
#include "clock.h"
#include "duration.h"
#include "listener.h"
#include "notify.h"
#include "server.h"
#include "text.h"

#define EXIT_USAGE 2
#define EXIT_FAILED 3
#define KILL_WAIT_MS 5000

struct options {
	bool foreground, kill;
	const char *sock, *config, *engine, *remote, *audit;
	bool audit_required;
	bool passed; /* a socket of systemd's at NOTIFY_LISTEN_FD */
	unsigned int lifetime_s;
	pid_t follow;
};

static const char usage[] =
	"usage: ct-agent [-f] [-s SOCK] [-c CONFIG] [-t LIFETIME] [-P FOLLOW_PID]\n"
	"       ct-agent -k [-s SOCK]\n"
	"Holds keys (ct add KEYS) and opens encrypted models for programs under LD_PRELOAD=libctshim.so.\n"
	"\n"
	"  -f             stay in the foreground and log each decision to stderr; the end of the terminal is then its own\n"
	"  -k             end the agent that serves the socket\n"
	"  -s SOCK        the socket; default: $CT_AGENT_SOCK, else ct-agent.sock in $XDG_RUNTIME_DIR or /run/user/UID,\n"
	"                 else ~/.ct/agent.sock (root: /run/ct-agent.sock)\n"
	"  -c CONFIG      configuration, which SIGHUP reads again; its lines:\n"
	"                   keep SECONDS            that a program keeps keys after its last use of a file\n"
	"                   allow-uid N             this user may open files, too\n"
	"                   allow, ciphertext, deny with exe=GLOB, uid=N, cgroup=GLOB, keys=GLOB: which programs may decrypt; the first that fits counts\n"
	"                   policy FILE             the operator's own policy, besides the file's\n"
	"                   remote ignore|refuse    files whose remote policy is not the default\n"
	"                   environment LABEL, attribute NAME VALUE\n"
	"                                           what policies see of this place\n"
	"                   revoked FILE            a publisher's list of revoked licences\n"
	"                   clock FILE              where the latest time that was seen is kept, for licences\n"
	"                   token URI verify=FILE   a master key in a PKCS#11 token; kid=NAME: what files call it\n"
	"  -t LIFETIME    forget key sets after that time unless ct add says otherwise: seconds, or a number with s, m, h, d\n"
	"  -P FOLLOW_PID  end when that process ends\n"
	"      --policy-engine exec:PROGRAM ARGS\n"
	"                 who judges policies (docs/POLICY.md); without one only the default policy is true\n"
	"      --remote ignore|refuse|exec:PROGRAM ARGS\n"
	"                 files with a remote policy of their own: open them all the same (the default), never, or as that program says\n"
	"      --audit stderr|syslog|FILE\n"
	"                 a line of JSON for each decision\n"
	"      --audit-required\n"
	"                 open nothing whose line cannot be written there\n"
	"      --help, --version\n"
	"CT_ASKPASS in its environment: the program by which it asks for ct add -c, an absolute path.\n";

static const char *env(const char *name)
{
	return getenv(name);
}

static int complain(const struct err *why)
{
	fprintf(stderr, "ct-agent: %s: %s\n", err_name(why), why->text);
	return EXIT_FAILED;
}

static int bad_usage(const char *what)
{
	fprintf(stderr, "ct-agent: %s (ct-agent --help)\n", what);
	return EXIT_USAGE;
}

static bool parse_number(const char *text, unsigned long max, unsigned long *v, char **end)
{
	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*v = strtoul(text, end, 10);
	return !errno && *v >= 1 && *v <= max;
}

/* -1: go on; else the exit status. */
static int parse_options(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "policy-engine", required_argument, NULL, 'E' },
		{ "remote", required_argument, NULL, 'r' },
		{ "audit", required_argument, NULL, 'A' },
		{ "audit-required", no_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'H' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long v;
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "fks:c:t:P:", longs, NULL)) != -1) {
		switch (c) {
		case 'f':
			o->foreground = true;
			break;
		case 'k':
			o->kill = true;
			break;
		case 's':
			o->sock = optarg;
			break;
		case 'c':
			o->config = optarg;
			break;
		case 't':
			if (!duration_parse(optarg, &o->lifetime_s))
				return bad_usage("-t takes a time such as 3600, 90m, 8h or 7d");
			break;
		case 'P':
			if (!parse_number(optarg, INT32_MAX, &v, &end) || *end)
				return bad_usage("-P takes the number of a process");
			o->follow = (pid_t)v;
			break;
		case 'E':
			o->engine = optarg;
			break;
		case 'r':
			o->remote = optarg;
			break;
		case 'A':
			o->audit = optarg;
			break;
		case 'R':
			o->audit_required = true;
			break;
		case 'H':
			fputs(usage, stdout);
			return 0;
		case 'V':
			puts("ct-agent " CT_VERSION);
			return 0;
		default:
			return bad_usage("that is not how it is called");
		}
	}
	if (optind < argc)
		return bad_usage("it takes options only");
	if (o->audit_required && !o->audit)
		return bad_usage("--audit-required goes with --audit");
	if (o->kill && (o->audit || o->foreground || o->config || o->lifetime_s || o->follow || o->engine || o->remote))
		return bad_usage("-k goes with -s only");
	if (o->sock && !*o->sock)
		return bad_usage("-s takes the path of a socket");
	return -1;
}

/* --- ct-agent -k --- */

/*
 * The pid comes from the connection. It is signalled only if it speaks our protocol (a wrong path may be somebody else's socket),
 * through a pidfd, and only if a connection to it still stood after that was taken: so a pid that was used again is never hit.
 */
static int kill_agent(const struct options *o)
{
	struct agent_addr addr = { .trust = (uid_t)-1 };
	struct agent_reply reply;
	struct err why = { 0 };
	struct pollfd p;
	int fd = -1, pidfd = -1, r = -1;
	pid_t pid;

	if (o->sock && strlen(o->sock) >= sizeof addr.path)
		err_sys(&why, ENAMETOOLONG, "%s", TEXT(o->sock, strlen(o->sock)));
	else if (o->sock)
		r = snprintf(addr.path, sizeof addr.path, "%s", o->sock);
	else
		r = agent_addr_find(&addr, env, &why);
	if (r < 0)
		return complain(&why);
	if (agent_exchange(&addr, "{\"v\":1,\"op\":\"ping\"}", NULL, 0, &reply, &why) < 0)
		return complain(&why);
	agent_reply_release(&reply);
	fd = agent_connect(&addr, &pid, &why);
	if (fd >= 0 && pid != reply.pid)
		err_sys(&why, ESRCH, "another agent has taken the place of pid %d", reply.pid);
	if (why.code != ERR_NONE) {
		if (fd >= 0)
			close(fd);
		return complain(&why);
	}
	p = (struct pollfd){ fd, 0, 0 };
	pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (pidfd < 0)
		err_sys(&why, pid > 0 ? errno : ESRCH, "the agent's process %d cannot be reached from here", pid);
	else if (poll(&p, 1, 0) != 0)
		err_sys(&why, ESRCH, "the agent (pid %d) has just ended", pid);
	else if (syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) < 0)
		err_sys(&why, errno, "pid %d", pid);
	close(fd);
	if (why.code == ERR_NONE) {
		p = (struct pollfd){ pidfd, POLLIN, 0 };
		if (poll(&p, 1, KILL_WAIT_MS) <= 0)
			err_sys(&why, ETIMEDOUT, "the agent (pid %d) has not ended yet: kill -9 %d ends it", pid, pid);
	}
	if (pidfd >= 0)
		close(pidfd);
	return why.code == ERR_NONE ? 0 : complain(&why);
}

/* --- start --- */

static int follow_fd(pid_t pid, int *fd)
{
	struct err why;

	*fd = -1;
	if (!pid)
		return 0;
	*fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*fd >= 0)
		return 0;
	err_sys(&why, errno, "-P %d", pid);
	return complain(&why);
}

/* A word for a shell: quoted unless plainly harmless. */
static const char *quoted(char *dst, size_t cap, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@";
	size_t at = 0;

	if (word[strspn(word, plain)] == '\0') {
		snprintf(dst, cap, "%s", word);
		return dst;
	}
	dst[at++] = '\'';
	for (; *word && at + 6 < cap; word++) {
		if (*word == '\'') {
			memcpy(dst + at, "'\\''", 4);
			at += 4;
		} else {
			dst[at++] = *word;
		}
	}
	dst[at++] = '\'';
	dst[at] = '\0';
	return dst;
}

/* Says where it is. A socket that clients would not find by themselves is named for the shell. */
static void announce(const char *path, pid_t pid)
{
	char word[4 * LISTENER_PATH_MAX + 8];
	struct agent_addr found;
	bool by_default = agent_addr_find(&found, env, NULL) == 0 && strcmp(found.path, path) == 0;

	quoted(word, sizeof word, path);
	if (!by_default)
		printf("CT_AGENT_SOCK=%s; export CT_AGENT_SOCK;\n", word);
	printf("# ct-agent: pid %d at %s\n", pid, TEXT(path, strlen(path)));
	printf("# add keys: ct add KEYS; stop it: ct-agent -k%s%s\n", by_default ? "" : " -s ", by_default ? "" : word);
	fflush(stdout);
}

static int take_remote(struct agent *a, const char *what, struct err *err)
{
	if (!what || strcmp(what, "ignore") == 0)
		return 0;
	a->refuse_remote = strcmp(what, "refuse") == 0;
	return a->refuse_remote ? 0 : engine_start(a->remote, what, err);
}

/* The process that serves. ready: a pipe to the waiting parent, -1 in the foreground. */
static int serve(const struct options *o, struct config *config, const struct hardening *hardening, const char *path, int follow,
                 int ready)
{
	struct engine engine = ENGINE_NONE, remote = ENGINE_NONE;
	struct confirm confirm = CONFIRM_NONE;
	struct audit audit = AUDIT_NONE;
	struct agent a = { .config = config, .engine = &engine, .remote = &remote, .confirm = &confirm, .audit = &audit, .hardening = *hardening, .started_ms = clock_boot_ms(), .log = o->foreground };
	struct listener l = { .fd = -1, .lock = -1 };
	struct errands errands = { .sock = -1, .listener = &l };
	struct reload reload;
	struct notify notify;
	struct hardening of_keeper;
	struct err why = { 0 };
	sigset_t ends;
	int signals = -1, r = -1;

	/* Before a socket, a key or a signal mask is there that the launchers would inherit; after them the keeper, whose socket they are not to have. */
	if (config_check(config, o->engine, &why) < 0 || notify_init(&notify, &why) < 0 || (o->engine && engine_start(&engine, o->engine, &why) < 0))
		return complain(&why);
	if (take_remote(&a, o->remote, &why) < 0)
		goto out;
	confirm_start(&confirm, getenv("CT_ASKPASS"));
	a.keys = keystore_start(&config->tokens, !o->foreground, &of_keeper, &why);
	if (!a.keys || reload_init(&reload, config, o->config, o->foreground, &why) < 0)
		goto out;
	reload.errands = &errands;
	reload.notify = &notify;
	a.reload = &reload;
	if (o->audit && audit_open(&audit, o->audit, o->audit_required, &why) < 0)
		goto out;
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	sigprocmask(SIG_SETMASK, &ends, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 3; i++) /* an inherited SIG_IGN would keep the signal from the signalfd */
		signal((int[]){ SIGTERM, SIGINT, SIGHUP }[i], SIG_DFL);
	signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	a.licences = licences_new();
	if (signals < 0 || !a.licences) {
		err_sys(&why, errno, "no memory to start with");
		goto out;
	}
	if (licences_start(&a, &why) < 0 ||
	    (o->passed ? listener_adopt(&l, NOTIFY_LISTEN_FD, path, &why) : listener_open(&l, path, config->allow_count > 0, &why)))
		goto out;
	if (o->foreground) {
		announce(path, getpid());
	} else if (chdir("/") < 0 || !harden_to_null() || write(ready, "+", 1) != 1) {
		err_sys(&why, errno, "going to the background");
		goto out;
	}
	if (ready >= 0)
		close(ready);
	if (errands_start(&errands, &why) < 0)
		goto out;
	harden_front(&a.hardening, audit.syslog ? audit.fd : -1, keystore_keeper(a.keys), &of_keeper);
	notify_ready(&notify);
	r = server_run(&a, l.fd, signals, follow, &why);
	notify_stopping(&notify);
out:
	audit_close(&audit);
	engine_stop(&engine);
	engine_stop(&remote);
	confirm_stop(&confirm);
	keystore_free(a.keys);
	constraints_clear(&a.constraints);
	licences_free(a.licences);
	passphrase_clear(&a.lock);
	if (l.fd >= 0) {
		errands_remove(&errands);
		listener_close(&l);
	}
	errands_stop(&errands);
	if (signals >= 0)
		close(signals);
	if (a.reload)
		reload_release(a.reload);
	return r < 0 ? complain(&why) : 0;
}

/* The child serves; the parent returns when the socket is there, or with the child's failure. */
static int to_background(const struct options *o, struct config *config, const struct hardening *hardening, const char *path,
                         int follow)
{
	struct err why;
	int pipes[2], status = 0;
	pid_t child;
	char c;

	if (pipe2(pipes, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		err_sys(&why, errno, "going to the background");
		return complain(&why);
	}
	if (child == 0) {
		close(pipes[0]);
		setsid();
		return serve(o, config, hardening, path, follow, pipes[1]);
	}
	close(pipes[1]);
	if (read(pipes[0], &c, 1) == 1) {
		announce(path, child);
		return 0;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status))
		return WEXITSTATUS(status);
	fprintf(stderr, "ct-agent: ended at its start\n");
	return EXIT_FAILED;
}

static int socket_path(char path[LISTENER_PATH_MAX], const struct options *o, struct err *err)
{
	struct agent_addr addr;

	if (o->passed)
		return listener_passed(path, NOTIFY_LISTEN_FD, err);
	if (o->sock)
		return listener_path(path, o->sock, err);
	if (agent_addr_bind(&addr, env, err))
		return -1;
	return listener_path(path, addr.path, err);
}

static int start(const struct options *o, struct config *config, const struct hardening *hardening)
{
	char path[LISTENER_PATH_MAX];
	struct err why;
	int follow;

	if (socket_path(path, o, &why))
		return complain(&why);
	if (follow_fd(o->follow, &follow))
		return EXIT_FAILED;
	if (o->foreground)
		return serve(o, config, hardening, path, follow, -1);
	return to_background(o, config, hardening, path, follow);
}

int main(int argc, char **argv)
{
	struct hardening hardening;
	struct config config;
	struct options o = { 0 };
	struct err why;
	int status, passed = notify_listen_fd(&why);

	if (!harden_descriptors(passed > 0 ? NOTIFY_LISTEN_FD : STDERR_FILENO))
		return EXIT_FAILED;
	if (passed < 0)
		return complain(&why);
	harden_process(&hardening);
	status = parse_options(&o, argc, argv);
	if (status >= 0)
		return status;
	if (o.kill)
		return kill_agent(&o);
	o.passed = passed > 0;
	if (o.passed && o.sock)
		return bad_usage("-s and a socket from systemd (LISTEN_FDS) are two");
	config_default(&config);
	config.lifetime_s = o.lifetime_s;
	if (o.config && config_read(&config, o.config, &why))
		status = complain(&why);
	else
		status = start(&o, &config, &hardening);
	config_release(&config);
	return status;
}
