/*
 * decision: what an authenticated header's policies, the operator's own, and after them the rules of the configuration say about this request. All
 * must allow.
 *
 * Without an engine only the default text is true (lib/policy.h). While an engine is asked the decision is PENDING: the connection waits in that
 * state, and nobody else waits for it.
 */
#ifndef CT_AGENT_DECISION_H
#define CT_AGENT_DECISION_H

#include <stdint.h>

#include "agent.h"
#include "buf.h"
#include "input.h"
#include "peer.h"
#include "wire.h"

struct policy_decision {
	enum wire_disposition disposition;
	unsigned int keep_s;
	char reason[400]; /* for people, one line; empty for WIRE_SERVE */
	size_t told;      /* how much of it other uids than ours and root are told: the policy engine's own words stand behind; 0: all */
};

enum decision_state { DECISION_READY, DECISION_PENDING };

/* How far one request has come. */
struct decision {
	enum { DECISION_FILE, DECISION_REMOTE, DECISION_STANDING, DECISION_RULES } step;
	bool asking; /* that engine, in that slot */
	struct engine *engine;
	int slot;
	bool answered; /* in this turn: its next question comes behind those of others who have waited longer */
	struct buf input;
	struct buf claims; /* for the input; set before the first question */

	/* All are asked, after a no as well, and the input is made in any case. The first no counts. */
	bool explain;
	struct policy_decision no;
	/*
	 * What each says, static text: "default", "none", "true", "false", "undefined", "error" (no verdict), "remote" (refused for its remote policy), "ignored" (a remote policy that nobody judges); the rules'
	 * a disposition. NULL: not asked yet.
	 */
	const char *file_says, *remote_says, *operator_says, *rules_say;
};

/* The file, which must be verified, by a key of that set. Stores the decision in *d when READY; may be asked again for another set. */
enum decision_state decision_ask(struct decision *state, struct agent *a, const struct input_file *file, uint64_t set, struct peer *peer,
                                 struct policy_decision *d);

/* From the beginning, because the configuration is another. */
void decision_restart(struct decision *state);

/* Gives up a question that is under way. */
void decision_release(struct decision *state);

#endif
