#include "decision.h"

#include <stdio.h>

#include "policy.h"

enum decision_state decision_ask(const struct config *config, const struct crypto_info *c, struct policy_decision *d)
{
	d->reason[0] = '\0';
	if (policy_is_default(c->local)) {
		d->disposition = WIRE_SERVE;
		d->keep_s = config->keep_s;
		return DECISION_READY;
	}
	d->disposition = WIRE_REFUSE;
	d->keep_s = 0;
	snprintf(d->reason, sizeof d->reason,
	         "its policy is not the default one (package model, allow = true), and this agent has no policy engine to ask: get the file "
	         "with the default policy from who encrypted it");
	return DECISION_READY;
}
