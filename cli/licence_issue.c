/* ct licence issue: a licence, and the copy of a model that it opens; or the renewal of one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "emit.h"
#include "keysource.h"
#include "licences.h"
#include "out.h"
#include "policy_text.h"
#include "publish.h"
#include "rewrap_files.h"
#include "text.h"

static const char HELP[] =
	"usage: ct licence issue --keys K --to REQUEST --until DATE --id ID -o DIR [OPTIONS] FILE…\n"
	"       ct licence issue --keys K --renew LICENCE --until DATE --licence FILE [OPTIONS]\n"
	"\n"
	"The first makes a copy of encrypted files for one customer, in DIR: only their header is another, so it takes no time where the file system can clone;\n"
	"and the licence, DIR/ID.licence, which has the key for it. The second makes a new licence with the same key: the customer's files stay as they are.\n"
	"\n"
	"  -k, --keys K             your key set: master key and signing key. The licence's own key is made of them\n"
	"      --to REQUEST         what the customer sent (ct licence request)\n"
	"      --renew LICENCE      who, what and where as in that licence, unless it is said anew\n"
	"      --until DATE         YYYY-MM-DD (all of that day in UTC), or RFC 3339 (2027-01-31T18:00:00+01:00)\n"
	"      --grace DAYS         goes on for so many days more, with warnings\n"
	"      --id ID              1 to 64 letters, digits, '.', '_', '-'; it stands in the files, and ct licence revoke takes it\n"
	"      --name TEXT          the customer's name (default: the one in the request)\n"
	"      --machine ID         only on that machine (/etc/machine-id), or on the one in the request: --machine request; may be repeated\n"
	"      --user UID           only for that user's processes; may be repeated\n"
	"  -o, --output DIR         where the copies go, under the same names\n"
	"      --licence FILE       where the licence goes\n"
	"      --header-reserve N   bytes left free where a header has to grow (default 4096; 0: none)\n"
	"      --force              replace what exists\n"
	"  -q, --quiet              say nothing about good files, show no bar\n"
	"      --help, --version\n";

struct options {
	const char *keys, *to, *renew, *id, *name, *output, *licence;
	bool has_until, has_grace, machine_request, has_machines, has_users;
	struct licence l; /* what was said of it */
	uint64_t reserve;
	bool force;
};

static int put_machine(struct options *o, const char *arg)
{
	if (o->l.machine_count == LICENCE_MACHINES_MAX)
		return cli_usage("at most %u machines", LICENCE_MACHINES_MAX);
	if (strcmp(arg, "request") == 0)
		o->machine_request = true;
	else if (!licence_machine_good(arg, strlen(arg)))
		return cli_usage("--machine takes what /etc/machine-id has, 32 digits of 0-9a-f, or `request`, not %s", TEXT(arg, strlen(arg)));
	else
		memcpy(o->l.machines[o->l.machine_count++], arg, LICENCE_MACHINE_LEN);
	o->has_machines = true;
	return -1;
}

static int put_user(struct options *o, const char *arg)
{
	uint64_t uid;

	if (o->l.user_count == LICENCE_USERS_MAX)
		return cli_usage("at most %u users", LICENCE_USERS_MAX);
	if (!cli_number(arg, 0, UINT32_MAX - 1, false, &uid))
		return cli_usage("--user takes a user's number (id -u), not %s", TEXT(arg, strlen(arg)));
	o->l.users[o->l.user_count++] = (uid_t)uid;
	o->has_users = true;
	return -1;
}

enum { TO = CLI_OWN, RENEW, UNTIL, GRACE, ID, NAME, MACHINE, USER, LICENCE, RESERVE };

/* -1 to go on, or a status; *mine is false for options of others. */
static int take_option(struct options *o, int opt, const char *arg, bool *mine)
{
	uint64_t v;

	*mine = true;
	switch (opt) {
	case 'k':
		o->keys = arg;
		return -1;
	case TO:
		o->to = arg;
		return -1;
	case RENEW:
		o->renew = arg;
		return -1;
	case UNTIL:
		o->has_until = policy_text_date(arg, &o->l.until) && o->l.until <= LICENCE_TIME_MAX;
		return o->has_until ? -1 : cli_usage("--until takes YYYY-MM-DD or RFC 3339 without parts of seconds, such as 2027-01-31T18:00:00Z, not %s",
		                                     TEXT(arg, strlen(arg)));
	case GRACE:
		if (!cli_number(arg, 0, LICENCE_GRACE_MAX, false, &v))
			return cli_usage("--grace takes days, at most %u", LICENCE_GRACE_MAX);
		o->l.grace = (unsigned int)v;
		o->has_grace = true;
		return -1;
	case ID:
		o->id = arg;
		return licence_id_good(arg, strlen(arg)) ? -1 : cli_usage("--id takes 1 to 64 letters, digits, '.', '_', '-', the first one a letter or digit");
	case NAME:
		o->name = arg;
		return strlen(arg) <= LICENCE_NAME_MAX ? -1 : cli_usage("--name takes at most %u bytes", LICENCE_NAME_MAX);
	case MACHINE:
		return put_machine(o, arg);
	case USER:
		return put_user(o, arg);
	case 'o':
		o->output = arg;
		return *arg ? -1 : cli_usage("-o takes a folder");
	case LICENCE:
		o->licence = arg;
		return -1;
	case RESERVE:
		return cli_number(arg, 0, HEADER_MAX, true, &o->reserve) ? -1 : cli_usage("--header-reserve takes bytes, at most %u", HEADER_MAX);
	case CLI_FORCE:
		o->force = true;
		return -1;
	default:
		*mine = false;
		return -1;
	}
}

static int check_options(const struct options *o, int files)
{
	if (!o->keys || !o->has_until)
		return cli_usage("--keys and --until are needed");
	if (!o->to == !o->renew)
		return cli_usage("needs either --to REQUEST or --renew LICENCE");
	if (o->to && (!o->id || !o->output || files == 0))
		return cli_usage("--to goes with --id ID, -o DIR and a file");
	if (o->renew && (o->id || o->output || files > 0 || !o->licence || o->machine_request))
		return cli_usage("--renew goes with --licence FILE, and without --id, -o, files and --machine request: they stay as they are");
	return -1;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "keys", required_argument, NULL, 'k' },
		{ "to", required_argument, NULL, TO },
		{ "renew", required_argument, NULL, RENEW },
		{ "until", required_argument, NULL, UNTIL },
		{ "grace", required_argument, NULL, GRACE },
		{ "id", required_argument, NULL, ID },
		{ "name", required_argument, NULL, NAME },
		{ "machine", required_argument, NULL, MACHINE },
		{ "user", required_argument, NULL, USER },
		{ "output", required_argument, NULL, 'o' },
		{ "licence", required_argument, NULL, LICENCE },
		{ "header-reserve", required_argument, NULL, RESERVE },
		{ "force", no_argument, NULL, CLI_FORCE },
		{ NULL, 0, NULL, 0 },
	};
	int opt, status;
	bool mine;

	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "k:o:", LONG, NULL)) != -1) {
		status = take_option(o, opt, optarg, &mine);
		if (!mine)
			status = cli_option(opt, argv);
		if (status >= 0)
			return status;
	}
	return check_options(o, argc - optind);
}

/* ---- who and what ---- */

/* The key moves to the licence. */
static int from_request(struct licence *l, const struct options *o, const struct jwk *signer, struct err *err)
{
	uint8_t own[JWS_FINGERPRINT_LEN];
	struct licence_request r;
	int ret = -1;

	if (licence_request_read(&r, o->to, err) < 0)
		return -1;
	if (!jws_fingerprint(signer->x, own)) {
		err_sys(err, EIO, "OpenSSL makes no digest");
	} else if (memcmp(own, r.pin, sizeof own) != 0) {
		err_set(err, ERR_REJECTED, "is for the publisher %s; these keys' is %s, and the customer would not take its licences", LICENCE_SPOKEN(r.pin),
		        LICENCE_SPOKEN(own));
	} else if (o->machine_request && !r.machine[0]) {
		cli_err(err, ENOENT, "has no machine in it (ct licence request --machine)");
	} else if (o->machine_request && l->machine_count == LICENCE_MACHINES_MAX) {
		cli_err(err, E2BIG, "at most %u machines", LICENCE_MACHINES_MAX);
	} else {
		if (o->machine_request)
			memcpy(l->machines[l->machine_count++], r.machine, sizeof r.machine);
		snprintf(l->id, sizeof l->id, "%s", o->id);
		memcpy(l->name, r.name, sizeof l->name);
		memcpy(l->to_kid, r.kid, sizeof l->to_kid);
		l->to = r.key;
		r.key.d = NULL;
		ret = 0;
		cli_say("%s: from %s, whose key is %s: compare it with what the customer says", TEXT(o->to, strlen(o->to)), r.name[0] ? TEXT(r.name, strlen(r.name)) : "somebody",
		        LICENCE_SPOKEN(r.thumb));
	}
	licence_request_release(&r);
	return ret;
}

static int from_old(struct licence *l, const struct options *o, const struct jwk *signer, struct err *err)
{
	struct buf text = BUF_INIT;
	struct licence old;
	int ret;

	if (licence_file(o->renew, LICENCE_TEXT_MAX, &text, err) < 0)
		return -1;
	ret = licence_read(&old, text.data, text.len, err);
	buf_release(&text);
	if (ret < 0)
		return -1;
	if (memcmp(old.x, signer->x, sizeof old.x) != 0) {
		licence_release(&old);
		return err_set(err, ERR_REJECTED, "is not signed by these keys");
	}
	old.until = l->until;
	if (o->has_grace)
		old.grace = l->grace;
	if (o->has_machines) {
		memcpy(old.machines, l->machines, sizeof old.machines);
		old.machine_count = l->machine_count;
	}
	if (o->has_users) {
		memcpy(old.users, l->users, sizeof old.users);
		old.user_count = l->user_count;
	}
	buf_release(&old.keys);
	*l = old;
	return 0;
}

/* The last parts of the names, for people. */
static int put_what(struct licence *l, char **files, int count, struct err *err)
{
	if (count > (int)LICENCE_WHAT_MAX)
		return cli_err(err, E2BIG, "at most %u files or folders in a licence: name their folder", LICENCE_WHAT_MAX);
	for (int i = 0; i < count; i++) {
		size_t len = strlen(files[i]);
		while (len > 1 && files[i][len - 1] == '/')
			len--;
		const char *slash = memrchr(files[i], '/', len > 1 ? len - 1 : len), *last = slash ? slash + 1 : files[i];
		len -= (size_t)(last - files[i]);
		for (size_t at = 0, n; at < len; at += n) {
			uint32_t cp;
			n = text_utf8_decode(last + at, len - at, &cp);
			if (n == 0)
				return cli_err(err, EINVAL, "%s: a name that is not UTF-8 cannot stand in a licence", TEXT(files[i], strlen(files[i])));
		}
		if (len > LICENCE_NAME_MAX)
			return cli_err(err, ENAMETOOLONG, "%s", TEXT(files[i], strlen(files[i])));
		memcpy(l->what[l->what_count++], last, len);
	}
	return 0;
}

/* ---- what is written ---- */

static int make_copies(const struct options *o, const struct licence *l, const struct jwk_set *set, const struct jwk *master, const struct jwk *signer, char **files,
                       int count)
{
	struct str id = { l->id, strlen(l->id) };
	struct jwk pair[2] = { { .kind = JWK_OCT, .has_kid = true, .has_alg = master->has_alg, .alg = master->alg }, *signer };
	const struct jwk_set target = { pair, 2 };
	struct err err;

	pair[0].kid_len = (size_t)snprintf(pair[0].kid, sizeof pair[0].kid, LICENCE_KID "%s", l->id);
	pair[0].secret = licence_kek(master->secret, l->id, l->to_kid);
	if (!pair[0].secret) {
		err_sys(&err, EIO, "OpenSSL cannot make the licence's key");
		return cli_failed(o->keys, &err);
	}
	const struct rewrap_job job = {
		.output = o->output,
		.force = o->force,
		.old = set,
		.new = &target,
		.p = { .kek = &pair[0], .signer = signer, .licence = &id, .reserve = o->reserve },
	};
	int status = rewrap_files(&job, files, count);
	secret_free(pair[0].secret);
	return status;
}

static int write_licence(const struct options *o, const struct licence *l, const struct jwk *signer, const char *path)
{
	struct buf text = BUF_INIT;
	struct err err = { 0 };
	struct out out;

	int ret = licence_make(&text, l, signer, &err);
	if (ret == 0 && out_open(&out, path, 0644, o->force, NULL, &err) < 0)
		ret = -1;
	else if (ret == 0 && write(out.fd, text.data, text.len) != (ssize_t)text.len) {
		ret = err_sys(&err, errno, "cannot be written");
		out_abort(&out);
	} else if (ret == 0) {
		ret = out_commit(&out, &err);
	}
	buf_release(&text);
	if (ret < 0)
		return cli_failed(path, &err);
	char grace[48] = "";
	if (l->grace)
		snprintf(grace, sizeof grace, ", and %u day%s of grace", l->grace, l->grace == 1 ? "" : "s");
	cli_say("%s: licence %s, until %s%s", TEXT(path, strlen(path)), l->id, LICENCE_DATE(l->until - 1), grace);
	return CLI_OK;
}

static int issue(const struct options *o, struct licence *l, const struct jwk_set *set, char **files, int count)
{
	const struct jwk *master, *signer;
	struct err err = { 0 };
	char path[PATH_MAX];
	int status;

	if (publish_keys(set, &master, &signer, &err) < 0)
		return cli_failed(o->keys, &err);
	if (o->renew ? from_old(l, o, signer, &err) : from_request(l, o, signer, &err))
		return cli_failed(o->renew ? o->renew : o->to, &err);
	if (o->name)
		snprintf(l->name, sizeof l->name, "%s", o->name);
	int64_t now = time(NULL);
	l->issued = o->renew && now <= l->issued ? l->issued + 1 : now; /* a renewal is the later one, whatever the clock says */
	if (licence_end(l) <= l->issued)
		cli_say("--until: that is over already; nothing will open");
	if (!o->licence && snprintf(path, sizeof path, "%s/%s.licence", o->output, l->id) >= (int)sizeof path) {
		err_sys(&err, ENAMETOOLONG, "the licence's name");
		return cli_failed(o->output, &err);
	}
	const char *licence = o->licence ? o->licence : path;
	/* What can be known is known before anything is written: a copy without its licence would be of no use. */
	if (put_what(l, files, count, &err) < 0 || licence_seal(l, master, signer, &err) < 0)
		return cli_failed(NULL, &err);
	int there = out_check(licence, NULL, &err);
	if (there > 0 && !o->force)
		there = cli_err(&err, EEXIST, "exists already: --force replaces it");
	if (there < 0)
		return cli_failed(licence, &err);
	status = count ? make_copies(o, l, set, master, signer, files, count) : CLI_OK;
	return status == CLI_OK ? write_licence(o, l, signer, licence) : status;
}

int licence_issue(int argc, char **argv)
{
	struct options o = { .reserve = EMIT_RESERVE };
	struct jwk_set set = { NULL, 0 };
	struct err err = { 0 };
	int status;

	cli.help = HELP;
	status = parse_options(argc, argv, &o);
	if (status >= 0)
		return status;
	struct licence *l = malloc(sizeof *l);
	if (!l) {
		err_sys(&err, ENOMEM, "the licence");
		return cli_failed(NULL, &err);
	}
	*l = o.l;
	out_keep_path(o.keys);
	out_keep_path(o.to);
	if (keysource_read(&set, o.keys, &err) < 0)
		status = cli_failed(o.keys, &err);
	else
		status = issue(&o, l, &set, argv + optind, argc - optind);
	licence_release(l);
	free(l);
	jwk_set_release(&set);
	return status;
}
