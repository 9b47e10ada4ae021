#include "input.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "agent.h"
#include "machine.h"
#include "text.h"

#define GROUPS_MAX 1024

/* ---- members ---- */

/* `"name":`, after a comma unless it is the first of its object. */
static void member(struct buf *b, const char *name)
{
	if (b->len > 0 && b->data[b->len - 1] != '{')
		buf_putc(b, ',');
	buf_putc(b, '"');
	buf_puts(b, name);
	buf_puts(b, "\":");
}

static void put_number(struct buf *b, const char *name, uint64_t v)
{
	member(b, name);
	buf_put_u64(b, v);
}

/* Valid UTF-8 without control characters, else left out. */
static void put_text(struct buf *b, const char *name, const char *s, size_t len)
{
	for (size_t at = 0, n; at < len; at += n) {
		uint32_t cp;
		n = text_utf8_decode(s + at, len - at, &cp);
		if (n == 0 || cp < 0x20 || cp == 0x7f)
			return;
	}
	member(b, name);
	buf_put_json_string(b, s, len);
}

static void put_hex(struct buf *b, const char *name, const uint8_t *bytes, size_t len)
{
	member(b, name);
	buf_putc(b, '"');
	buf_put_hex(b, bytes, len);
	buf_putc(b, '"');
}

/* ---- parts ---- */

static bool speaks_of(struct str policy, const char *name)
{
	return policy.len > 0 && memmem(policy.p, policy.len, name, strlen(name));
}

static bool wants_digest(const struct agent *a, const struct input_file *f)
{
	const char *standing = a->config->standing;

	return speaks_of(f->info->local, "exe_sha256") || (standing && strstr(standing, "exe_sha256"));
}

static void put_peer(struct buf *b, struct peer *p, bool digest)
{
	gid_t groups[GROUPS_MAX];
	int n = peer_groups(p, groups, GROUPS_MAX);
	const struct peer_fact *exe = peer_exe(p), *cgroup = peer_cgroup(p);

	member(b, "peer");
	buf_putc(b, '{');
	put_number(b, "uid", p->uid);
	put_number(b, "gid", p->gid);
	if (n >= 0) {
		member(b, "groups");
		buf_putc(b, '[');
		for (int i = 0; i < n; i++) {
			if (i > 0)
				buf_putc(b, ',');
			buf_put_u64(b, groups[i]);
		}
		buf_putc(b, ']');
	}
	if (p->pid > 0)
		put_number(b, "pid", (uint64_t)p->pid);
	if (exe->state == PEER_FACT_KNOWN)
		put_text(b, "exe", exe->text, exe->len);
	if (digest && peer_exe_sha256(p))
		put_hex(b, "exe_sha256", peer_exe_sha256(p), SHA256_LEN);
	if (cgroup->state == PEER_FACT_KNOWN)
		put_text(b, "cgroup", cgroup->text, cgroup->len);
	buf_putc(b, '}');
}

static void put_file(struct buf *b, const struct input_file *f)
{
	const struct str *licence = header_meta_get(f->header, "__licence__");

	member(b, "file");
	buf_putc(b, '{');
	if (f->info->sign.has_kid)
		put_text(b, "signer_kid", f->info->sign.kid.p, f->info->sign.kid.len);
	if (f->info->enc.has_kid)
		put_text(b, "key_kid", f->info->enc.kid.p, f->info->enc.kid.len);
	if (licence)
		put_text(b, "licence", licence->p, licence->len);
	put_number(b, "tensors", f->header->count);
	put_hex(b, "sha256", f->sha256, 32);
	buf_putc(b, '}');
}

static void put_time(struct buf *b, const struct timespec *now)
{
	char text[32];
	struct tm t;

	gmtime_r(&now->tv_sec, &t);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", &t);
	member(b, "time");
	buf_putc(b, '{');
	put_number(b, "ns", (uint64_t)now->tv_sec * 1000000000u + (uint64_t)now->tv_nsec);
	put_number(b, "seconds", (uint64_t)now->tv_sec);
	put_text(b, "rfc3339", text, strlen(text));
	put_number(b, "year", (uint64_t)t.tm_year + 1900);
	put_number(b, "month", (uint64_t)t.tm_mon + 1);
	put_number(b, "day", (uint64_t)t.tm_mday);
	put_number(b, "hour", (uint64_t)t.tm_hour);
	put_number(b, "minute", (uint64_t)t.tm_min);
	put_number(b, "second", (uint64_t)t.tm_sec);
	put_number(b, "weekday", (uint64_t)t.tm_wday);
	buf_putc(b, '}');
}

void input_put(struct buf *b, const struct agent *a, struct peer *peer, const struct input_file *f, struct str claims, const struct timespec *now)
{
	char machine[MACHINE_ID_LEN + 1];
	struct utsname host;

	buf_putc(b, '{');
	put_peer(b, peer, wants_digest(a, f));
	put_file(b, f);
	put_time(b, now);
	if (uname(&host) == 0)
		put_text(b, "host", host.nodename, strlen(host.nodename));
	if (machine_id(machine))
		put_text(b, "machine_id", machine, MACHINE_ID_LEN);
	if (a->config->environment)
		put_text(b, "environment", a->config->environment, strlen(a->config->environment));
	member(b, "attributes");
	buf_putc(b, '{');
	for (size_t i = 0; i < a->config->attribute_count; i++) {
		const struct config_attribute *x = &a->config->attributes[i];
		put_text(b, x->name, x->value, strlen(x->value));
	}
	buf_putc(b, '}');
	if (claims.len > 0) {
		member(b, "claims");
		buf_put(b, claims.p, claims.len);
	}
	buf_putc(b, '}');
}
