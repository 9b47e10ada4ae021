/* ct check: is a running process covered by the shim, and could it open models? */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent_cmds.h"
#include "cli.h"
#include "model.h"
#include "text.h"

#define AGENT_MS 5000
#define ENVIRON_MAX (4u << 20) /* bytes: more than a kernel takes */
#define MISSING_MAX 8

static const char HELP[] =
	"usage: ct check [--json] PID [FILE]\n"
	"\n"
	"Says whether a running process is covered by the shim and whether its agent has keys; with FILE, whether it could open that now: a readiness probe. Its agent is\n"
	"asked as if the process had asked; no open is counted and nobody is asked for a confirmation. Run it as the process's own user, which must be the agent's, or as\n"
	"root, and in its container.\n"
	"\n"
	"  -q, --quiet   the status alone: 0 yes, 1 no\n"
	"      --json    as JSON\n"
	"      --help, --version\n";

struct check {
	pid_t pid;
	const char *file;
	char *environment; /* of its start, as /proc has it; NULL: it cannot be read */
	size_t environment_len;
	bool covered, agent;
	enum wire_disposition disposition;
	char constraints[16];
	char missing[MISSING_MAX][480];
	size_t count;
};

static void __attribute__((format(printf, 2, 3))) misses(struct check *c, const char *fmt, ...)
{
	va_list ap;

	if (c->count == MISSING_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(c->missing[c->count++], sizeof c->missing[0], fmt, ap);
	va_end(ap);
}

/* ---- the process ---- */

static int proc_open(const struct check *c, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", c->pid, name);
	return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

/* It sees the files and the processes that we see. */
static bool same_view(struct check *c)
{
	static const char *const kinds[] = { "mnt", "pid" };
	char path[64];
	struct stat its, ours;

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "/proc/%d/ns/%s", c->pid, kinds[i]);
		if (stat(path, &its) < 0) {
			misses(c, errno == ENOENT ? "there is no process %d" : "process %d is not ours to look at: run this as its user or as root", c->pid);
			return false;
		}
		snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
		if (stat(path, &ours) < 0 || its.st_ino != ours.st_ino || its.st_dev != ours.st_dev) {
			misses(c, "process %d lives in another container (%s namespace): run this in there", c->pid, kinds[i]);
			return false;
		}
	}
	return true;
}

/* A line of maps that ends in a path whose last part is the shim's; also if the file was replaced since. */
static bool is_shim(char *line)
{
	static const char removed[] = " (deleted)\n";
	char *end = line + strlen(line), *slash;

	if (end - line > (ptrdiff_t)strlen(removed) && strcmp(end - strlen(removed), removed) == 0)
		end -= strlen(removed);
	else if (end > line && end[-1] == '\n')
		end--;
	*end = '\0';
	slash = strrchr(line, '/');
	return slash && strcmp(slash, "/libctshim.so") == 0;
}

static bool has_shim(struct check *c)
{
	int fd = proc_open(c, "maps");
	FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
	char *line = NULL;
	size_t cap = 0;
	bool found = false;

	if (!f) {
		misses(c, "the mappings of process %d are not ours to look at: run this as its user or as root", c->pid);
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!found && getline(&line, &cap, f) > 0)
		found = is_shim(line);
	free(line);
	fclose(f);
	if (!found)
		misses(c, "libctshim.so is not loaded: start it by ct run, or with LD_PRELOAD=libctshim.so");
	return found;
}

static void read_environment(struct check *c)
{
	int fd = proc_open(c, "environ");
	size_t len = 0;
	ssize_t n = 1;

	c->environment = malloc(ENVIRON_MAX + 1);
	while (c->environment && fd >= 0 && len < ENVIRON_MAX && (n = read(fd, c->environment + len, ENVIRON_MAX - len)) > 0)
		len += (size_t)n;
	if (fd < 0 || n < 0 || !c->environment) {
		free(c->environment);
		c->environment = NULL;
	} else {
		c->environment[len] = '\0';
		c->environment_len = len;
	}
	if (fd >= 0)
		close(fd);
}

static const struct check *asked; /* whose environment its_env() reads; agent_addr_find() hands nothing on */

static const char *its_env(const char *name)
{
	size_t len = strlen(name);

	if (strcmp(name, "CT_AGENT_WAIT") == 0) /* a probe says how it is now */
		return NULL;
	if (!asked->environment)
		return cli_env(name);
	for (const char *p = asked->environment, *end = p + asked->environment_len; p < end; p += strlen(p) + 1)
		if (strncmp(p, name, len) == 0 && p[len] == '=')
			return p + len + 1;
	return NULL;
}

static void look_at_process(struct check *c)
{
	const char *off;

	if (!same_view(c))
		return;
	c->covered = has_shim(c);
	read_environment(c);
	off = c->environment ? its_env("CTSHIM_DISABLE") : NULL;
	if (off && strcmp(off, "1") == 0) {
		misses(c, "CTSHIM_DISABLE=1 was in its environment when it started: the shim does nothing");
		c->covered = false;
	}
}

/* ---- the agent ---- */

static void look_at_agent(struct check *c, struct agent_addr *addr)
{
	struct agent_reply reply;
	struct err err = { 0 };
	uint64_t sets = 0;

	if (agent_addr_find(addr, its_env, &err) < 0) {
		misses(c, "%s", err.text);
		return;
	}
	addr->timeout_ms = AGENT_MS;
	if (agent_exchange(addr, "{\"v\":1,\"op\":\"status\"}", NULL, 0, &reply, &err) < 0) {
		misses(c, "%s", err.text);
		return;
	}
	c->agent = true;
	if (agent_reply_true(&reply, "locked"))
		misses(c, "the agent is locked: ct unlock");
	else if (agent_reply_number(&reply, "sets", &sets) && sets == 0)
		misses(c, "the agent has no keys: ct add KEYS");
	agent_reply_release(&reply);
}

/* -1: it cannot be found out, *err. 0: what is missing was said. */
static int look_at_file(struct check *c, const struct agent_addr *addr, struct err *err)
{
	struct agent_reply reply;
	struct model m;
	char json[120];
	uint64_t about;
	int ret = 0;

	if (model_open(&m, c->file, err) < 0)
		return -1;
	if (!m.encrypted) {
		model_close(&m);
		return err_set(err, ERR_PLAIN, "is a plain file, not encrypted: nobody is asked about it");
	}
	snprintf(json, sizeof json, "{\"v\":%d,\"op\":\"explain\",\"size\":%" PRIu64 ",\"pid\":%d}", WIRE_VERSION, (uint64_t)m.st.st_size, c->pid);
	if (agent_exchange(addr, json, m.raw, m.raw_len, &reply, err) < 0) {
		if (err->code == ERR_SYSTEM && err->sys_errno != ESRCH)
			ret = -1;
		else
			misses(c, "%s: %s", err_name(err), err->text);
	} else {
		c->disposition = reply.disposition;
		agent_reply_word(&reply, "constraints", c->constraints, sizeof c->constraints);
		if (!agent_reply_number(&reply, "pid", &about) || about != (uint64_t)c->pid)
			ret = cli_err(err, EPROTO, "this agent is too old to be asked about another process: start that of this release");
		else if (reply.disposition != WIRE_SERVE)
			misses(c, "%s%s", reply.disposition == WIRE_REFUSE ? "EKEYREJECTED: " : "it would see ciphertext: ", reply.reason);
		agent_reply_release(&reply);
	}
	model_close(&m);
	return ret;
}

/* ---- the answer ---- */

static int say_json(const struct check *c)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "{\"pid\":");
	buf_put_u64(&b, (uint64_t)c->pid);
	buf_puts(&b, c->count ? ",\"ok\":false" : ",\"ok\":true");
	buf_puts(&b, c->covered ? ",\"covered\":true" : ",\"covered\":false");
	buf_puts(&b, c->agent ? ",\"agent\":true" : ",\"agent\":false");
	if (c->file) {
		buf_puts(&b, ",\"file\":");
		text_json(&b, c->file, strlen(c->file));
		buf_puts(&b, ",\"disposition\":\"");
		buf_puts(&b, wire_disposition_name(c->disposition));
		buf_puts(&b, "\",\"constraints\":");
		text_json(&b, c->constraints, strlen(c->constraints));
	}
	buf_puts(&b, ",\"missing\":[");
	for (size_t i = 0; i < c->count; i++) {
		buf_puts(&b, i ? "," : "");
		text_json(&b, c->missing[i], strlen(c->missing[i]));
	}
	buf_puts(&b, "]}");
	return cli_print(&b);
}

static int say(const struct check *c)
{
	int status = CLI_OK;

	if (cli.json) {
		status = say_json(c);
	} else if (!cli.quiet) {
		if (c->count)
			printf("process %d: no\n", c->pid);
		else if (c->file)
			printf("process %d: covered, and could open %s%s\n", c->pid, TEXT(c->file, strlen(c->file)),
			       strcmp(c->constraints, "ask") == 0 ? ", after somebody has said yes" : "");
		else
			printf("process %d: covered, and the agent has keys\n", c->pid);
		for (size_t i = 0; i < c->count; i++)
			printf("  %s\n", c->missing[i]);
	}
	return status != CLI_OK ? status : c->count ? CLI_NO : CLI_OK;
}

int cmd_check(int argc, char **argv)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	struct check c = { .disposition = WIRE_REFUSE };
	struct agent_addr addr;
	struct err err = { 0 };
	uint64_t pid;
	int opt, status;

	cli.help = HELP;
	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS, LONG, NULL)) != -1) {
		status = cli_option(opt, argv);
		if (status >= 0)
			return status;
	}
	if (argc - optind < 1 || argc - optind > 2 || !cli_number(argv[optind], 1, INT32_MAX, false, &pid))
		return cli_usage("needs the number of a process, and at most one file");
	c.pid = (pid_t)pid;
	c.file = argv[optind + 1];
	asked = &c;
	look_at_process(&c);
	if (c.count == 0 || c.environment)
		look_at_agent(&c, &addr);
	if (c.file && c.agent && look_at_file(&c, &addr, &err) < 0)
		status = cli_failed(c.file, &err);
	else
		status = say(&c);
	free(c.environment);
	return status;
}
