#include "decision.h"

#include <stdio.h>

#include "policy.h"
#include "rules.h"
#include "text.h"

/* A path's beginning, so that the line has room for the rest of the sentence. */
#define SHOWN_MAX 200
#define SHOW(fact) text_escape((char[SHOWN_MAX]){ 0 }, SHOWN_MAX, (fact)->text, (fact)->len)

/* Line numbers help whoever may read the file; its path is nobody else's business. */
static void in_doubt(const struct rules_answer *a, struct peer *peer, struct policy_decision *d)
{
	bool exe = a->doubt == RULES_EXE;
	const struct peer_fact *f = exe ? peer_exe(peer) : peer_cgroup(peer);
	const char *what = exe ? "executable" : "cgroup";

	if (f->state == PEER_FACT_REMOVED)
		snprintf(d->reason, sizeof d->reason,
		         "line %u of the agent's configuration asks for the program's %s, and %s was removed or replaced since it started: start it anew",
		         a->line, what, SHOW(f));
	else
		snprintf(d->reason, sizeof d->reason,
		         "line %u of the agent's configuration asks for the program's %s, which the agent cannot find out (pid %d, uid %u)", a->line,
		         what, peer->pid, peer->uid);
}

static void by_rules(const struct agent *a, uint64_t set, struct peer *peer, struct policy_decision *d)
{
	const char *what = "refuses the file to";
	struct rules_answer answer;

	rules_ask(&a->config->rules, peer, a->keys, set, &answer);
	d->disposition = answer.what;
	if (answer.what == WIRE_SERVE)
		return;
	d->keep_s = 0;
	if (answer.doubt != RULES_SURE) {
		in_doubt(&answer, peer, d);
		return;
	}
	if (answer.what == WIRE_CIPHERTEXT)
		what = "gives ciphertext to";
	if (peer->exe.state == PEER_FACT_KNOWN || peer->exe.state == PEER_FACT_REMOVED)
		snprintf(d->reason, sizeof d->reason, "line %u of the agent's configuration %s %s (uid %u)", answer.line, what, SHOW(&peer->exe),
		         peer->uid);
	else
		snprintf(d->reason, sizeof d->reason, "line %u of the agent's configuration %s this program (uid %u)", answer.line, what, peer->uid);
}

enum decision_state decision_ask(const struct agent *a, const struct crypto_info *c, uint64_t set, struct peer *peer,
                                 struct policy_decision *d)
{
	d->reason[0] = '\0';
	if (policy_is_default(c->local)) {
		d->disposition = WIRE_SERVE;
		d->keep_s = a->config->keep_s;
		by_rules(a, set, peer, d);
		return DECISION_READY;
	}
	d->disposition = WIRE_REFUSE;
	d->keep_s = 0;
	snprintf(d->reason, sizeof d->reason,
	         "its policy is not the default one (package model, allow = true), and this agent has no policy engine to ask: get the file "
	         "with the default policy from who encrypted it");
	return DECISION_READY;
}
