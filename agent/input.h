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

/*
 * claims: the object of rego_json_flat(); empty: none. now: seconds and nanoseconds of the wall clock. Check b->failed. The digest of the peer's
 * executable is there if the text of the file's or the operator's policy speaks of it: it costs a read of all of it.
 */
#define INPUT_CLAIMS_MAX 4096u /* bytes of JSON */
void input_put(struct buf *b, const struct agent *a, struct peer *peer, const struct input_file *f, struct str claims, const struct timespec *now);

#endif
