/*
 * input: the document that policies see as `input` (docs/POLICY.md): facts that the agent gathered itself, and claims of the client, marked as such.
 *
 * What cannot be known is not there, so it is undefined to a policy. Strings that would need an escape beyond \" and \\ are left out: engines differ in
 * how they read those.
 */
#ifndef CT_AGENT_INPUT_H
#define CT_AGENT_INPUT_H

#include <time.h>

#include "buf.h"
#include "crypto_info.h"
#include "header.h"
#include "peer.h"

struct agent;

struct input_file {
	const struct crypto_info *info;
	const struct header *header;
	const uint8_t *sha256; /* of the 8 + N bytes */
};

/* now: seconds and nanoseconds of the wall clock. Check b->failed. */
void input_put(struct buf *b, const struct agent *a, struct peer *peer, const struct input_file *f, const struct timespec *now);

#endif
