/* ct add. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent_cmds.h"
#include "cli.h"
#include "duration.h"
#include "jws.h"
#include "keysource.h"
#include "licences.h"
#include "text.h"

#define UIDS_MAX 64
#define EXES_MAX 64
#define OPENS_MAX 4294967295u

static const char HELP[] =
	"usage: ct add [-t LIFETIME] [-c] [--uid N]… [--exe GLOB]… [--opens N] FILE…\n"
	"       ct add … --licence-key CUSTOMER.jwk LICENCE…\n"
	"\n"
	"Gives key files to the agent; each becomes a set. FILE may also be cred:NAME or exec:CMD (ct keygen --help). The private half of a signing key (d) is never\n"
	"sent. To give the same keys again sets lifetime and constraints anew.\n"
	"\n"
	"FILE may be a licence, too (ct licence): its keys are taken out with the customer's key, and its conditions go to the agent with them.\n"
	"\n"
	"  -t, --lifetime TIME   the agent forgets the set after that time: seconds, or a number with s, m, h, d\n"
	"  -c, --confirm         the agent asks, by the program that CT_ASKPASS names in its own environment, once for each start of a program\n"
	"      --uid N           for programs of this user only; up to 64 times\n"
	"      --exe GLOB        for this program only: its executable's whole path, * goes over slashes; up to 64 times\n"
	"      --opens N         for N opens in all; then the agent forgets the set. A program opens a file once as long as it uses it\n"
	"      --licence-key FILE\n"
	"                        the customer's key, in which the publisher is pinned (ct licence request)\n"
	"  -q, --quiet           say nothing\n"
	"      --json            errors also as JSON on stdout\n"
	"      --help, --version\n";

/* What the set is to be bound to, as typed. */
struct bounds {
	uint64_t uids[UIDS_MAX];
	size_t uid_count;
	const char *exes[EXES_MAX];
	size_t exe_count;
	uint64_t opens; /* 0: no bound */
	bool confirm;
};

static bool any(const struct bounds *b)
{
	return b && (b->uid_count || b->exe_count || b->opens || b->confirm);
}

static int put_request(struct buf *out, uint64_t lifetime, const struct bounds *b, struct str licence, struct err *err)
{
	uint32_t cp;
	size_t n;

	buf_puts(out, "{\"v\":1,\"op\":\"add\"");
	if (lifetime) {
		buf_puts(out, ",\"lifetime\":");
		buf_put_u64(out, lifetime);
	}
	for (size_t i = 0; b && i < b->uid_count; i++) {
		buf_puts(out, i ? "," : ",\"uids\":[");
		buf_put_u64(out, b->uids[i]);
	}
	buf_puts(out, b && b->uid_count ? "]" : "");
	for (size_t i = 0; b && i < b->exe_count; i++) {
		for (const char *p = b->exes[i]; *p; p += n)
			if ((n = text_utf8_decode(p, strlen(p), &cp)) == 0)
				return cli_err(err, EINVAL, "--exe takes UTF-8: %s", TEXT(b->exes[i], strlen(b->exes[i])));
		buf_puts(out, i ? "," : ",\"exes\":[");
		buf_put_json_string(out, b->exes[i], strlen(b->exes[i]));
	}
	buf_puts(out, b && b->exe_count ? "]" : "");
	if (b && b->opens) {
		buf_puts(out, ",\"opens\":");
		buf_put_u64(out, b->opens);
	}
	buf_puts(out, b && b->confirm ? ",\"confirm\":true" : "");
	if (licence.len) {
		buf_puts(out, ",\"licence\":");
		buf_put_json_string(out, licence.p, licence.len);
	}
	buf_putc(out, '}');
	buf_putc(out, '\0');
	return out->failed ? err_sys(err, ENOMEM, "the request") : 0;
}

/* An agent that is older than constraints, or licences, has taken the keys without them. */
static int take_back(const struct agent_addr *addr, uint64_t number, const char *what, struct err *err)
{
	struct agent_reply reply;
	char json[80];

	snprintf(json, sizeof json, "{\"v\":%d,\"op\":\"remove\",\"set\":%" PRIu64 "}", WIRE_VERSION, number);
	if (agent_exchange(addr, json, NULL, 0, &reply, err) == 0)
		agent_reply_release(&reply);
	return cli_err(err, EPROTO, "this agent is too old to know %s, so it was not left with the keys: start that of this release", what);
}

/* licence: empty for none. */
static int send_set(const struct agent_addr *addr, const struct jwk_set *set, uint64_t lifetime, const struct bounds *b, struct str licence, uint64_t *number,
                    struct err *err)
{
	struct secret *blob = jwk_set_write(set, JWK_REFERENCE, JWK_READER);
	struct buf json = BUF_INIT;
	struct agent_reply reply;
	int ret = -1;

	if (!blob)
		err_sys(err, ENOMEM, "the key set");
	else if (put_request(&json, lifetime, b, licence, err) == 0)
		ret = agent_exchange(addr, json.data, blob->data, blob->len, &reply, err);
	secret_free(blob);
	buf_release(&json);
	if (ret < 0)
		return -1;
	if (!agent_reply_number(&reply, "set", number))
		*number = 0;
	bool bound = agent_reply_true(&reply, "constrained"), licensed = agent_reply_true(&reply, "licensed");
	agent_reply_release(&reply);
	if (any(b) && !bound)
		return take_back(addr, *number, "constraints", err);
	return licence.len && !licensed ? take_back(addr, *number, "licences", err) : 0;
}

int agent_add_set(const struct agent_addr *addr, const struct jwk_set *set, uint64_t lifetime, uint64_t *number, struct err *err)
{
	return send_set(addr, set, lifetime, NULL, (struct str){ NULL, 0 }, number, err);
}

/* One FILE: a key set, or a licence. */
static int add(const struct agent_addr *addr, const char *source, const char *licence_key, uint64_t lifetime, const struct bounds *b, struct err *err)
{
	struct jwk_set set = { NULL, 0 };
	struct str licence = { NULL, 0 };
	struct secret *text;
	uint64_t number;
	mode_t mode;
	int ret = -1;

	if (!(text = keysource_text(source, &mode, err)))
		return -1;
	if (jws_is((const char *)text->data, text->len)) {
		licence = (struct str){ (const char *)text->data, text->len };
		ret = licence_unlock(licence.p, licence.len, licence_key, &set, err);
	} else {
		ret = jwk_file_parse(&set, source, text, mode, err);
	}
	if (ret == 0)
		ret = send_set(addr, &set, lifetime, b, licence, &number, err);
	if (ret == 0)
		cli_say("%s: the agent has its %zu keys as set %" PRIu64, TEXT(source, strlen(source)), set.count, number);
	secret_free(text);
	jwk_set_release(&set);
	return ret;
}

enum { OPT_UID = CLI_OWN, OPT_EXE, OPT_OPENS, OPT_LICENCE_KEY };

/* -1: go on; else the status to leave with. */
static int option(int opt, char **argv, uint64_t *lifetime, struct bounds *b)
{
	uint32_t seconds;

	switch (opt) {
	case 't':
		if (!duration_parse(optarg, &seconds))
			return cli_usage("-t takes a time of up to %u seconds, such as 3600, 90m, 8h or 7d", UINT32_MAX);
		*lifetime = seconds;
		return -1;
	case 'c':
		b->confirm = true;
		return -1;
	case OPT_UID:
		if (b->uid_count == UIDS_MAX || !cli_number(optarg, 0, UINT32_MAX - 1, false, &b->uids[b->uid_count]))
			return cli_usage("--uid takes a user's number, at most %d times", UIDS_MAX);
		b->uid_count++;
		return -1;
	case OPT_EXE:
		if (b->exe_count == EXES_MAX || (optarg[0] != '/' && optarg[0] != '*'))
			return cli_usage("--exe takes the whole path of an executable, or a glob that begins with / or *, at most %d times", EXES_MAX);
		b->exes[b->exe_count++] = optarg;
		return -1;
	case OPT_OPENS:
		if (!cli_number(optarg, 1, OPENS_MAX, false, &b->opens))
			return cli_usage("--opens takes a number of opens, 1 to %u", OPENS_MAX);
		return -1;
	default:
		return cli_option(opt, argv);
	}
}

int cmd_add(int argc, char **argv)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "lifetime", required_argument, NULL, 't' },
		{ "confirm", no_argument, NULL, 'c' },
		{ "uid", required_argument, NULL, OPT_UID },
		{ "exe", required_argument, NULL, OPT_EXE },
		{ "opens", required_argument, NULL, OPT_OPENS },
		{ "licence-key", required_argument, NULL, OPT_LICENCE_KEY },
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	const char *licence_key = NULL;
	uint64_t lifetime = 0;
	struct bounds bounds = { .uid_count = 0 };
	struct agent_addr addr;
	struct err err = { 0 };
	int opt, status;

	cli.help = HELP;
	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "t:c", LONG, NULL)) != -1) {
		if (opt == OPT_LICENCE_KEY) {
			licence_key = optarg;
			continue;
		}
		status = option(opt, argv, &lifetime, &bounds);
		if (status >= 0)
			return status;
	}
	if (optind == argc)
		return cli_usage("needs a key file");
	if (agent_addr_find(&addr, cli_env, &err) < 0)
		return cli_failed(NULL, &err);
	for (int i = optind; i < argc; i++)
		if (add(&addr, argv[i], licence_key, lifetime, &bounds, &err) < 0)
			return cli_failed(argv[i], &err);
	return CLI_OK;
}
