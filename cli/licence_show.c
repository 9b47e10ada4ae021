/* ct licence show: what a licence, a request or a list says. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "licences.h"
#include "text.h"

static const char HELP[] =
	"usage: ct licence show [--keys CUSTOMER.jwk | --publisher FINGERPRINT] FILE…\n"
	"\n"
	"Shows licences (who, what, until when, what stops then), lists of revoked ones, and requests. A signature that is wrong is an error. Whether it is the right\n"
	"publisher's can be said with the customer's key, in which he is pinned, or with his fingerprint.\n"
	"\n"
	"  -k, --keys CUSTOMER.jwk      also say whether the licence opens with this key\n"
	"      --publisher FINGERPRINT  64 hexadecimal digits\n"
	"      --json                   one JSON object a file\n"
	"      --help, --version\n";

struct options {
	const char *keys, *publisher;
	uint8_t pin[JWS_FINGERPRINT_LEN];
	struct licence_customer customer;
	bool pinned;
};

#define SHOWN(text) TEXT((text), strlen(text))

static void line_signer(const struct options *o, const uint8_t x[SIGN_KEY_LEN])
{
	uint8_t is[JWS_FINGERPRINT_LEN] = { 0 };

	jws_fingerprint(x, is);
	printf("  publisher:  %s\n", LICENCE_SPOKEN(is));
	puts(o->pinned ? "  signature:  right, by the publisher that is pinned" : "  signature:  right, but not checked against a pin: it says nothing of who made it (--keys, --publisher)");
}

static const char *ends(const struct licence *l, time_t now)
{
	if (now >= licence_end(l))
		return "over: nothing opens any more";
	if (now >= l->until)
		return "in its days of grace";
	return "running";
}

static void show_text(const struct options *o, const char *path, const struct licence *l)
{
	time_t now = time(NULL);
	int64_t left = ((now < l->until ? l->until : licence_end(l)) - now) / LICENCE_DAY;

	printf("%s: licence %s\n", SHOWN(path), l->id);
	printf("  for:        %s\n  key:        %s\n", l->name[0] ? SHOWN(l->name) : "(no name)", LICENCE_SPOKEN(l->to_thumb));
	for (size_t i = 0; i < l->what_count; i++)
		printf("  %s %s\n", i ? "           " : "opens:     ", SHOWN(l->what[i]));
	printf("  issued:     %s\n", LICENCE_DATE(l->issued));
	printf("  until:      %s", LICENCE_DATE(l->until - 1));
	if (l->grace)
		printf(", and %u day%s of grace: %s", l->grace, l->grace == 1 ? "" : "s", LICENCE_DATE(licence_end(l) - 1));
	printf("\n  now:        %s", ends(l, now));
	if (now < licence_end(l))
		printf(", days left: %lld", (long long)left);
	puts("\n  then:       models that are opened from then on are refused (EKEYREJECTED); programs that have one open go on");
	for (size_t i = 0; i < l->machine_count; i++)
		printf("  machine:    %s\n", l->machines[i]);
	for (size_t i = 0; i < l->user_count; i++)
		printf("  user:       %u\n", l->users[i]);
	line_signer(o, l->x);
	if (o->keys)
		puts("  its keys:   open with this key");
}

static void put_string(struct buf *b, const char *name, const char *text)
{
	buf_put_name(b, name);
	text_json(b, text, strlen(text));
}

static void put_number(struct buf *b, const char *name, int64_t v)
{
	char text[32];

	snprintf(text, sizeof text, ",\"%s\":%lld", name, (long long)v);
	buf_puts(b, text);
}

static void put_hex(struct buf *b, const char *name, const uint8_t bytes[JWS_FINGERPRINT_LEN])
{
	buf_put_name(b, name);
	buf_putc(b, '"');
	buf_put_hex(b, bytes, JWS_FINGERPRINT_LEN);
	buf_putc(b, '"');
}

static void put_signer(struct buf *b, const struct options *o, const uint8_t x[SIGN_KEY_LEN])
{
	uint8_t is[JWS_FINGERPRINT_LEN] = { 0 };

	jws_fingerprint(x, is);
	put_hex(b, "publisher", is);
	buf_puts(b, o->pinned ? ",\"pinned\":true" : ",\"pinned\":false");
}

static void begin_json(struct buf *b, const char *path, const char *what)
{
	buf_puts(b, "{\"file\":");
	text_json(b, path, strlen(path));
	put_string(b, "what", what);
}

static int show_json(const struct options *o, const char *path, const struct licence *l)
{
	struct buf b = BUF_INIT;

	begin_json(&b, path, "licence");
	put_string(&b, "id", l->id);
	put_string(&b, "name", l->name);
	put_string(&b, "to", l->to_kid);
	put_hex(&b, "to_sha256", l->to_thumb);
	put_number(&b, "issued", l->issued);
	put_number(&b, "until", l->until);
	put_number(&b, "grace_days", l->grace);
	put_number(&b, "ends", licence_end(l));
	buf_puts(&b, ",\"opens\":[");
	for (size_t i = 0; i < l->what_count; i++) {
		buf_puts(&b, i ? "," : "");
		text_json(&b, l->what[i], strlen(l->what[i]));
	}
	buf_puts(&b, "],\"machines\":[");
	for (size_t i = 0; i < l->machine_count; i++) {
		buf_puts(&b, i ? "," : "");
		text_json(&b, l->machines[i], strlen(l->machines[i]));
	}
	buf_puts(&b, "],\"users\":[");
	for (size_t i = 0; i < l->user_count; i++) {
		buf_puts(&b, i ? "," : "");
		buf_put_u64(&b, l->users[i]);
	}
	buf_putc(&b, ']');
	put_signer(&b, o, l->x);
	buf_putc(&b, '}');
	return cli_print(&b);
}

static int show_licence(const struct options *o, const char *path, const struct buf *text)
{
	struct licence *l = calloc(1, sizeof *l);
	struct jwk_set set = { NULL, 0 };
	struct err err = { 0 };
	int ret, status;

	if (!l)
		ret = err_sys(&err, ENOMEM, "the licence");
	else
		ret = licence_read(l, text->data, text->len, &err);
	if (ret == 0 && o->pinned)
		ret = licence_pinned(l->x, o->pin, &err);
	if (ret == 0 && o->keys)
		ret = licence_open(l, &o->customer.key, &set, &err);
	if (ret < 0) {
		status = cli_failed(path, &err);
	} else if (cli.json) {
		status = show_json(o, path, l);
	} else {
		show_text(o, path, l);
		status = CLI_OK;
	}
	jwk_set_release(&set);
	if (l)
		licence_release(l);
	free(l);
	return status;
}

static int show_list(const struct options *o, const char *path, const struct buf *text)
{
	struct licence_list l;
	struct err err = { 0 };
	struct buf b = BUF_INIT;
	int status = CLI_OK;

	if (licence_list_read(&l, text->data, text->len, &err) < 0)
		return cli_failed(path, &err);
	if (o->pinned && licence_pinned(l.x, o->pin, &err) < 0) {
		status = cli_failed(path, &err);
	} else if (cli.json) {
		begin_json(&b, path, "revoked");
		put_number(&b, "issued", l.issued);
		buf_puts(&b, ",\"seq\":");
		buf_put_u64(&b, l.seq);
		buf_puts(&b, ",\"ids\":[");
		for (size_t i = 0; i < l.count; i++) {
			buf_puts(&b, i ? "," : "");
			text_json(&b, l.ids[i], strlen(l.ids[i]));
		}
		buf_putc(&b, ']');
		put_signer(&b, o, l.x);
		buf_putc(&b, '}');
		status = cli_print(&b);
	} else {
		printf("%s: revoked licences, list %llu of %s\n", SHOWN(path), (unsigned long long)l.seq, LICENCE_DATE(l.issued));
		for (size_t i = 0; i < l.count; i++)
			printf("  revoked:    %s\n", l.ids[i]);
		line_signer(o, l.x);
	}
	licence_list_release(&l);
	return status;
}

static int show_request(const struct options *o, const char *path)
{
	struct licence_request r;
	struct err err = { 0 };
	struct buf b = BUF_INIT;
	int status = CLI_OK;

	if (licence_request_read(&r, path, &err) < 0)
		return cli_failed(path, &err);
	if (o->pinned && memcmp(o->pin, r.pin, sizeof r.pin) != 0) {
		err_set(&err, ERR_REJECTED, "is for another publisher, %s", LICENCE_SPOKEN(r.pin));
		status = cli_failed(path, &err);
	} else if (cli.json) {
		begin_json(&b, path, "request");
		put_string(&b, "name", r.name);
		put_string(&b, "machine", r.machine);
		put_string(&b, "key", r.kid);
		put_hex(&b, "key_sha256", r.thumb);
		put_hex(&b, "publisher", r.pin);
		buf_putc(&b, '}');
		status = cli_print(&b);
	} else {
		printf("%s: request for licences\n  from:       %s\n", SHOWN(path), r.name[0] ? SHOWN(r.name) : "(no name)");
		if (r.machine[0])
			printf("  machine:    %s\n", r.machine);
		printf("  key:        %s: compare it with what the customer says\n  publisher:  %s\n", LICENCE_SPOKEN(r.thumb), LICENCE_SPOKEN(r.pin));
	}
	licence_request_release(&r);
	return status;
}

static int show(const struct options *o, const char *path)
{
	struct buf text = BUF_INIT;
	struct err err = { 0 };
	struct jws jws;
	int status;

	if (licence_file(path, JWS_TEXT_MAX, &text, &err) < 0)
		return cli_failed(path, &err);
	if (!jws_is(text.data, text.len)) {
		status = show_request(o, path);
	} else if (jws_read(&jws, text.data, text.len, &err) < 0) {
		status = cli_failed(path, &err);
	} else {
		bool list = strcmp(jws.typ, LICENCE_LIST_TYP) == 0;
		jws_release(&jws);
		status = list ? show_list(o, path, &text) : show_licence(o, path, &text);
	}
	buf_release(&text);
	return status;
}

int licence_show(int argc, char **argv)
{
	enum { PUBLISHER = CLI_OWN };
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "keys", required_argument, NULL, 'k' },
		{ "publisher", required_argument, NULL, PUBLISHER },
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { 0 };
	struct err err = { 0 };
	int opt, status;

	cli.help = HELP;
	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS "k:", LONG, NULL)) != -1) {
		if (opt == 'k' || opt == PUBLISHER) {
			*(opt == 'k' ? &o.keys : &o.publisher) = optarg;
			continue;
		}
		status = cli_option(opt, argv);
		if (status >= 0)
			return status;
	}
	if (optind == argc)
		return cli_usage("needs a file");
	if (o.keys && o.publisher)
		return cli_usage("--keys and --publisher do not go together: a customer's key has its publisher in it");
	if (o.publisher && !licence_fingerprint(o.publisher, o.pin))
		return cli_usage("--publisher takes a fingerprint: 64 hexadecimal digits");
	if (o.keys && licence_customer_read(&o.customer, o.keys, &err) < 0)
		return cli_failed(o.keys, &err);
	if (o.keys)
		memcpy(o.pin, o.customer.pin, sizeof o.pin);
	o.pinned = o.keys || o.publisher;
	status = CLI_OK;
	for (int i = optind; i < argc; i++) {
		int r = show(&o, argv[i]);
		status = r != CLI_OK ? r : status;
	}
	licence_customer_release(&o.customer);
	return status;
}
