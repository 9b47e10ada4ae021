/* open and explain: layout, signature, policy, rules, unwrap. */
#include "request_inner.h"

#include <errno.h>
#include <openssl/evp.h>

#include "text.h"

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

/* Layout and signature. After it the raw bytes are no longer needed. */
int request_open(struct request *rq, struct agent *a, struct peer *peer, const uint8_t *raw, size_t len, struct reply *reply)
{
	struct err why;
	int encrypted;

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
	if (d->reason[0])
		reply_string(reply, "reason", d->reason);
	reply_string(reply, "policy", state->file_says);
	reply_string(reply, "operator_policy", state->operator_says);
	reply_string(reply, "rules", state->rules_say);
	reply_end(reply);
}

/* False: the set that was decided on has another master key, and rq->key_set, which the decision was not about, may have the right one. */
static bool open_finish(struct request *rq, struct agent *a, struct peer *peer, const struct policy_decision *d, struct reply *reply)
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
			open_failed(rq, a, peer, reply, &why);
			return true;
		}
		if (rq->op == OP_OPEN)
			reply->blob = keys;
		else
			secret_free(keys);
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
		explain_reply(rq, d, reply);
		return true;
	}
	if (d->disposition == WIRE_REFUSE)
		a->opens.refused++;
	else if (d->disposition == WIRE_CIPHERTEXT)
		a->opens.ciphertext++;
	else
		a->opens.served++;
	agent_log(a, "open: %s, %zu data keys of set %llu, to pid %d uid %u%s%s%s%s", wire_disposition_name(d->disposition), rq->info.count,
	          (unsigned long long)rq->key_set, peer->pid, peer->uid, known ? " " : "", known ? TEXT(exe->text, exe->len) : "",
	          d->reason[0] ? ": " : "", d->reason);
	reply_decision(reply, d);
	return true;
}

enum decision_state request_decide(struct request *rq, struct agent *a, struct peer *peer, struct reply *reply)
{
	const struct input_file file = { &rq->info, &rq->header, rq->sha256 };
	struct policy_decision d;
	struct err why;

	if (is_locked(a, &why)) { /* since an engine was asked */
		open_failed(rq, a, peer, reply, &why);
		return DECISION_READY;
	}
	do
		if (decision_ask(&rq->decision, a, &file, rq->key_set, peer, &d) == DECISION_PENDING)
			return DECISION_PENDING;
	while (!open_finish(rq, a, peer, &d, reply));
	return DECISION_READY;
}
