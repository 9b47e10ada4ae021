/*
 * request: one message of the protocol (docs/PROTOCOL.md), from its JSON to its reply.
 *
 * The server calls, in this order: request_parse() when the JSON is there, request_take() when the blob is, then request_work()
 * until it says READY. Nothing here waits, but for data keys; nor knows of sockets, but that the keeper gets an adder's. Order of an open: layout,
 * signature, policy, rules, the set's licence, the set's constraints, unwrap.
 */
#ifndef CT_AGENT_REQUEST_H
#define CT_AGENT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent.h"
#include "constraints.h"
#include "crypto_info.h"
#include "decision.h"
#include "header.h"
#include "peer.h"
#include "reply.h"
#include "secret.h"
#include "sha256.h"

enum request_op { OP_OPEN, OP_ADD, OP_LIST, OP_REMOVE, OP_LOCK, OP_UNLOCK, OP_STATUS, OP_PING, OP_EXPLAIN, OPS };

struct request {
	enum request_op op;
	unsigned int seen; /* a bit a member that came */
	uint64_t size, lifetime, set, pid; /* pid: explain's; 0: who asks */
	bool all;
	struct constraints asked; /* of an add */
	char *licence; /* of an add: malloc'ed; NULL: none */
	size_t licence_len;

	/* an add, while the keeper reads */
	bool adding;
	int place;
	size_t text_len;

	/* an open, between its steps */
	bool about_other; /* explain: what it is about is `other`, not the peer */
	struct peer other;
	bool opened;
	struct header header;
	struct crypto_info info;
	uint8_t sha256[SHA256_LEN]; /* of its 8 + N bytes */
	uint64_t key_set;
	struct decision decision;
	int64_t deadline_ms; /* clock_ms(): the connection's; the caller sets it after request_parse() */
	uint64_t question;   /* confirm_ask()'s */
	const char *licence_says;      /* licences.h */
	const char *constraints_say;   /* "none", "fit", "ask", "unfit"; static text */
	bool unfit;                    /* the set's licence, or what it is bound to, does not hold */
	struct policy_decision passed; /* over, the first set of which that is true; reason empty: none was */
	uint64_t passed_set;
	const char *passed_licence, *passed_constraints; /* what was said of it */
};

/*
 * Reads text[0 .. len) and checks what can be checked without the blob: version, operation, rights, the blob's length. -1: *reply
 * holds the error.
 */
int request_parse(struct request *rq, const struct peer *peer, const char *text, size_t len, uint32_t blob_len, struct reply *reply);

/* True if the blob must be read into a struct secret: passphrases. */
bool request_blob_is_secret(const struct request *rq);

/* True if it is to be left in the socket: keys, which the keeper reads. Then request_take() is called without it. */
bool request_blob_stays(const struct request *rq);

/*
 * Hands over the blob, of which nothing is needed afterwards: raw for an open, else secret (NULL: none). -1: *reply holds the error; 1: *reply
 * is the answer; 0: go on with request_work().
 */
int request_take(struct request *rq, struct agent *a, struct peer *peer, const uint8_t *raw, size_t len,
                 const struct secret *secret, struct reply *reply);

/* Asks for the decision, or the keeper, and, once it is there, fills *reply. PENDING: ask again later. */
enum decision_state request_work(struct request *rq, struct agent *a, struct peer *peer, struct reply *reply);

/* The configuration is another: what it is about to decide is decided from the beginning. */
void request_reloaded(struct request *rq);

/* a: where a decision may be under way. */
void request_release(struct request *rq, struct agent *a);

#endif
