/*
 * decision: what an authenticated header's policy, and after it the rules of the configuration, say about this request.
 *
 * Without an engine only the default text is true (lib/policy.h). A decision is asked for from a connection's state and may one day be
 * PENDING: the connection then waits in that state, and nobody else waits for it.
 */
#ifndef CT_AGENT_DECISION_H
#define CT_AGENT_DECISION_H

#include <stdint.h>

#include "agent.h"
#include "crypto_info.h"
#include "peer.h"
#include "wire.h"

struct policy_decision {
	enum wire_disposition disposition;
	unsigned int keep_s;
	char reason[400]; /* for people, one line; empty for WIRE_SERVE */
};

enum decision_state { DECISION_READY, DECISION_PENDING };

/* c must be verified, by a key of that set. Stores the decision in *d when READY. */
enum decision_state decision_ask(const struct agent *a, const struct crypto_info *c, uint64_t set, struct peer *peer,
                                 struct policy_decision *d);

#endif
