/*
 * decision: what an authenticated header's policy says about this request.
 *
 * Without an engine only the default text is true (lib/policy.h). A decision is asked for from a connection's state and may one day be
 * PENDING: the connection then waits in that state, and nobody else waits for it.
 */
#ifndef CT_AGENT_DECISION_H
#define CT_AGENT_DECISION_H

#include "config.h"
#include "crypto_info.h"
#include "wire.h"

struct policy_decision {
	enum wire_disposition disposition;
	unsigned int keep_s;
	char reason[256]; /* for people, one line; empty for WIRE_SERVE */
};

enum decision_state { DECISION_READY, DECISION_PENDING };

/* c must be verified. Stores the decision in *d when READY. */
enum decision_state decision_ask(const struct config *config, const struct crypto_info *c, struct policy_decision *d);

#endif
