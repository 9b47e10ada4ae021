/* open and explain: layout, signature, policy, rules, the set's licence and constraints, unwrap. */
#include "request_inner.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "text.h"

#define PERSON_MARGIN_MS 2000 /* of the connection's time, for the reply */

static int open_failed(const struct request *rq, struct agent *a, struct peer *peer, struct reply *reply, const struct err *why)
{
	const struct input_file file = { &rq->info, &rq->header, rq->sha256 };

	a->opens.failed += rq->op == OP_OPEN;
	audit_decision(a->audit, request_name(rq), peer, rq->opened ? &file : NULL, 0, err_name(why), why->text);
	agent_log(a, "%s: %s to pid %d uid %u: %s", request_name(rq), err_name(why), peer->pid, peer->uid, why->text);
	return reply_err(reply, why);
}

static bool is_locked(const struct agent *a, struct err *err)
{
	if (a->lock.set)
		err_set(err, ERR_NOKEY, "the agent is locked: ct unlock");
	return a->lock.set;
}

static int other_admitted(const struct request *rq, const struct agent *a, struct err *err)
{
	if (peer_rights(&rq->other, config_allows(a->config, rq->other.uid)) == PEER_NOTHING)
		return err_set(err, ERR_REJECTED, "the agent of uid %u does not admit uid %u: allow-uid %u in its configuration would", geteuid(),
		               rq->other.uid, rq->other.uid);
	return 0;
}

/* Another process is judged as if it had asked. */
static int be_other(struct request *rq, const struct agent *a, const struct peer *peer, struct err *err)
{
	rq->about_other = true;
	return peer_of_process(&rq->other, (pid_t)rq->pid, peer, err) ? -1 : other_admitted(rq, a, err);
}

/* Layout and signature. After it the raw bytes are no longer needed. */
int request_open(struct request *rq, struct agent *a, struct peer *peer, const uint8_t *raw, size_t len, struct reply *reply)
{
	struct err why;
	int encrypted;

	if (rq->op == OP_EXPLAIN && rq->pid) {
		if (be_other(rq, a, peer, &why))
			return reply_err(reply, &why);
		peer = &rq->other;
	}
	if (is_locked(a, &why))
		return open_failed(rq, a, peer, reply, &why);
	if (header_parse(&rq->header, raw, len, rq->size, &why))
		return open_failed(rq, a, peer, reply, &why);
	encrypted = crypto_info_present(&rq->header, &why);
	if (encrypted == 0)
		err_set(&why, ERR_FORMAT, "the file is not encrypted: there is nothing to open");
	if (encrypted <= 0 || crypto_info_parse(&rq->info, &rq->header, &why)) {
		header_release(&rq->header);
		return open_failed(rq, a, peer, reply, &why);
	}
	rq->opened = true;
	if (EVP_Digest(raw, len, rq->sha256, NULL, EVP_sha256(), NULL) != 1) {
		err_sys(&why, ENOMEM, "the header's digest");
		return open_failed(rq, a, peer, reply, &why);
	}
	if (keystore_verify(a->keys, 0, &rq->header, &rq->info, &rq->key_set, &why))
		return open_failed(rq, a, peer, reply, &why);
	return 0;
}

/* Another set, with keys of the same ids, that made the same signature. */
static bool next_set(struct request *rq, const struct agent *a)
{
	return keystore_verify(a->keys, rq->key_set, &rq->header, &rq->info, &rq->key_set, NULL) == 0;
}

/* Whether the set's licence holds, if nobody has said no before; to explain, in any case. */
static void by_licence(struct request *rq, struct agent *a, const struct peer *peer, struct policy_decision *d)
{
	struct licences_answer answer;

	licences_judge(a, rq->key_set, header_meta_get(&rq->header, LICENCE_META), peer->uid, &answer);
	rq->licence_says = answer.says;
	if (d->disposition != WIRE_SERVE)
		return;
	if (answer.left_s > 0 && answer.left_s < d->keep_s)
		d->keep_s = (unsigned int)answer.left_s; /* no open without a question after the end */
	if (!answer.no)
		return;
	*d = (struct policy_decision){ .disposition = WIRE_REFUSE };
	memcpy(d->reason, answer.reason, sizeof d->reason);
	rq->unfit = true;
}

static enum confirm_state hold(struct request *rq, struct agent *a, struct peer *peer, char *reason, size_t cap)
{
	const struct constraints *c = constraints_of(&a->constraints, rq->key_set);
	bool look = rq->op == OP_EXPLAIN;

	rq->constraints_say = c ? "fit" : "none";
	if (!c)
		return CONFIRM_YES;
	if (!constraints_fit(c, rq->key_set, peer, reason, cap))
		return CONFIRM_NO;
	return c->confirm ? confirm_ask(a->confirm, &rq->question, rq->key_set, peer, &rq->info, look, reason, cap) : CONFIRM_YES;
}

/* Whether what the set is bound to holds, if nobody has said no before; to explain, in any case. PENDING: a person is being asked. */
static enum decision_state by_constraints(struct request *rq, struct agent *a, struct peer *peer, struct policy_decision *d)
{
	bool explain = rq->op == OP_EXPLAIN;
	char reason[sizeof d->reason];

	if (d->disposition != WIRE_SERVE && !explain)
		return DECISION_READY;
	switch (hold(rq, a, peer, reason, sizeof reason)) {
	case CONFIRM_YES:
		return DECISION_READY;
	case CONFIRM_ASKED:
	case CONFIRM_UNASKED:
		rq->constraints_say = "ask";
		return explain ? DECISION_READY : DECISION_PENDING;
	default:
		break;
	}
	rq->constraints_say = "unfit";
	if (d->disposition == WIRE_SERVE) {
		*d = (struct policy_decision){ .disposition = WIRE_REFUSE };
		memcpy(d->reason, reason, sizeof reason);
		rq->unfit = true;
	}
	return DECISION_READY;
}

/* A person may take longer than a connection has: the client is told to come again, and the answer is kept for it. */
static enum decision_state wait_for_person(const struct request *rq, struct agent *a, const struct peer *peer, struct reply *reply)
{
	if (clock_ms() < rq->deadline_ms - PERSON_MARGIN_MS)
		return DECISION_PENDING;
	agent_log(a, "open: pid %d uid %u waits for somebody's answer about set %llu", peer->pid, peer->uid, (unsigned long long)rq->key_set);
	reply_error(reply, EAGAIN, "somebody is being asked whether this program may use key set %llu, and has not answered", (unsigned long long)rq->key_set);
	return DECISION_READY;
}

static void was_passed_over(struct request *rq, struct policy_decision *d)
{
	*d = rq->passed;
	rq->key_set = rq->passed_set;
	rq->licence_says = rq->passed_licence;
	rq->constraints_say = rq->passed_constraints;
}

/* A set of which that is true does not keep the next one from being tried: true. */
static bool pass_over(struct request *rq, const struct agent *a, struct policy_decision *d)
{
	if (!rq->unfit)
		return false;
	rq->unfit = false;
	if (!rq->passed.reason[0]) {
		rq->passed = *d;
		rq->passed_set = rq->key_set;
		rq->passed_licence = rq->licence_says;
		rq->passed_constraints = rq->constraints_say;
	}
	if (next_set(rq, a))
		return true;
	was_passed_over(rq, d);
	return false;
}

static void served(const struct request *rq, struct agent *a, const struct peer *peer)
{
	a->opens.served++;
	if (!constraints_spend(&a->constraints, rq->key_set))
		return;
	keystore_remove(a->keys, rq->key_set);
	audit_act(a->audit, peer, "remove", rq->key_set);
	agent_log(a, "remove: set %llu has served as many opens as it was added for", (unsigned long long)rq->key_set);
}

/* What open would answer, who says what, and the document that they see; no key. */
static void explain_reply(const struct request *rq, const struct policy_decision *d, struct reply *reply)
{
	const struct decision *state = &rq->decision;

	if (!state->input.failed)
		reply->blob = secret_copy(state->input.data, state->input.len);
	if (!reply->blob) {
		reply_error(reply, ENOMEM, "no memory for the policy's input");
		return;
	}
	reply_begin(reply);
	reply_string(reply, "disposition", wire_disposition_name(d->disposition));
	if (rq->about_other)
		reply_number(reply, "pid", rq->pid);
	if (d->reason[0])
		reply_string(reply, "reason", d->reason);
	reply_string(reply, "policy", state->file_says);
	reply_string(reply, "remote_policy", state->remote_says);
	reply_string(reply, "operator_policy", state->operator_says);
	reply_string(reply, "rules", state->rules_say);
	reply_string(reply, "licence", rq->licence_says);
	reply_string(reply, "constraints", rq->constraints_say);
	reply_end(reply);
}

/* What the peer is told; log and audit have all of it. */
static void cut_reason(struct policy_decision *d, const struct peer *peer)
{
	if (d->told && peer_rights(peer, true) != PEER_MAY_ALL)
		d->reason[d->told] = '\0';
}

/* False: the set that was decided on has another master key, and rq->key_set, which the decision was not about, may have the right one. */
static bool open_finish(struct request *rq, struct agent *a, struct peer *peer, struct policy_decision *d, struct reply *reply)
{
	const struct peer_fact *exe = &peer->exe;
	bool known = exe->text != NULL;
	struct secret *keys;
	struct err why;

	if (d->disposition == WIRE_SERVE) {
		if (!peer_alive(peer)) {
			err_set(&why, ERR_REJECTED, "the process that asked has ended");
			open_failed(rq, a, peer, reply, &why);
			return true;
		}
		keys = keystore_unwrap(a->keys, rq->key_set, &rq->info, &why);
		if (!keys) {
			if (why.code != ERR_SYSTEM && next_set(rq, a))
				return false;
			if (!rq->passed.reason[0]) {
				open_failed(rq, a, peer, reply, &why);
				return true;
			}
			was_passed_over(rq, d); /* which says more */
		} else if (rq->op == OP_OPEN) {
			reply->blob = keys;
		} else {
			secret_free(keys);
		}
	}
	const struct input_file file = { &rq->info, &rq->header, rq->sha256 };
	if (!audit_decision(a->audit, request_name(rq), peer, &file, rq->key_set, wire_disposition_name(d->disposition), d->reason)) {
		secret_free(reply->blob);
		reply->blob = NULL;
		err_set(&why, ERR_REJECTED, "the agent's audit cannot be written, and it serves nothing without (--audit-required)");
		open_failed(rq, a, peer, reply, &why);
		return true;
	}
	if (rq->op == OP_EXPLAIN) {
		agent_log(a, "explain: %s, to pid %d uid %u", wire_disposition_name(d->disposition), peer->pid, peer->uid);
		cut_reason(d, peer);
		explain_reply(rq, d, reply);
		return true;
	}
	if (d->disposition == WIRE_REFUSE)
		a->opens.refused++;
	else if (d->disposition == WIRE_CIPHERTEXT)
		a->opens.ciphertext++;
	else
		served(rq, a, peer);
	agent_log(a, "open: %s, %zu data keys of set %llu, to pid %d uid %u%s%s%s%s", wire_disposition_name(d->disposition), rq->info.count,
	          (unsigned long long)rq->key_set, peer->pid, peer->uid, known ? " " : "", known ? TEXT(exe->text, exe->len) : "",
	          d->reason[0] ? ": " : "", d->reason);
	cut_reason(d, peer);
	reply_decision(reply, d);
	return true;
}

enum decision_state request_decide(struct request *rq, struct agent *a, struct peer *peer, struct reply *reply)
{
	const struct input_file file = { &rq->info, &rq->header, rq->sha256 };
	struct policy_decision d;
	struct err why;

	if (rq->about_other) {
		peer = &rq->other;
		if (other_admitted(rq, a, &why)) { /* by the configuration of now */
			reply_err(reply, &why);
			return DECISION_READY;
		}
	}
	if (is_locked(a, &why)) { /* since an engine was asked */
		open_failed(rq, a, peer, reply, &why);
		return DECISION_READY;
	}
	do {
		if (decision_ask(&rq->decision, a, &file, rq->key_set, peer, &d) == DECISION_PENDING)
			return DECISION_PENDING;
		by_licence(rq, a, peer, &d);
		if (by_constraints(rq, a, peer, &d) == DECISION_PENDING)
			return wait_for_person(rq, a, peer, reply);
	} while (pass_over(rq, a, &d) || !open_finish(rq, a, peer, &d, reply));
	return DECISION_READY;
}

void request_reloaded(struct request *rq)
{
	decision_restart(&rq->decision);
	if (rq->passed.reason[0]) /* by the old one */
		rq->key_set = rq->passed_set;
	rq->passed.reason[0] = '\0';
}
