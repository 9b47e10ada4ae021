/*
 * conn: one connection's state machine: head, JSON, (waiting for room), blob, decision, reply. Of an add the keeper reads the blob, during the decision.
 *
 * conn_go() does what can be done without waiting. The server owns the table of connections and the budget of blobs: a connection in
 * CONN_ROOM is told by conn_room_granted() that its blob may be read.
 */
#ifndef CT_AGENT_CONN_H
#define CT_AGENT_CONN_H

#include "agent.h"
#include "peer.h"
#include "reply.h"
#include "request.h"
#include "wire.h"

enum conn_state {
	CONN_FREE,
	CONN_HEAD,
	CONN_JSON,
	CONN_ROOM, /* waits for the budget; its descriptor is not polled */
	CONN_BLOB,
	CONN_DECIDE,
	CONN_WRITE,
	CONN_DONE, /* to be closed */
};

struct conn {
	enum conn_state state;
	int fd;
	struct peer peer;
	bool other;          /* peer is neither ours nor root */
	uint64_t serial;     /* order of arrival */
	int64_t deadline_ms; /* clock_ms() */
	size_t at;           /* bytes read or written of the current part */
	uint8_t head[WIRE_HEAD];
	struct wire_head sizes;
	char *json;
	uint8_t *raw;          /* blob of an open */
	struct secret *secret; /* blob of a passphrase */
	size_t held;           /* bytes of the budget */
	struct request request;
	struct reply reply;
	uint8_t reply_head[WIRE_HEAD];
};

/* A fresh connection; owns fd from here on. Strangers get their refusal as the reply. */
void conn_begin(struct conn *c, int fd, struct agent *a, uint64_t serial, int64_t deadline_ms);

/* Goes on until it would have to wait. */
void conn_go(struct conn *c, struct agent *a);

/* CONN_ROOM only: `held` bytes of the budget are this connection's now (false is returned, and it is DONE, if malloc fails). */
bool conn_room_granted(struct conn *c);

/* The poll events that it waits for; 0: none. */
short conn_events(const struct conn *c);

/* Wipes, closes, and leaves it FREE. */
void conn_end(struct conn *c, struct agent *a);

#endif
