/* ct rewrap: new master key, signing key, policy for encrypted files; no byte of their data is touched. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "emit.h"
#include "keysource.h"
#include "out.h"
#include "policy_text.h"
#include "publish.h"
#include "rewrap_files.h"

static const char HELP[] =
	"usage: ct rewrap --keys OLD --new-keys NEW [OPTIONS] FILE…\n"
	"\n"
	"Gives encrypted files a new master key, a new signature and, if asked, a new policy. Their data is not touched, only their header: where it fits\n"
	"in its old place (ct encrypt --header-reserve) and the file system can clone, that takes no time. Each file is the old or the new one, whole, at\n"
	"any moment; in place, a file that has the new keys already is skipped, so a run that was stopped can be repeated. A folder stands for all .safetensors\n"
	"files in it.\n"
	"\n"
	"  -k, --keys OLD           key set that opens the files now; their policy is not asked\n"
	"      --new-keys NEW       key set with the new master key and signing key\n"
	"      --policy FILE        Rego text of the new policy (default: the old one stays)\n"
	POLICY_TEXT_HELP
	"  -o, --output DIR         write copies there, under the same names, instead of replacing the files\n"
	"      --force              replace copies that exist\n"
	"      --header-reserve N   bytes left free where a header has to grow (default 4096; 0: none)\n"
	"  -n, --dry-run            change nothing, say what would be done\n"
	"  -q, --quiet              say nothing about good files, show no bar\n"
	"      --json               one JSON object a file\n"
	"      --help, --version\n";

struct options {
	const char *keys, *new_keys, *policy;
	uint64_t reserve;
	struct policy_text text;
	struct rewrap_job job;
};

static int parse_options(int argc, char **argv, struct options *o)
{
	enum { NEW = CLI_OWN, POLICY, RESERVE };
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "keys", required_argument, NULL, 'k' },
		{ "new-keys", required_argument, NULL, NEW },
		{ "policy", required_argument, NULL, POLICY },
		POLICY_TEXT_OPTIONS,
		{ "output", required_argument, NULL, 'o' },
		{ "header-reserve", required_argument, NULL, RESERVE },
		{ "dry-run", no_argument, NULL, 'n' },
		{ "force", no_argument, NULL, CLI_FORCE },
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	int opt, status;
	bool mine;

	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "k:o:n", LONG, NULL)) != -1) {
		switch (opt) {
		case 'k':
			o->keys = optarg;
			break;
		case NEW:
			o->new_keys = optarg;
			break;
		case POLICY:
			o->policy = optarg;
			break;
		case 'o':
			o->job.output = optarg;
			break;
		case 'n':
			o->job.dry = true;
			break;
		case RESERVE:
			if (!cli_number(optarg, 0, HEADER_MAX, true, &o->reserve))
				return cli_usage("--header-reserve takes bytes, at most %u", HEADER_MAX);
			break;
		case CLI_FORCE:
			o->job.force = true;
			break;
		default:
			status = policy_text_option(&o->text, opt, optarg, &mine);
			if (!mine)
				status = cli_option(opt, argv);
			if (status >= 0)
				return status;
		}
	}
	if (!o->keys || !o->new_keys)
		return cli_usage("--keys OLD and --new-keys NEW are needed");
	if (o->job.output && !*o->job.output)
		return cli_usage("-o takes a folder");
	if (o->job.force && !o->job.output)
		return cli_usage("--force goes with -o DIR: files in place are always replaced");
	if (optind == argc)
		return cli_usage("needs a file");
	return policy_text_check(&o->text, o->policy);
}

int cmd_rewrap(int argc, char **argv)
{
	struct options o = { .reserve = EMIT_RESERVE, .text = POLICY_TEXT_INIT };
	struct jwk_set old = { NULL, 0 }, new = { NULL, 0 };
	struct str policy = { NULL, 0 };
	struct err err = { 0 };
	int status;

	cli.help = HELP;
	status = parse_options(argc, argv, &o);
	if (status >= 0) {
		policy_text_release(&o.text);
		return status;
	}
	o.job.old = &old;
	o.job.p.reserve = o.reserve;
	if (keysource_read(&old, o.keys, &err) < 0) {
		status = cli_failed(o.keys, &err);
	} else if (keysource_read(&new, o.new_keys, &err) < 0 || publish_keys(&new, &o.job.p.kek, &o.job.p.signer, &err) < 0) {
		status = cli_failed(o.new_keys, &err);
	} else if (o.policy && publish_policy(o.policy, &policy, &err) < 0) {
		status = cli_failed(o.policy, &err);
	} else if (policy_text_given(&o.text) && policy_text_make(&o.text, &policy, &err) < 0) {
		status = cli_failed(NULL, &err);
	} else {
		struct jwk pair[] = { *o.job.p.kek, *o.job.p.signer }; /* borrowed */
		const struct jwk_set target = { pair, 2 };
		o.job.new = &target;
		o.job.p.local = policy.p ? &policy : NULL;
		out_keep_path(o.keys);
		out_keep_path(o.new_keys);
		out_keep_path(o.policy);
		status = rewrap_files(&o.job, argv + optind, argc - optind);
	}
	free((char *)policy.p);
	policy_text_release(&o.text);
	jwk_set_release(&old);
	jwk_set_release(&new);
	return status;
}
