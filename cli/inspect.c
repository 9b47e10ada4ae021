/* ct inspect: what a file says of itself, and what stays readable for whoever copies it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "crypto_info.h"
#include "licence.h"
#include "model.h"
#include "policy.h"
#include "text.h"

#define NAMES_SHOWN 20 /* the rest is counted; --json has all */

static const char HELP[] =
	"usage: ct inspect [--json] FILE\n"
	"\n"
	"Shows header, algorithms, key ids, policy, what is encrypted, and what stays readable for a thief. Needs no key, and so\n"
	"does not check the signature: what it shows is what the file says of itself (ct verify checks it).\n"
	"\n"
	"      --json   everything, with all tensors, as one JSON object\n"
	"      --help, --version\n";

static bool tensor_encrypted(const struct crypto_info *c, size_t t)
{
	return c && c->by_tensor[t] != CRYPTO_ABSENT;
}

static void show_key(const char *what, const struct crypto_key_ref *k)
{
	printf("  %s %s", what, k->has_kid ? TEXT(k->kid.p, k->kid.len) : "(none named)");
	if (k->has_jku)
		printf(" (names a place to fetch keys from, which is never followed: %s)", TEXT(k->jku.p, k->jku.len));
	putchar('\n');
}

/* A policy's lines, each escaped by itself. */
static void show_policy(const char *what, struct str text)
{
	if (policy_is_default(text)) {
		printf("  %s the default: whoever has the keys\n", what);
		return;
	}
	printf("  %s\n", what);
	while (text.len > 0) {
		const char *nl = memchr(text.p, '\n', text.len);
		size_t len = nl ? (size_t)(nl - text.p) : text.len;
		for (size_t at = 0; at == 0 || at < len;) {
			size_t part = len - at < 120 ? len - at : 120; /* TEXT() has room for its escapes */
			while (part > 0 && part < len - at && ((unsigned char)text.p[at + part] & 0xc0) == 0x80)
				part--;
			printf("    %s%s\n", at ? "… " : "| ", part ? TEXT(text.p + at, part) : "");
			at += part ? part : 1;
		}
		text.p += len + (nl ? 1 : 0);
		text.len -= len + (nl ? 1 : 0);
	}
}

static void show_names(const struct header *h, const struct crypto_info *c, bool encrypted)
{
	size_t shown = 0, more = 0;

	for (size_t t = 0; t < h->count; t++) {
		if (tensor_encrypted(c, t) != encrypted)
			continue;
		if (shown == NAMES_SHOWN) {
			more++;
			continue;
		}
		printf("%s%s", shown ? ", " : "    ", TEXT(h->tensors[t].name.p, h->tensors[t].name.len));
		shown++;
	}
	if (more)
		printf(", and %zu more (--json shows all)", more);
	if (shown)
		putchar('\n');
}

static void show_metadata(const struct header *h)
{
	size_t shown = 0;

	printf("  metadata:      ");
	for (size_t i = 0; i < h->meta_count; i++) {
		struct str key = h->meta[i].key, value = h->meta[i].value;
		if (crypto_info_is_reserved(key))
			continue;
		if (shown++ < NAMES_SHOWN)
			printf("%s%s = %s", shown > 1 ? ", " : " ", TEXT(key.p, key.len), TEXT(value.p, value.len));
	}
	printf(shown == 0 ? " none\n" : shown > NAMES_SHOWN ? ", and more\n" : "\n");
}

static void show_digests(const struct digests *d, const struct header *h)
{
	if (!d->present)
		puts("  digests:        none");
	else if (digests_cover_all(d, h))
		puts("  digests:        of all tensors: ct verify needs no master key");
	else
		puts("  digests:        of the plain tensors");
}

static void show(const char *path, const struct model *m, const struct header *h, const struct crypto_info *c)
{
	char size[32];
	size_t encrypted = 0;
	uint64_t clear_bytes = 0;

	for (size_t t = 0; t < h->count; t++) {
		if (tensor_encrypted(c, t))
			encrypted++;
		else
			clear_bytes += h->tensors[t].end - h->tensors[t].begin;
	}
	printf("%s: %s, %s, header of %" PRIu64 " bytes\n", TEXT(path, strlen(path)), c ? "encrypted" : "plain, not encrypted",
	       cli_size(size, (uint64_t)m->st.st_size), h->n);
	if (c) {
		puts("  signature not checked: this is what the file says of itself (ct verify checks it)");
		printf("  format:         CryptoTensors version %d, %s, ", c->version, aead_alg_name(c->alg));
		if (c->chunk_size)
			printf("chunks of %" PRIu64 " bytes\n", c->chunk_size);
		else
			puts("each tensor as a whole");
		show_key("master key:    ", &c->enc);
		show_key("signing key:   ", &c->sign);
		show_digests(file_digests(m->file), h);
		show_policy("policy:        ", c->local);
		if (!policy_is_default(c->remote))
			show_policy("remote policy: ", c->remote);
		const struct str *licence = header_meta_get(h, LICENCE_META);
		if (licence)
			printf("  licence:        %s\n", TEXT(licence->p, licence->len));
	}
	printf("  tensors:        %zu, encrypted %zu, plain %zu\n", h->count, encrypted, h->count - encrypted);
	show_metadata(h);
	if (!c) {
		puts("  a thief reads:  everything");
	} else if (encrypted == h->count) {
		puts("  a thief reads:  names, types, shapes and sizes of the tensors, metadata, key ids and policy; no weights");
	} else {
		printf("  a thief reads:  names, types, shapes and sizes of all tensors, metadata, key ids and policy, and the weights of %zu "
		       "tensors (%s)%s:\n", h->count - encrypted, cli_size(size, clear_bytes),
		       file_digests(m->file)->present ? "" : ", whose bytes nothing vouches for");
		show_names(h, c, false);
		if (encrypted > 0) {
			puts("  a thief doesn't:");
			show_names(h, c, true);
		}
	}
}

static void put_str(struct buf *b, const char *name, struct str s)
{
	buf_puts(b, name);
	text_json(b, s.p, s.len);
}

static void put_key(struct buf *b, const char *name, const struct crypto_key_ref *k)
{
	buf_puts(b, name);
	if (k->has_kid)
		put_str(b, "{\"kid\":", k->kid);
	else
		buf_puts(b, "{\"kid\":null");
	if (k->has_jku)
		put_str(b, ",\"jku\":", k->jku);
	buf_putc(b, '}');
}

static void put_tensor(struct buf *b, const struct header_tensor *t, bool encrypted, bool digests)
{
	put_str(b, "{\"name\":", t->name);
	buf_puts(b, ",\"dtype\":\"");
	buf_puts(b, header_dtype_name(t->dtype));
	buf_puts(b, "\",\"shape\":[");
	for (uint32_t i = 0; i < t->ndim; i++) {
		if (i)
			buf_putc(b, ',');
		buf_put_u64(b, t->shape[i]);
	}
	buf_puts(b, "],\"data_offsets\":[");
	buf_put_u64(b, t->begin);
	buf_putc(b, ',');
	buf_put_u64(b, t->end);
	buf_puts(b, encrypted ? "],\"encrypted\":true" : "],\"encrypted\":false");
	buf_puts(b, digests ? ",\"digests\":true}" : ",\"digests\":false}");
}

static int show_json(const char *path, const struct model *m, const struct header *h, const struct crypto_info *c)
{
	struct buf b = BUF_INIT;
	bool first = true;

	put_str(&b, "{\"file\":", (struct str){ path, strlen(path) });
	buf_puts(&b, ",\"size\":");
	buf_put_u64(&b, (uint64_t)m->st.st_size);
	buf_puts(&b, ",\"header_size\":");
	buf_put_u64(&b, h->n);
	buf_puts(&b, c ? ",\"encrypted\":true,\"signature_checked\":false,\"version\":" : ",\"encrypted\":false");
	if (c) {
		buf_put_u64(&b, (uint64_t)c->version);
		buf_puts(&b, ",\"alg\":\"");
		buf_puts(&b, aead_alg_name(c->alg));
		buf_puts(&b, "\",\"chunk_size\":");
		if (c->chunk_size)
			buf_put_u64(&b, c->chunk_size);
		else
			buf_puts(&b, "null");
		put_key(&b, ",\"enc\":", &c->enc);
		put_key(&b, ",\"sign\":", &c->sign);
		put_str(&b, ",\"policy\":{\"local\":", c->local);
		put_str(&b, ",\"remote\":", c->remote);
		buf_puts(&b, policy_is_default(c->local) ? ",\"default\":true}" : ",\"default\":false}");
	}
	const struct str *licence = header_meta_get(h, LICENCE_META);
	if (licence && c)
		put_str(&b, ",\"licence\":", *licence);
	buf_puts(&b, ",\"metadata\":{");
	for (size_t i = 0; i < h->meta_count; i++) {
		if (crypto_info_is_reserved(h->meta[i].key))
			continue;
		put_str(&b, first ? "" : ",", h->meta[i].key);
		put_str(&b, ":", h->meta[i].value);
		first = false;
	}
	buf_puts(&b, "},\"tensors\":[");
	for (size_t t = 0; t < h->count; t++) {
		if (t)
			buf_putc(&b, ',');
		put_tensor(&b, &h->tensors[t], tensor_encrypted(c, t), c && file_digests(m->file)->present && file_digests(m->file)->by_tensor[t].bytes);
	}
	buf_puts(&b, "]}");
	return cli_print(&b);
}

int cmd_inspect(int argc, char **argv)
{
	static const struct option LONG[] = {
		CLI_OPTIONS,
		{ "json", no_argument, NULL, CLI_JSON },
		{ NULL, 0, NULL, 0 },
	};
	struct err err = { 0 };
	struct model m;
	int opt, status = CLI_OK;

	cli.help = HELP;
	while ((opt = getopt_long(argc, argv, ":" CLI_LETTERS, LONG, NULL)) != -1) {
		status = cli_option(opt, argv);
		if (status >= 0)
			return status;
	}
	if (argc - optind != 1)
		return cli_usage("needs one file");
	const char *path = argv[optind];
	if (model_open(&m, path, &err) < 0)
		return cli_failed(path, &err);
	const struct header *h = m.encrypted ? file_header(m.file) : &m.plain;
	const struct crypto_info *c = m.encrypted ? file_crypto(m.file) : NULL;
	if (cli.json) {
		status = show_json(path, &m, h, c);
	} else {
		show(path, &m, h, c);
		status = CLI_OK;
	}
	model_close(&m);
	return status;
}
