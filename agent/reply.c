#include "reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "wire.h"

void reply_begin(struct reply *r)
{
	buf_putc(&r->json, '{');
	reply_number(r, "v", WIRE_VERSION);
	reply_bool(r, "ok", true);
}

void reply_number(struct reply *r, const char *name, uint64_t v)
{
	buf_put_name(&r->json, name);
	buf_put_u64(&r->json, v);
}

void reply_bool(struct reply *r, const char *name, bool v)
{
	buf_put_name(&r->json, name);
	buf_puts(&r->json, v ? "true" : "false");
}

/* A line may have been cut in the middle of a character: JSON takes whole ones only. */
void reply_string(struct reply *r, const char *name, const char *text)
{
	struct buf whole = BUF_INIT;
	size_t len = strlen(text), n;
	uint32_t cp;

	for (; len; text += n, len -= n) {
		n = text_utf8_decode(text, len, &cp);
		if (n)
			buf_put(&whole, text, n);
		else
			buf_putc(&whole, '?');
		n = n ? n : 1;
	}
	buf_put_name(&r->json, name);
	buf_put_json_string(&r->json, whole.data ? whole.data : "", whole.len);
	r->json.failed |= whole.failed;
	buf_release(&whole);
}

void reply_json(struct reply *r, const char *name, const struct buf *json)
{
	buf_put_name(&r->json, name);
	buf_put(&r->json, json->data, json->len);
	r->json.failed |= json->failed;
}

void reply_object(struct reply *r, const char *name)
{
	buf_put_name(&r->json, name);
	buf_putc(&r->json, '{');
}

void reply_object_end(struct reply *r)
{
	buf_putc(&r->json, '}');
}

int reply_end(struct reply *r)
{
	buf_putc(&r->json, '}');
	if (!r->json.failed)
		return 0;
	reply_release(r);
	return -1;
}

void reply_decision(struct reply *r, const struct policy_decision *d)
{
	reply_begin(r);
	reply_string(r, "disposition", wire_disposition_name(d->disposition));
	reply_number(r, "keep_s", d->keep_s);
	if (d->reason[0])
		reply_string(r, "reason", d->reason);
	reply_end(r);
}

static void begin_error(struct reply *r, const char *name, const char *reason)
{
	reply_release(r);
	buf_putc(&r->json, '{');
	reply_number(r, "v", WIRE_VERSION);
	reply_bool(r, "ok", false);
	reply_string(r, "error", name);
	reply_string(r, "reason", reason);
}

int reply_err(struct reply *r, const struct err *why)
{
	begin_error(r, err_name(why), why->text);
	reply_end(r);
	return -1;
}

int reply_error(struct reply *r, int errnum, const char *fmt, ...)
{
	struct err why = { .code = ERR_SYSTEM, .sys_errno = errnum };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why.text, sizeof why.text, fmt, ap);
	va_end(ap);
	return reply_err(r, &why);
}

int reply_version(struct reply *r, uint64_t asked)
{
	char reason[120];

	snprintf(reason, sizeof reason, "this agent speaks version %d of the protocol, not %llu: use ct, the shim and ct-agent of one release",
	         WIRE_VERSION, (unsigned long long)asked);
	begin_error(r, "EPROTO", reason);
	buf_put_name(&r->json, "versions");
	buf_putc(&r->json, '[');
	buf_put_u64(&r->json, WIRE_VERSION);
	buf_putc(&r->json, ']');
	reply_end(r);
	return -1;
}

void reply_release(struct reply *r)
{
	buf_release(&r->json);
	secret_free(r->blob);
	r->blob = NULL;
}
