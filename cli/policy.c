/* ct policy test, explain: what a policy says, before it matters. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_client.h"
#include "cli.h"
#include "engine.h"
#include "json.h"
#include "model.h"
#include "policy.h"
#include "publish.h"
#include "rego_json.h"
#include "text.h"

static const char HELP[] =
	"usage: ct policy test --policy-engine exec:PROGRAM --input FILE MODEL|POLICY\n"
	"       ct policy explain [--claim NAME=VALUE]… MODEL\n"
	"\n"
	"test judges the policy of an encrypted model, or one in a text file, with an input document of yours; says true, false or undefined. The status is 0\n"
	"for true alone, 1 for the others, and 3 if the engine cannot judge. The model's signature is not looked at. docs/POLICY.md has the document.\n"
	"explain asks the agent what it would answer to ct, here and now, and why: the document that it sees, what the file's policy, the operator's and the\n"
	"rules say. No keys are sent. The status is 0 if the model would be served, 1 if not.\n"
	"\n"
	"      --policy-engine exec:PROGRAM ARGS\n"
	"                      who judges, as for ct-agent (an absolute path)\n"
	"      --input FILE    the input document, JSON\n"
	"      --claim NAME=VALUE\n"
	"                      a text that the client says of itself (input.claims)\n"
	"  -q, --quiet         only the status\n"
	"      --json          as JSON\n"
	"      --help, --version\n";

#define INPUT_MAX 262144u /* bytes */

struct options {
	const char *engine, *input, *model;
	bool explain;
	struct buf claims; /* members of a JSON object */
};

static int put_claim(struct options *o, const char *arg)
{
	const char *equals = strchr(arg, '=');

	if (!equals || equals == arg)
		return cli_usage("--claim takes NAME=VALUE");
	for (size_t at = 0, n, len = strlen(arg); at < len; at += n) {
		uint32_t cp;
		n = text_utf8_decode(arg + at, len - at, &cp);
		if (n == 0 || cp < 0x20 || cp == 0x7f)
			return cli_usage("--claim takes UTF-8 text without control characters");
	}
	if (o->claims.len > 0)
		buf_putc(&o->claims, ',');
	buf_put_json_string(&o->claims, arg, (size_t)(equals - arg));
	buf_putc(&o->claims, ':');
	buf_put_json_string(&o->claims, equals + 1, strlen(equals + 1));
	return -1;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	enum { ENGINE = CLI_OWN, INPUT, CLAIM };
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "policy-engine", required_argument, NULL, ENGINE },
		{ "input", required_argument, NULL, INPUT },
		{ "claim", required_argument, NULL, CLAIM },
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	int opt, status;

	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS, LONG, NULL)) != -1) {
		switch (opt) {
		case ENGINE:
			o->engine = optarg;
			break;
		case INPUT:
			o->input = optarg;
			break;
		default:
			status = opt == CLAIM ? put_claim(o, optarg) : cli_option(opt, argv);
			if (status >= 0)
				return status;
		}
	}
	if (optind == argc || (strcmp(argv[optind], "test") != 0 && strcmp(argv[optind], "explain") != 0))
		return cli_usage("is followed by test or explain");
	o->explain = argv[optind][0] == 'e';
	if (argc - optind != 2)
		return cli_usage("%s needs one file", argv[optind]);
	o->model = argv[optind + 1];
	if (o->explain && (o->engine || o->input))
		return cli_usage("explain asks the agent: --policy-engine and --input go with test");
	if (!o->explain && (!o->engine || !o->input || o->claims.len > 0))
		return cli_usage("test needs --policy-engine and --input, where claims stand as well");
	return -1;
}

/* ---- test ---- */

/* The policy of a model, or a text as it lies there, into malloc'ed memory. */
static int read_policy(const char *path, struct str *text, struct err *err)
{
	enum model_kind kind;
	struct model m;

	if (model_kind(path, &kind, err) < 0)
		return -1;
	if (kind == MODEL_NONE)
		return publish_policy(path, text, err);
	if (model_open(&m, path, err) < 0)
		return -1;
	int ret = 0;
	if (!m.encrypted) {
		ret = err_set(err, ERR_PLAIN, "is a plain model, which has no policy");
	} else {
		struct str local = file_crypto(m.file)->local;
		char *copy = malloc(local.len + 1);
		if (copy) {
			memcpy(copy, local.p, local.len);
			text->p = copy;
			text->len = local.len;
		} else {
			ret = err_sys(err, ENOMEM, "the policy");
		}
	}
	model_close(&m);
	return ret;
}

static int read_input(const char *path, struct buf *input, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), ret = -1;
	struct buf raw = BUF_INIT;
	ssize_t n = -1;

	if (fd < 0)
		return err_sys(err, errno, "cannot be opened");
	if (!buf_reserve(&raw, INPUT_MAX + 1)) {
		err_sys(err, ENOMEM, "the input");
		goto out;
	}
	while (raw.len <= INPUT_MAX && ((n = read(fd, raw.data + raw.len, INPUT_MAX + 1 - raw.len)) > 0 || (n < 0 && errno == EINTR)))
		raw.len += n > 0 ? (size_t)n : 0;
	if (n < 0)
		err_sys(err, errno, "cannot be read");
	else if (raw.len > INPUT_MAX)
		cli_err(err, EFBIG, "an input document has at most %u bytes", INPUT_MAX);
	else
		ret = rego_json_text(input, raw.data, raw.len, err);
out:
	buf_release(&raw);
	close(fd);
	return ret;
}

static int judge(struct engine *e, struct str policy, struct str input, enum engine_verdict *v, struct err *err)
{
	int slot = engine_ask(e, policy, input, 0, err), r;
	char words[ENGINE_WORDS_MAX];

	if (slot < 0)
		return -1;
	while ((r = engine_answer(e, slot, v, words, err)) == 0) {
		struct pollfd p = { e->launcher.sock, POLLIN, 0 };
		poll(&p, 1, 1000); /* what is lost says nothing */
		engine_events(e);
	}
	if (r < 0 && words[0])
		snprintf(err->text + strlen(err->text), sizeof err->text - strlen(err->text), ", saying \"%s\"", words);
	return r < 0 ? -1 : 0;
}

static int say_verdict(const struct options *o, enum engine_verdict v)
{
	struct buf b = BUF_INIT;
	int status = CLI_OK;

	if (cli.json) {
		buf_puts(&b, "{\"file\":");
		text_json(&b, o->model, strlen(o->model));
		buf_puts(&b, ",\"verdict\":\"");
		buf_puts(&b, engine_verdict_name(v));
		buf_puts(&b, "\"}");
	} else {
		buf_puts(&b, engine_verdict_name(v));
	}
	if (cli.json || !cli.quiet)
		status = cli_print(&b);
	buf_release(&b);
	return status != CLI_OK ? status : v == ENGINE_TRUE ? CLI_OK : CLI_NO;
}

static int test(const struct options *o)
{
	struct engine engine = ENGINE_NONE;
	struct str policy = { NULL, 0 };
	struct buf input = BUF_INIT;
	enum engine_verdict v = ENGINE_TRUE;
	struct err err = { 0 };
	int status;

	if (engine_start(&engine, o->engine, &err) < 0)
		status = cli_failed(NULL, &err);
	else if (read_input(o->input, &input, &err) < 0)
		status = cli_failed(o->input, &err);
	else if (read_policy(o->model, &policy, &err) < 0)
		status = cli_failed(o->model, &err);
	else if (!policy_is_default(policy) && judge(&engine, policy, (struct str){ input.data, input.len }, &v, &err) < 0)
		status = cli_failed(o->model, &err); /* the default is true without an engine, as for the agent */
	else
		status = say_verdict(o, v);
	engine_stop(&engine);
	buf_release(&input);
	free((char *)policy.p);
	return status;
}

/* ---- explain ---- */

/* `  peer.uid = 0`, a line a value that is no object. */
static void show_value(struct buf *b, const struct json *j, int tok, const char *path)
{
	enum json_type type = json_type(j, tok);
	const char *raw;
	size_t len;

	if (type == JSON_OBJECT) {
		for (int k = json_first(j, tok); k >= 0; k = json_sibling(j, k)) {
			struct buf name = BUF_INIT;
			raw = json_raw(j, k, &len);
			buf_puts(&name, path);
			buf_putc(&name, '.');
			cli_json_text(&name, raw, len);
			buf_putc(&name, '\0');
			if (!name.failed)
				show_value(b, j, json_value(j, k), name.data);
			buf_release(&name);
		}
		return;
	}
	buf_puts(b, "    ");
	buf_puts(b, path);
	buf_puts(b, type == JSON_STRING ? " = \"" : " = ");
	raw = json_raw(j, tok, &len);
	cli_json_text(b, raw, len);
	buf_puts(b, type == JSON_STRING ? "\"\n" : "\n");
}

static int show_input(struct buf *b, const struct secret *input, struct err *err)
{
	struct json_member m;
	struct json j;
	int r;

	json_begin(&j, (const char *)input->data, input->len);
	while ((r = json_next(&j, &m, err)) > 0) {
		struct buf name = BUF_INIT;
		size_t len;
		const char *raw = json_raw(&j, m.key, &len);
		buf_puts(&name, "input.");
		cli_json_text(&name, raw, len);
		buf_putc(&name, '\0');
		if (!name.failed)
			show_value(b, &j, m.value, name.data);
		buf_release(&name);
	}
	json_release(&j);
	return r;
}

/* What stands in the reply, as text. */
struct answer {
	char policy[16], remote_policy[16], operator_policy[16], rules[16], licence[16], constraints[16];
};

static void take(const struct json *j, const struct json_member *m, const char *name, char *place, size_t cap)
{
	size_t raw;

	if (!json_is(j, m->key, name) || json_type(j, m->value) != JSON_STRING)
		return;
	json_raw(j, m->value, &raw);
	if (raw < cap)
		place[json_unescape(j, m->value, place)] = '\0';
}

static int read_answer(struct answer *a, const struct agent_reply *reply, struct err *err)
{
	struct json_member m;
	struct json j;
	int r;

	*a = (struct answer){ 0 };
	json_begin(&j, reply->json.data, reply->json.len);
	while ((r = json_next(&j, &m, err)) > 0) {
		take(&j, &m, "policy", a->policy, sizeof a->policy);
		take(&j, &m, "remote_policy", a->remote_policy, sizeof a->remote_policy);
		take(&j, &m, "operator_policy", a->operator_policy, sizeof a->operator_policy);
		take(&j, &m, "rules", a->rules, sizeof a->rules);
		take(&j, &m, "licence", a->licence, sizeof a->licence);
		take(&j, &m, "constraints", a->constraints, sizeof a->constraints);
	}
	json_release(&j);
	return r;
}

static void put_json(struct buf *b, const char *name, const char *text)
{
	buf_put_name(b, name);
	text_json(b, text, strlen(text));
}

static int show_json(struct buf *b, const struct options *o, const struct answer *a, const struct agent_reply *reply, struct err *err)
{
	struct buf input = BUF_INIT; /* what does not parse is not shown */
	int r = rego_json_text(&input, (const char *)reply->blob->data, reply->blob->len, err);

	if (r == 0) {
		buf_puts(b, "{\"file\":");
		text_json(b, o->model, strlen(o->model));
		put_json(b, "disposition", wire_disposition_name(reply->disposition));
		put_json(b, "policy", a->policy);
		put_json(b, "operator_policy", a->operator_policy);
		put_json(b, "rules", a->rules);
		put_json(b, "reason", reply->reason);
		put_json(b, "licence", a->licence);
		put_json(b, "constraints", a->constraints);
		put_json(b, "remote_policy", a->remote_policy);
		buf_puts(b, ",\"input\":");
		cli_json_text(b, input.data, input.len);
		buf_putc(b, '}');
	}
	buf_release(&input);
	return r;
}

static int show_text(struct buf *b, const struct options *o, const struct answer *a, const struct agent_reply *reply, struct err *err)
{
	static const char *const would[] = {
		[WIRE_SERVE] = ": would be served",
		[WIRE_CIPHERTEXT] = ": would be given as ciphertext",
		[WIRE_REFUSE] = ": would be refused",
	};
	int r;

	buf_puts(b, TEXT(o->model, strlen(o->model)));
	buf_puts(b, would[reply->disposition]);
	if (reply->reason[0]) {
		buf_puts(b, ": ");
		buf_puts(b, reply->reason);
	}
	buf_puts(b, "\n  its policy:            ");
	buf_puts(b, TEXT(a->policy, strlen(a->policy)));
	buf_puts(b, "\n  its remote policy:     ");
	buf_puts(b, TEXT(a->remote_policy, strlen(a->remote_policy)));
	buf_puts(b, "\n  the operator's policy: ");
	buf_puts(b, TEXT(a->operator_policy, strlen(a->operator_policy)));
	buf_puts(b, "\n  the rules:             ");
	buf_puts(b, TEXT(a->rules, strlen(a->rules)));
	buf_puts(b, "\n  the licence:           ");
	buf_puts(b, TEXT(a->licence, strlen(a->licence)));
	buf_puts(b, "\n  the set's constraints: ");
	buf_puts(b, TEXT(a->constraints, strlen(a->constraints)));
	buf_puts(b, "\n  they see:\n");
	r = show_input(b, reply->blob, err);
	if (b->len > 0)
		b->len--; /* cli_print() ends the line */
	return r;
}

static int ask(const struct options *o, const struct model *m, struct agent_reply *reply, struct err *err)
{
	struct buf json = BUF_INIT;
	struct agent_addr addr;
	int ret = -1;

	buf_puts(&json, "{\"v\":1,\"op\":\"explain\",\"size\":");
	buf_put_u64(&json, (uint64_t)m->st.st_size);
	if (o->claims.len > 0) {
		buf_puts(&json, ",\"claims\":{");
		buf_put(&json, o->claims.data, o->claims.len);
		buf_putc(&json, '}');
	}
	buf_putc(&json, '}');
	buf_putc(&json, '\0');
	if (json.failed || o->claims.failed)
		err_sys(err, ENOMEM, "the request");
	else if (!m->encrypted)
		err_set(err, ERR_PLAIN, "is a plain file, not encrypted: nobody is asked about it");
	else if (agent_addr_find(&addr, cli_env, err) == 0)
		ret = agent_exchange(&addr, json.data, m->raw, m->raw_len, reply, err);
	buf_release(&json);
	return ret;
}

static int explain(const struct options *o)
{
	struct agent_reply reply;
	struct buf b = BUF_INIT;
	struct answer answer;
	struct err err = { 0 };
	struct model m;
	int status;

	if (model_open(&m, o->model, &err) < 0)
		return cli_failed(o->model, &err);
	if (ask(o, &m, &reply, &err) < 0) {
		status = cli_failed(o->model, &err);
	} else {
		if (read_answer(&answer, &reply, &err) < 0 || (cli.json ? show_json : show_text)(&b, o, &answer, &reply, &err) < 0)
			status = cli_failed(o->model, &err);
		else if (cli.quiet && !cli.json)
			status = CLI_OK;
		else
			status = cli_print(&b);
		if (status == CLI_OK && reply.disposition != WIRE_SERVE)
			status = CLI_NO;
		agent_reply_release(&reply);
	}
	buf_release(&b);
	model_close(&m);
	return status;
}

int cmd_policy(int argc, char **argv)
{
	struct options o = { .claims = BUF_INIT };
	int status;

	cli.help = HELP;
	status = parse_options(argc, argv, &o);
	if (status < 0)
		status = o.explain ? explain(&o) : test(&o);
	buf_release(&o.claims);
	return status;
}
