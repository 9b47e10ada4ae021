/* ct doctor: what works here, and what to do about the rest. */
#include "doctor.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_client.h"
#include "cli.h"
#include "json.h"
#include "run.h"
#include "text.h"

static const char HELP[] =
	"usage: ct doctor [--json] [PROGRAM]\n"
	"\n"
	"Says what works on this machine, for this user, with these settings: a line a finding, with what to do about it. PROGRAM: also\n"
	"whether the shim can be loaded into that program, which is not run.\n"
	"\n"
	"  ok     as it should be\n"
	"  warn   works, but worse than it could\n"
	"  fail   encrypted models cannot be read because of this\n"
	"\n"
	"  -q, --quiet   only what is not ok\n"
	"      --json    as JSON\n"
	"      --help, --version\n"
	"\n"
	"Exit status: 0 nothing fails; 1 something does; 2 usage; 3 any other failure.\n";

bool doctor_say(struct finding *f, enum doctor_status status, const char *fmt, ...)
{
	va_list ap;

	f->status = status;
	f->remedy[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof f->text, fmt, ap);
	va_end(ap);
	return true;
}

bool doctor_remedy(struct finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->remedy, sizeof f->remedy, fmt, ap);
	va_end(ap);
	return true;
}

/* ---- settings ---- */

static bool doctor_settings(struct doctor *d, struct finding *f)
{
	const char *off = getenv("CTSHIM_DISABLE");

	(void)d;
	if (!off || strcmp(off, "1") != 0)
		return false;
	doctor_say(f, DOCTOR_WARN, "CTSHIM_DISABLE=1 is set: under LD_PRELOAD programs see ciphertext (ct run does not heed it)");
	return doctor_remedy(f, "unset CTSHIM_DISABLE");
}

/* ---- the agent ---- */

/* The doctor does not wait for an agent that may start one day. */
static const char *env_now(const char *name)
{
	return strcmp(name, "CT_AGENT_WAIT") == 0 ? NULL : getenv(name);
}

static void read_hardening(struct doctor *d, const struct json *j, int object)
{
	int tok = json_type(j, object) == JSON_OBJECT ? json_get(j, object, "memory_locked") : -1;

	d->agent_memory_locked = tok < 0 || json_type(j, tok) == JSON_TRUE;
}

static void read_status(struct doctor *d, const struct agent_reply *reply, char *version, size_t cap)
{
	struct json_member m;
	struct json j;
	size_t raw;

	d->agent_memory_locked = true;
	json_begin(&j, reply->json.data, reply->json.len);
	while (json_next(&j, &m, NULL) > 0) {
		if (json_is(&j, m.key, "sets")) {
			json_u64(&j, m.value, &d->agent_sets);
		} else if (json_is(&j, m.key, "locked")) {
			d->agent_locked = json_type(&j, m.value) == JSON_TRUE;
		} else if (json_is(&j, m.key, "hardening")) {
			read_hardening(d, &j, m.value);
		} else if (json_is(&j, m.key, "version") && json_type(&j, m.value) == JSON_STRING) {
			json_raw(&j, m.value, &raw);
			if (raw < cap)
				version[json_unescape(&j, m.value, version)] = '\0';
		}
	}
	json_release(&j);
}

/* The agent's line holds its own remedy behind the first colon: "no agent at …: start ct-agent …". */
static bool say_err(struct finding *f, const struct err *err)
{
	const char *colon = strstr(err->text, ": ");

	if (!colon)
		return doctor_say(f, DOCTOR_FAIL, "%s", err->text);
	doctor_say(f, DOCTOR_FAIL, "%.*s", (int)(colon - err->text), err->text);
	return doctor_remedy(f, "%s", colon + 2);
}

static bool doctor_agent(struct doctor *d, struct finding *f)
{
	struct agent_addr addr;
	struct agent_reply reply;
	struct err err = { 0 };
	char version[64] = "";

	if (agent_addr_find(&addr, env_now, &err) < 0)
		return say_err(f, &err);
	addr.timeout_ms = DOCTOR_MS;
	if (agent_exchange(&addr, "{\"v\":1,\"op\":\"status\"}", NULL, 0, &reply, &err) < 0)
		return say_err(f, &err);
	d->agent_answers = true;
	read_status(d, &reply, version, sizeof version);
	pid_t pid = reply.pid;
	agent_reply_release(&reply);
	const char *path = TEXT(addr.path, strlen(addr.path)), *v = TEXT(version, strlen(version));
	if (strcmp(version, CT_VERSION) == 0)
		return doctor_say(f, DOCTOR_OK, "process %ld at %s", (long)pid, path);
	doctor_say(f, DOCTOR_WARN, "process %ld at %s is version %s, ct is " CT_VERSION, (long)pid, path, v);
	return doctor_remedy(f, "start it anew: ct-agent -k, ct-agent, ct add KEYS");
}

static bool doctor_keys(struct doctor *d, struct finding *f)
{
	if (!d->agent_answers)
		return false;
	if (d->agent_locked) {
		doctor_say(f, DOCTOR_FAIL, "the agent is locked");
		return doctor_remedy(f, "ct unlock");
	}
	if (d->agent_sets == 0) {
		doctor_say(f, DOCTOR_FAIL, "the agent has no keys");
		return doctor_remedy(f, "ct add KEYS");
	}
	doctor_say(f, DOCTOR_OK, "the agent has %" PRIu64 " key set%s", d->agent_sets, d->agent_sets == 1 ? "" : "s");
	if (d->agent_memory_locked)
		return true;
	f->status = DOCTOR_WARN;
	strcat(f->text, ", in memory that can reach swap");
	return doctor_remedy(f, "start it with more locked memory (ulimit -l 1024, LimitMEMLOCK= of its service)");
}

/* ---- the program ---- */

static bool doctor_program(struct doctor *d, struct finding *f)
{
	const char *name = d->program;
	char path[PATH_MAX];
	struct err err = { 0 };

	if (!name)
		return false;
	const char *shown = TEXT(name, strlen(name));
	int found = run_find(name, path);
	if (found != 0) {
		doctor_say(f, DOCTOR_FAIL, found == RUN_NOT_FOUND ? "%s: there is no such program" : "%s is not executable", shown);
		return doctor_remedy(f, found == RUN_NOT_FOUND ? "name it by its path, or add its folder to PATH" : "chmod +x");
	}
	shown = TEXT(path, strlen(path));
	if (run_check_program(path, &err) == 0)
		return doctor_say(f, DOCTOR_OK, "%s: the shim can be loaded into it", shown);
	/* "is …, where the shim cannot be loaded: use …"; a system's error text behind the colon begins with a capital. */
	char *colon = NULL;
	for (char *p = err.text; (p = strstr(p, ": ")); p++)
		colon = p;
	bool advice = colon && colon[2] >= 'a' && colon[2] <= 'z';
	doctor_say(f, DOCTOR_FAIL, "%s %.*s", shown, advice ? (int)(colon - err.text) : (int)sizeof err.text, err.text);
	return advice ? doctor_remedy(f, "%s", colon + 2) : true;
}

/* ---- all of it ---- */

static const struct {
	const char *name;
	bool (*find)(struct doctor *d, struct finding *f);
} findings[] = {
	{ "shim", doctor_shim }, /* first: it finds what the others ask about */
	{ "openssl", doctor_openssl },
	{ "preload", doctor_preload },
	{ "settings", doctor_settings },
	{ "ptrace", doctor_ptrace },
	{ "agent", doctor_agent },
	{ "keys", doctor_keys }, /* behind agent */
	{ "method", doctor_method },
	{ "gpu", doctor_gpu },
	{ "memlock", doctor_memlock },
	{ "nofile", doctor_nofile },
	{ "fsize", doctor_fsize },
	{ "map_count", doctor_map_count },
	{ "memory", doctor_memory },
	{ "program", doctor_program },
};

static const char *const STATUS[] = { "ok", "warn", "fail" };

static void put_json(struct buf *b, const char *name, const struct finding *f)
{
	buf_puts(b, b->len ? ",{\"name\":\"" : "{\"name\":\"");
	buf_puts(b, name);
	buf_puts(b, "\",\"status\":\"");
	buf_puts(b, STATUS[f->status]);
	buf_puts(b, "\",\"text\":");
	text_json(b, f->text, strlen(f->text));
	buf_puts(b, ",\"remedy\":");
	if (f->remedy[0])
		text_json(b, f->remedy, strlen(f->remedy));
	else
		buf_puts(b, "null");
	buf_putc(b, '}');
}

static void put_line(struct buf *b, const char *name, const struct finding *f)
{
	char head[64];

	snprintf(head, sizeof head, "%s%-4s  %-9s  ", b->len ? "\n" : "", STATUS[f->status], name);
	buf_puts(b, head);
	buf_puts(b, f->text);
	buf_puts(b, f->remedy[0] ? ": " : "");
	buf_puts(b, f->remedy);
}

static int examine(struct doctor *d)
{
	struct buf list = BUF_INIT;
	bool failed = false;

	for (size_t i = 0; i < sizeof findings / sizeof findings[0]; i++) {
		struct finding f = { 0 };
		if (!findings[i].find(d, &f))
			continue;
		failed = failed || f.status == DOCTOR_FAIL;
		if (cli.quiet && f.status == DOCTOR_OK)
			continue;
		if (cli.json)
			put_json(&list, findings[i].name, &f);
		else
			put_line(&list, findings[i].name, &f);
	}
	if (cli.json) {
		struct buf b = BUF_INIT;
		buf_puts(&b, failed ? "{\"ok\":false,\"findings\":[" : "{\"ok\":true,\"findings\":[");
		buf_put(&b, list.data, list.len);
		buf_puts(&b, "]}");
		b.failed = b.failed || list.failed;
		buf_release(&list);
		list = b;
	}
	if (!list.len && !list.failed) {
		buf_release(&list);
		return failed ? CLI_NO : CLI_OK;
	}
	int status = cli_print(&list);
	return status != CLI_OK ? status : failed ? CLI_NO : CLI_OK;
}

int cmd_doctor(int argc, char **argv)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	static struct doctor d;
	int opt, status;

	cli.help = HELP;
	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS, LONG, NULL)) != -1) {
		status = cli_option(opt, argv);
		if (status >= 0)
			return status;
	}
	if (argc - optind > 1)
		return cli_usage("takes one program, without arguments");
	d.program = argv[optind];
	signal(SIGCHLD, SIG_DFL); /* ignored, as it may come to us, it would take the children's status away */
	return examine(&d);
}
