/*
 * wire: one message of the agent's protocol, as bytes (docs/PROTOCOL.md is the text; it changes with this file).
 *
 * Frame: u32 JSON length, u32 blob length (little-endian), JSON, blob. One request and one reply a connection.
 */
#ifndef CT_WIRE_H
#define CT_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "header.h"

#define WIRE_VERSION 1
#define WIRE_HEAD 8u
#define WIRE_JSON_MAX 65536u
#define WIRE_BLOB_MAX (HEADER_PREFIX + HEADER_MAX)

struct wire_head {
	uint32_t json_len, blob_len;
};

void wire_head_put(uint8_t out[WIRE_HEAD], uint32_t json_len, uint32_t blob_len);

/* -1 with ERR_FORMAT if a length is over its limit, or the JSON is empty. */
int wire_head_get(struct wire_head *h, const uint8_t in[WIRE_HEAD], struct err *err);

enum wire_disposition { WIRE_SERVE, WIRE_CIPHERTEXT, WIRE_REFUSE };

/* "serve", "ciphertext", "refuse"; -1 for any other name. */
const char *wire_disposition_name(enum wire_disposition d);
int wire_disposition_parse(const char *name, enum wire_disposition *d);

#endif
