#include "decision.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "policy.h"
#include "rules.h"
#include "text.h"

#define DECISION_SLOTS_OWN 2 /* of the engine's, which only our own uid and root may use */

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

static bool has_input(struct decision *state, const struct agent *a, const struct input_file *file, struct peer *peer)
{
	struct timespec now;

	if (state->input.len == 0) {
		clock_gettime(CLOCK_REALTIME, &now);
		input_put(&state->input, a, peer, file, (struct str){ state->claims.data, state->claims.len }, &now);
	}
	return !state->input.failed;
}

/* An engine may quote the operator's policy, or name paths of his: its words are for our own uid and root. */
static void cannot_be_judged(struct policy_decision *d, const char *whose, const struct err *why, const char *words)
{
	int n = snprintf(d->reason, sizeof d->reason, "%s policy cannot be judged: %.200s", whose, why->text);

	if (words[0]) {
		d->told = (size_t)n;
		snprintf(d->reason + n, sizeof d->reason - (size_t)n, ", saying \"%s\"", words);
	}
}

/* DECISION_READY: *d refuses, or the engine has said yes; *says is what it said. */
static enum decision_state by_engine(struct decision *state, struct agent *a, struct engine *engine, const struct input_file *file, const char *whose,
                                     struct str policy, struct peer *peer, struct policy_decision *d, const char **says)
{
	size_t spare = peer_rights(peer, true) == PEER_MAY_ALL ? 0 : DECISION_SLOTS_OWN;
	char words[ENGINE_WORDS_MAX] = "";
	enum engine_verdict v;
	struct err why = { 0 };
	int r;

	if (!state->asking) {
		if (state->answered)
			return DECISION_PENDING;
		r = has_input(state, a, file, peer) ?
		            (state->slot = engine_ask(engine, policy, (struct str){ state->input.data, state->input.len }, spare, &why)) :
		            err_sys(&why, ENOMEM, "the policy's input");
		if (r == -1 && why.code == ERR_NONE)
			return DECISION_PENDING; /* none is free for it */
		state->asking = r >= 0;
		state->engine = engine;
	}
	r = state->asking ? engine_answer(engine, state->slot, &v, words, &why) : -1;
	if (r == 0)
		return DECISION_PENDING;
	state->answered = state->asking;
	state->asking = false;
	*says = r < 0 ? "error" : engine_verdict_name(v);
	d->disposition = WIRE_REFUSE;
	d->keep_s = 0;
	if (r < 0)
		cannot_be_judged(d, whose, &why, words);
	else if (v != ENGINE_TRUE)
		snprintf(d->reason, sizeof d->reason, "%s policy says no%s: ct policy explain shows what it sees", whose,
		         v == ENGINE_UNDEFINED ? " (data.model.allow is undefined)" : "");
	else
		d->disposition = WIRE_SERVE;
	return DECISION_READY;
}

static enum decision_state by_file(struct decision *state, struct agent *a, const struct input_file *file, struct peer *peer, struct policy_decision *d)
{
	const struct crypto_info *c = file->info;

	if ((a->refuse_remote || a->config->refuse_remote) && !policy_is_default(c->remote)) {
		state->file_says = "remote";
		d->disposition = WIRE_REFUSE;
		snprintf(d->reason, sizeof d->reason, "it has a remote policy, and this agent refuses such files (remote refuse)");
	} else if (policy_is_default(c->local)) {
		state->file_says = "default";
	} else if (!engine_there(a->engine)) {
		state->file_says = "error";
		d->disposition = WIRE_REFUSE;
		snprintf(d->reason, sizeof d->reason, "its policy is not the default one (package model, allow = true), and this agent has no policy engine to "
		         "ask: start it with --policy-engine exec:PROGRAM");
	} else {
		return by_engine(state, a, a->engine, file, "its", c->local, peer, d, &state->file_says);
	}
	return DECISION_READY;
}

/* The default text is true, also where nobody judges. */
static enum decision_state by_remote(struct decision *state, struct agent *a, const struct input_file *file, struct peer *peer, struct policy_decision *d)
{
	struct str policy = file->info->remote;

	state->remote_says = policy_is_default(policy) ? "default" : "ignored";
	if (!policy_is_default(policy) && engine_there(a->remote))
		return by_engine(state, a, a->remote, file, "its remote", policy, peer, d, &state->remote_says);
	return DECISION_READY;
}

static enum decision_state by_operator(struct decision *state, struct agent *a, const struct input_file *file, struct peer *peer, struct policy_decision *d)
{
	const char *text = a->config->standing;

	if (text)
		return by_engine(state, a, a->engine, file, "the operator's", (struct str){ text, strlen(text) }, peer, d, &state->operator_says);
	state->operator_says = "none";
	return DECISION_READY;
}

/* Whether the next one is to be asked. */
static bool go_on(struct decision *state, struct policy_decision *d)
{
	if (d->disposition == WIRE_SERVE)
		return true;
	if (!state->explain)
		return false;
	if (!state->no.reason[0])
		state->no = *d;
	*d = (struct policy_decision){ .disposition = WIRE_SERVE };
	return true;
}

static enum decision_state by_policies(struct decision *state, struct agent *a, const struct input_file *file, struct peer *peer,
                                       struct policy_decision *d)
{
	d->disposition = WIRE_SERVE;
	if (state->step == DECISION_FILE) {
		if (by_file(state, a, file, peer, d) == DECISION_PENDING)
			return DECISION_PENDING;
		if (!go_on(state, d))
			return DECISION_READY;
		state->step = DECISION_REMOTE;
	}
	if (state->step == DECISION_REMOTE) {
		if (by_remote(state, a, file, peer, d) == DECISION_PENDING)
			return DECISION_PENDING;
		if (!go_on(state, d))
			return DECISION_READY;
		state->step = DECISION_STANDING;
	}
	if (state->step == DECISION_STANDING) {
		if (by_operator(state, a, file, peer, d) == DECISION_PENDING)
			return DECISION_PENDING;
		if (!go_on(state, d))
			return DECISION_READY;
		state->step = DECISION_RULES;
	}
	return DECISION_READY;
}

enum decision_state decision_ask(struct decision *state, struct agent *a, const struct input_file *file, uint64_t set, struct peer *peer,
                                 struct policy_decision *d)
{
	*d = (struct policy_decision){ 0 };
	state->answered = false;
	if (by_policies(state, a, file, peer, d) == DECISION_PENDING)
		return DECISION_PENDING;
	if (d->disposition == WIRE_SERVE) {
		d->keep_s = a->config->keep_s;
		by_rules(a, set, peer, d);
		state->rules_say = wire_disposition_name(d->disposition);
	}
	if (state->explain)
		has_input(state, a, file, peer);
	if (state->no.reason[0])
		*d = state->no;
	return DECISION_READY;
}

void decision_release(struct decision *state)
{
	if (state->asking)
		engine_drop(state->engine, state->slot);
	buf_release(&state->input);
	buf_release(&state->claims);
	*state = (struct decision){ 0 };
}

void decision_restart(struct decision *state)
{
	struct decision again = { .claims = state->claims, .explain = state->explain };

	state->claims = (struct buf)BUF_INIT;
	decision_release(state);
	*state = again;
}
