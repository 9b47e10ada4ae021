/*
 * rego_json: JSON from outside in the one spelling that policy engines agree on: compact, raw UTF-8, no escapes but \" and \\, no name twice in an
 * object, no control characters. Numbers stay as they were spelled. Pure functions; they allocate.
 */
#ifndef CT_REGO_JSON_H
#define CT_REGO_JSON_H

#include <stdbool.h>

#include "buf.h"
#include "json.h"

/* Appends the object in text[0 .. len). -1: ERR_FORMAT (malformed, or what no spelling helps), ENOMEM. */
int rego_json_text(struct buf *b, const char *text, size_t len, struct err *err);

/* Appends the value `tok`, which must be an object of strings, numbers and booleans. -1 as above. */
int rego_json_flat(struct buf *b, const struct json *j, int tok, struct err *err);

#endif
