/*
 * reply: writes the agent's replies. Built once, then sent; if memory runs out while building, reply_end() leaves nothing and the
 * connection closes without an answer (a client takes that for ENOKEY).
 */
#ifndef CT_AGENT_REPLY_H
#define CT_AGENT_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "decision.h"
#include "err.h"
#include "secret.h"

struct reply {
	struct buf json;
	struct secret *blob; /* NULL: none */
};

#define REPLY_INIT { BUF_INIT, NULL }

/* {"v":1,"ok":true … }. reply_end() returns 0, or -1 without memory. */
void reply_begin(struct reply *r);
void reply_number(struct reply *r, const char *name, uint64_t v);
void reply_bool(struct reply *r, const char *name, bool v);
void reply_string(struct reply *r, const char *name, const char *text);
void reply_object(struct reply *r, const char *name);
void reply_object_end(struct reply *r);
int reply_end(struct reply *r);

void reply_decision(struct reply *r, const struct policy_decision *d);

/* A member whose value is JSON text already. */
void reply_json(struct reply *r, const char *name, const struct buf *json);

/* Whole error replies; each drops what *r held and returns -1. */
int reply_error(struct reply *r, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int reply_err(struct reply *r, const struct err *why);
int reply_version(struct reply *r, uint64_t asked);

void reply_release(struct reply *r);

#endif
