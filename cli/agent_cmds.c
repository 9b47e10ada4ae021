/* ct list, remove, lock, unlock, status. */
#include "agent_cmds.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "askpass.h"
#include "cli.h"
#include "hardening.h"
#include "json.h"
#include "licences.h"
#include "text.h"

/* One exchange with the agent that the environment names. */
static int ask(const char *json, const struct secret *blob, struct agent_addr *addr, struct agent_reply *reply, struct err *err)
{
	if (agent_addr_find(addr, cli_env, err) < 0)
		return -1;
	return agent_exchange(addr, json, blob ? blob->data : NULL, blob ? blob->len : 0, reply, err);
}

bool agent_reply_number(const struct agent_reply *reply, const char *name, uint64_t *v)
{
	struct json_member m;
	struct json j;
	bool found = false;

	json_begin(&j, reply->json.data, reply->json.len);
	while (!found && json_next(&j, &m, NULL) > 0)
		found = json_is(&j, m.key, name) && json_u64(&j, m.value, v);
	json_release(&j);
	return found;
}

bool agent_reply_true(const struct agent_reply *reply, const char *name)
{
	struct json_member m;
	struct json j;
	bool found = false;

	json_begin(&j, reply->json.data, reply->json.len);
	while (!found && json_next(&j, &m, NULL) > 0)
		found = json_is(&j, m.key, name) && json_type(&j, m.value) == JSON_TRUE;
	json_release(&j);
	return found;
}

void agent_reply_word(const struct agent_reply *reply, const char *name, char *dst, size_t cap)
{
	struct json_member m;
	struct json j;
	size_t raw;

	dst[0] = '\0';
	json_begin(&j, reply->json.data, reply->json.len);
	while (json_next(&j, &m, NULL) > 0) {
		if (!json_is(&j, m.key, name) || json_type(&j, m.value) != JSON_STRING)
			continue;
		json_raw(&j, m.value, &raw);
		if (raw < cap)
			dst[json_unescape(&j, m.value, dst)] = '\0';
	}
	json_release(&j);
}

/* ---- list ---- */

static const char LIST_HELP[] =
	"usage: ct list [--json]\n"
	"\n"
	"Shows the agent's key sets: what the keys are called, never what they are.\n"
	"\n"
	"      --json   as JSON\n"
	"      --help, --version\n";

/* A string member of an object, escaped into dst; `none` if it is absent or null. */
static const char *shown(const struct json *j, int object, const char *name, const char *none, char *dst, size_t cap)
{
	int tok = json_get(j, object, name);
	size_t raw;

	if (tok < 0 || json_type(j, tok) != JSON_STRING)
		return none;
	json_raw(j, tok, &raw);
	char *text = malloc(raw + 1);
	if (!text)
		return none;
	text_escape(dst, cap, text, json_unescape(j, tok, text));
	free(text);
	return dst;
}

static size_t copy_raw(const struct json *j, int tok, char *to)
{
	size_t len;
	const char *raw = json_raw(j, tok, &len);

	memcpy(to, raw, len);
	return len;
}

/* The members of an array, a line each. */
static void show_all(const struct json *j, int set, const char *name, const char *what)
{
	int tok = json_get(j, set, name);
	size_t raw;

	if (tok < 0 || json_type(j, tok) != JSON_ARRAY)
		return;
	for (int k = json_first(j, tok); k >= 0; k = json_sibling(j, k)) {
		json_raw(j, k, &raw);
		char *text = malloc(raw + 1);
		if (text)
			printf("  only for %s %s\n", what, TEXT(text, json_type(j, k) == JSON_STRING ? json_unescape(j, k, text) : copy_raw(j, k, text)));
		free(text);
	}
}

static void show_set(const struct json *j, int set)
{
	char kty[64], alg[64], kid[TEXT_MAX], digest[80];
	uint64_t id = 0, left;
	int tok = json_get(j, set, "id"), keys = json_get(j, set, "keys");

	if (tok >= 0)
		json_u64(j, tok, &id);
	printf("set %" PRIu64, id);
	tok = json_get(j, set, "expires_in");
	if (tok >= 0 && json_u64(j, tok, &left))
		printf(", forgotten in %" PRIu64 " s", left);
	tok = json_get(j, set, "opens");
	if (tok >= 0 && json_u64(j, tok, &left))
		printf(", for %" PRIu64 " more open%s", left, left == 1 ? "" : "s");
	tok = json_get(j, set, "confirm");
	puts(tok >= 0 && json_type(j, tok) == JSON_TRUE ? ", after a question" : "");
	show_all(j, set, "uids", "user");
	show_all(j, set, "exes", "program");
	if (keys < 0 || json_type(j, keys) != JSON_ARRAY)
		return;
	for (int k = json_first(j, keys); k >= 0; k = json_sibling(j, k)) {
		if (json_type(j, k) != JSON_OBJECT)
			continue;
		const char *type = shown(j, k, "kty", "?", kty, sizeof kty);
		printf("  %-12s  %-17s  %s", strcmp(type, "oct") == 0 ? "master key" : "signing key", shown(j, k, "alg", "any algorithm", alg, sizeof alg),
		       shown(j, k, "kid", "(no id)", kid, sizeof kid));
		const char *token = shown(j, k, "token", NULL, digest, sizeof digest);
		if (token)
			printf("  in the token \"%s\"", token);
		const char *sha = shown(j, k, "sha256", NULL, digest, sizeof digest);
		if (sha)
			printf("  sha256 %s", sha);
		putchar('\n');
	}
}

/* The options of who has only --json, and no argument. -1: go on; else the status to leave with. */
static int no_arguments(int argc, char **argv, const char *complaint)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	int opt, status;

	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS, LONG, NULL)) != -1) {
		status = cli_option(opt, argv);
		if (status >= 0)
			return status;
	}
	return optind < argc ? cli_usage("%s", complaint) : -1;
}

int cmd_list(int argc, char **argv)
{
	struct agent_addr addr;
	struct agent_reply reply;
	struct err err = { 0 };
	struct json_member m;
	struct json j;
	int status, r;
	size_t sets = 0;

	cli.help = LIST_HELP;
	status = no_arguments(argc, argv, "takes no argument");
	if (status >= 0)
		return status;
	if (ask("{\"v\":1,\"op\":\"list\"}", NULL, &addr, &reply, &err) < 0)
		return cli_failed(NULL, &err);
	/* Read it first: what does not parse is not shown. */
	json_begin(&j, (const char *)reply.blob->data, reply.blob->len);
	while ((r = json_next(&j, &m, &err)) > 0) {
		if (!json_is(&j, m.key, "sets") || json_type(&j, m.value) != JSON_ARRAY || cli.json)
			continue;
		for (int s = json_first(&j, m.value); s >= 0; s = json_sibling(&j, s), sets++)
			if (json_type(&j, s) == JSON_OBJECT)
				show_set(&j, s);
	}
	json_release(&j);
	if (r < 0) {
		status = cli_failed(addr.path, &err);
	} else if (cli.json) {
		struct buf b = BUF_INIT;
		cli_json_text(&b, reply.blob->data, reply.blob->len);
		status = cli_print(&b);
	} else {
		if (sets == 0)
			cli_say("the agent has no keys: ct add FILE");
		status = CLI_OK;
	}
	agent_reply_release(&reply);
	return status;
}

/* ---- remove ---- */

static const char REMOVE_HELP[] =
	"usage: ct remove SET…\n"
	"       ct remove --all\n"
	"\n"
	"Takes key sets from the agent; ct list shows their numbers.\n"
	"\n"
	"  -a, --all     all of them\n"
	"  -q, --quiet   say nothing\n"
	"      --json    errors also as JSON on stdout\n"
	"      --help, --version\n";

static int remove_sets(const char *json, const char *what)
{
	struct agent_addr addr;
	struct agent_reply reply;
	struct err err = { 0 };
	uint64_t n = 0;

	if (ask(json, NULL, &addr, &reply, &err) < 0)
		return cli_failed(what, &err);
	agent_reply_number(&reply, "removed", &n);
	agent_reply_release(&reply);
	cli_say("%" PRIu64 " key set%s removed", n, n == 1 ? "" : "s");
	return CLI_OK;
}

int cmd_remove(int argc, char **argv)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "all", no_argument, NULL, 'a' },
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	int opt, status = CLI_OK;
	bool all = false;
	uint64_t set;

	cli.help = REMOVE_HELP;
	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "a", LONG, NULL)) != -1) {
		if (opt == 'a') {
			all = true;
			continue;
		}
		status = cli_option(opt, argv);
		if (status >= 0)
			return status;
	}
	if (all == (optind < argc))
		return cli_usage("needs the numbers of sets, or --all");
	if (all)
		return remove_sets("{\"v\":1,\"op\":\"remove\",\"all\":true}", NULL);
	for (int i = optind; i < argc; i++)
		if (!cli_number(argv[i], 0, UINT64_MAX, false, &set))
			return cli_usage("not the number of a set: %s", TEXT(argv[i], strlen(argv[i])));
	for (int i = optind; i < argc && status <= CLI_OK; i++) {
		char json[96];
		cli_number(argv[i], 0, UINT64_MAX, false, &set);
		snprintf(json, sizeof json, "{\"v\":%d,\"op\":\"remove\",\"set\":%" PRIu64 "}", WIRE_VERSION, set);
		status = remove_sets(json, argv[i]);
	}
	return status;
}

/* ---- lock, unlock ---- */

static const char LOCK_HELP[] =
	"usage: ct lock\n"
	"\n"
	"Locks the agent with a passphrase: it keeps its keys, but serves nobody until ct unlock. The passphrase is asked for on a\n"
	"terminal, else read as one line from stdin.\n"
	"\n"
	"  -q, --quiet   say nothing\n"
	"      --json    errors also as JSON on stdout\n"
	"      --help, --version\n";

static const char UNLOCK_HELP[] =
	"usage: ct unlock\n"
	"\n"
	"Unlocks an agent that ct lock locked. The passphrase is asked for on a terminal, else read as one line from stdin.\n"
	"\n"
	"  -q, --quiet   say nothing\n"
	"      --json    errors also as JSON on stdout\n"
	"      --help, --version\n";

static int lock_or_unlock(int argc, char **argv, bool lock)
{
	struct agent_addr addr;
	struct agent_reply reply;
	struct err err = { 0 };
	int status;

	cli.help = lock ? LOCK_HELP : UNLOCK_HELP;
	status = no_arguments(argc, argv, "takes no argument: the passphrase is asked for");
	if (status >= 0)
		return status;
	struct secret *s = isatty(STDIN_FILENO) ? askpass("Passphrase for the agent", lock, &err) : askpass_stdin(&err);
	int ret = s ? ask(lock ? "{\"v\":1,\"op\":\"lock\"}" : "{\"v\":1,\"op\":\"unlock\"}", s, &addr, &reply, &err) : -1;
	secret_free(s);
	if (ret < 0)
		return cli_failed(NULL, &err);
	agent_reply_release(&reply);
	cli_say(lock ? "the agent is locked" : "the agent is unlocked");
	return CLI_OK;
}

int cmd_lock(int argc, char **argv)
{
	return lock_or_unlock(argc, argv, true);
}

int cmd_unlock(int argc, char **argv)
{
	return lock_or_unlock(argc, argv, false);
}

/* ---- status ---- */

static const char STATUS_HELP[] =
	"usage: ct status [--json]\n"
	"\n"
	"Shows whether an agent answers, and how it is doing.\n"
	"\n"
	"      --json   as JSON\n"
	"      --help, --version\n";

static uint64_t number_of(const struct json *j, int object, const char *name)
{
	int tok = json_get(j, object, name);
	uint64_t v = 0;

	if (tok >= 0)
		json_u64(j, tok, &v);
	return v;
}

static void show_licence(const struct json *j, int object)
{
	char id[80], name[TEXT_MAX], state[32], opens[TEXT_MAX], day[LICENCE_DATE_MAX];
	uint64_t files = number_of(j, object, "files");

	printf("  licence:   %s for %s (set %" PRIu64 "): %s, until %s, days left: %" PRIu64 "\n", shown(j, object, "id", "?", id, sizeof id),
	       shown(j, object, "name", "(no name)", name, sizeof name), number_of(j, object, "set"), shown(j, object, "state", "?", state, sizeof state),
	       licence_date(day, (int64_t)number_of(j, object, "until") - 1), number_of(j, object, "days_left"));
	printf("             after %s nothing opens %s%s any more\n", licence_date(day, (int64_t)number_of(j, object, "ends") - 1),
	       shown(j, object, "opens", "its files", opens, sizeof opens), files > 1 ? " and others" : "");
}

static bool is_true(const struct json *j, int object, const char *name)
{
	int tok = json_get(j, object, name);

	return tok >= 0 && json_type(j, tok) == JSON_TRUE;
}

/* What is not as it should be. */
static void show_licensing(const struct json *j, int object)
{
	char day[LICENCE_DATE_MAX];

	if (is_true(j, object, "clock_back"))
		printf("  licences:  THE CLOCK IS BEHIND what was seen before: they are judged by %s\n", licence_date(day, (int64_t)number_of(j, object, "now")));
	if (!is_true(j, object, "clock_kept"))
		puts("  licences:  the latest time that was seen cannot be kept (clock FILE in the agent's configuration)");
	if (number_of(j, object, "lists_never_there"))
		printf("  licences:  %" PRIu64 " LISTS OF REVOKED ONES WERE NEVER THERE: no licence opens anything\n", number_of(j, object, "lists_never_there"));
	else if (number_of(j, object, "lists_not_taken"))
		printf("  licences:  %" PRIu64 " lists of revoked ones are not sound: the ones before them count\n", number_of(j, object, "lists_not_taken"));
}

static void show_status(const struct agent_addr *addr, const struct agent_reply *reply)
{
	struct json_member m;
	struct json j;

	printf("agent %ld at %s\n", (long)reply->pid, TEXT(addr->path, strlen(addr->path)));
	json_begin(&j, reply->json.data, reply->json.len);
	while (json_next(&j, &m, NULL) > 0) {
		uint64_t n = 0;
		bool number = json_u64(&j, m.value, &n), object = json_type(&j, m.value) == JSON_OBJECT;
		if (json_is(&j, m.key, "sets") && number)
			printf("  key sets:  %" PRIu64 "%s\n", n, n ? "" : " (ct add FILE)");
		else if (json_is(&j, m.key, "locked"))
			printf("  locked:    %s\n", json_type(&j, m.value) == JSON_TRUE ? "yes (ct unlock)" : "no");
		else if (json_is(&j, m.key, "rules") && n > 0)
			printf("  rules:     %" PRIu64 " about which programs may decrypt\n", n);
		else if (json_is(&j, m.key, "uptime_s") && number)
			printf("  running:   %" PRIu64 " h %02" PRIu64 " min %02" PRIu64 " s\n", n / 3600, n / 60 % 60, n % 60);
		else if (json_is(&j, m.key, "licences") && json_type(&j, m.value) == JSON_ARRAY)
			for (int x = json_first(&j, m.value); x >= 0; x = json_sibling(&j, x)) {
				if (json_type(&j, x) == JSON_OBJECT)
					show_licence(&j, x);
			}
		else if (json_is(&j, m.key, "licensing") && object)
			show_licensing(&j, m.value);
		else if (json_is(&j, m.key, "opens") && object)
			printf("  files:     %" PRIu64 " served, %" PRIu64 " as ciphertext, %" PRIu64 " refused, %" PRIu64 " failed\n",
			       number_of(&j, m.value, "served"), number_of(&j, m.value, "ciphertext"), number_of(&j, m.value, "refused"),
			       number_of(&j, m.value, "failed"));
		else if (json_is(&j, m.key, "policy_engine") && json_is(&j, m.value, "ended"))
			printf("  policies:  THE POLICY ENGINE HAS ENDED, and what needs it is refused (start the agent anew)\n");
		else if (json_is(&j, m.key, "audit_lost") && n > 0)
			printf("  audit:     %" PRIu64 " LINES LOST\n", n);
		else if (json_is(&j, m.key, "hardening") && object)
			hardening_show(&j, m.value);
	}
	json_release(&j);
}

int cmd_status(int argc, char **argv)
{
	struct agent_addr addr;
	struct agent_reply reply;
	struct err err = { 0 };
	int status;

	cli.help = STATUS_HELP;
	status = no_arguments(argc, argv, "takes no argument");
	if (status >= 0)
		return status;
	if (ask("{\"v\":1,\"op\":\"status\"}", NULL, &addr, &reply, &err) < 0)
		return cli_failed(NULL, &err);
	status = CLI_OK;
	if (cli.json) {
		struct buf b = BUF_INIT;
		cli_json_text(&b, reply.json.data, reply.json.len);
		status = cli_print(&b);
	} else {
		show_status(&addr, &reply);
	}
	agent_reply_release(&reply);
	return status;
}
