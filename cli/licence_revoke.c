/* ct licence revoke: the publisher's list of licences that are to open nothing any more. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "keysource.h"
#include "licences.h"
#include "out.h"
#include "publish.h"
#include "text.h"

static const char HELP[] =
	"usage: ct licence revoke --keys K -o LIST [ID…]\n"
	"\n"
	"Adds licences to a signed list, which agents read whose configuration has a line `revoked LIST`. If LIST is there it is gone on with: what is revoked stays\n"
	"so, and agents that know a newer list do not take an older one. Without ID a list that revokes nobody is made, or signed anew.\n"
	"\n"
	"  -k, --keys K       your key set: the signing key\n"
	"  -o, --output LIST  the list\n"
	"  -q, --quiet        say nothing\n"
	"      --help, --version\n";

static int old_list(struct licence_list *l, const char *path, const struct jwk *signer, struct err *err)
{
	struct buf text = BUF_INIT;
	int ret;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	if (licence_file(path, JWS_TEXT_MAX, &text, err) < 0)
		return -1;
	ret = licence_list_read(l, text.data, text.len, err);
	buf_release(&text);
	if (ret == 0 && memcmp(l->x, signer->x, sizeof l->x) != 0)
		return err_set(err, ERR_REJECTED, "is not signed by these keys");
	return ret;
}

static int write_list(const char *path, const struct licence_list *l, const struct jwk *signer, struct err *err)
{
	struct buf text = BUF_INIT;
	struct out out;
	int ret = licence_list_make(&text, l, signer, err);

	if (ret == 0 && text.len > JWS_TEXT_MAX)
		ret = cli_err(err, EFBIG, "the list would have over %u bytes", JWS_TEXT_MAX);
	if (ret == 0 && (ret = out_open(&out, path, 0644, true, NULL, err)) == 0) {
		if (write(out.fd, text.data, text.len) == (ssize_t)text.len) {
			ret = out_commit(&out, err);
		} else {
			ret = err_sys(err, errno, "cannot be written");
			out_abort(&out);
		}
	}
	buf_release(&text);
	return ret;
}

int licence_revoke(int argc, char **argv)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "keys", required_argument, NULL, 'k' },
		{ "output", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	const char *keys = NULL, *output = NULL;
	struct licence_list l = { 0 };
	struct jwk_set set = { NULL, 0 };
	const struct jwk *kek, *signer;
	struct err err = { 0 };
	int opt, status;

	cli.help = HELP;
	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "k:o:", LONG, NULL)) != -1) {
		if (opt == 'k' || opt == 'o') {
			*(opt == 'k' ? &keys : &output) = optarg;
			continue;
		}
		status = cli_option(opt, argv);
		if (status >= 0)
			return status;
	}
	if (!keys || !output)
		return cli_usage("--keys and -o are needed");
	for (int i = optind; i < argc; i++)
		if (!licence_id_good(argv[i], strlen(argv[i])))
			return cli_usage("no id of a licence: %s", TEXT(argv[i], strlen(argv[i])));
	out_keep_path(keys);
	if (keysource_read(&set, keys, &err) < 0 || publish_keys(&set, &kek, &signer, &err) < 0) {
		status = cli_failed(keys, &err);
		goto out;
	}
	int ret = old_list(&l, output, signer, &err);
	for (int i = optind; ret >= 0 && i < argc; i++)
		ret = licence_list_add(&l, argv[i], &err);
	if (ret >= 0) {
		l.issued = time(NULL);
		l.seq++;
		ret = write_list(output, &l, signer, &err);
	}
	status = ret < 0 ? cli_failed(output, &err) : CLI_OK;
	if (status == CLI_OK)
		cli_say("%s: list %llu, %zu licence%s revoked", TEXT(output, strlen(output)), (unsigned long long)l.seq, l.count, l.count == 1 ? "" : "s");
out:
	licence_list_release(&l);
	jwk_set_release(&set);
	return status;
}
