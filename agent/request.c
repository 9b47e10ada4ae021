#include "request.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "jwk.h"
#include "rego_json.h"
#include "text.h"
#include "wire.h"

enum member { M_V, M_OP, M_SIZE, M_LIFETIME, M_SET, M_ALL, M_CLAIMS, MEMBERS };

static const char *const member_names[MEMBERS] = { "v", "op", "size", "lifetime", "set", "all", "claims" };

static const struct op {
	const char *name;
	bool owner; /* for the agent's uid and root alone */
	bool secret;
	uint32_t blob_min, blob_max;
} ops[OPS] = {
	[OP_OPEN] = { "open", false, false, HEADER_PREFIX + 1, WIRE_BLOB_MAX },
	[OP_ADD] = { "add", true, true, 1, JWK_FILE_MAX },
	[OP_LIST] = { "list", true, false, 0, 0 },
	[OP_REMOVE] = { "remove", true, false, 0, 0 },
	[OP_LOCK] = { "lock", true, true, 1, PASSPHRASE_MAX },
	[OP_UNLOCK] = { "unlock", true, true, 1, PASSPHRASE_MAX },
	[OP_STATUS] = { "status", false, false, 0, 0 },
	[OP_PING] = { "ping", false, false, 0, 0 },
	[OP_EXPLAIN] = { "explain", false, false, HEADER_PREFIX + 1, WIRE_BLOB_MAX },
};

static bool is_open(const struct request *rq)
{
	return rq->op == OP_OPEN || rq->op == OP_EXPLAIN;
}

static bool has(const struct request *rq, enum member m)
{
	return rq->seen & 1u << m;
}

/* The members as they come; types are judged once version and operation are known. */
struct draft {
	uint64_t v;
	unsigned int wrong; /* a bit a member of the wrong type */
	char op[16];
};

static bool put_member(struct request *rq, struct draft *d, enum member m, const struct json *j, int tok)
{
	enum json_type type = json_type(j, tok);
	size_t raw;

	switch (m) {
	case M_V:
		return json_u64(j, tok, &d->v);
	case M_OP:
		json_raw(j, tok, &raw);
		if (type != JSON_STRING || raw >= sizeof d->op)
			return false;
		d->op[json_unescape(j, tok, d->op)] = '\0';
		return true;
	case M_SIZE:
		return json_u64(j, tok, &rq->size);
	case M_LIFETIME:
		return json_u64(j, tok, &rq->lifetime) && rq->lifetime >= 1 && rq->lifetime <= UINT32_MAX;
	case M_SET:
		return json_u64(j, tok, &rq->set);
	case M_ALL:
		rq->all = type == JSON_TRUE;
		return type == JSON_TRUE || type == JSON_FALSE;
	case M_CLAIMS:
		json_raw(j, tok, &raw);
		return raw <= INPUT_CLAIMS_MAX && rego_json_flat(&rq->decision.claims, j, tok, NULL) == 0;
	default:
		return false;
	}
}

static int read_members(struct request *rq, struct draft *d, const char *text, size_t len, struct err *err)
{
	struct json_member jm;
	struct json j;
	int r;

	json_begin(&j, text, len);
	while ((r = json_next(&j, &jm, err)) > 0) {
		unsigned int m = 0;

		while (m < MEMBERS && !json_is(&j, jm.key, member_names[m]))
			m++;
		if (m == MEMBERS)
			continue;
		if (has(rq, (enum member)m)) {
			r = err_set(err, ERR_FORMAT, "\"%s\" is there twice", member_names[m]);
			break;
		}
		rq->seen |= 1u << m;
		if (!put_member(rq, d, (enum member)m, &j, jm.value))
			d->wrong |= 1u << m;
	}
	json_release(&j);
	return r;
}

/* What the operation needs of members and blob. NULL: all there. */
static const char *shape_of(const struct request *rq, const struct draft *d, uint32_t blob_len)
{
	const struct op *op = &ops[rq->op];

	if (is_open(rq) && (!has(rq, M_SIZE) || d->wrong & 1u << M_SIZE))
		return "open and explain take the file's size";
	if (is_open(rq) && d->wrong & 1u << M_CLAIMS)
		return "claims is an object of strings, numbers and booleans: at most 4096 bytes, no name twice, no control characters";
	if (rq->op == OP_ADD && d->wrong & 1u << M_LIFETIME)
		return "lifetime is a number of seconds, 1 to 4294967295";
	if (rq->op == OP_REMOVE && (d->wrong & (1u << M_SET | 1u << M_ALL) || has(rq, M_SET) == rq->all))
		return "remove takes either the number of a set or \"all\":true";
	if (blob_len < op->blob_min || blob_len > op->blob_max)
		return "the blob's length does not fit the operation";
	return NULL;
}

int request_parse(struct request *rq, const struct peer *peer, const char *text, size_t len, uint32_t blob_len, struct reply *reply)
{
	struct draft d = { 0 };
	const char *shape;
	struct err why;
	unsigned int op;

	memset(rq, 0, sizeof *rq);
	if (read_members(rq, &d, text, len, &why))
		return reply_error(reply, EINVAL, "malformed request: %s", why.text);
	if (!has(rq, M_V) || d.wrong & 1u << M_V)
		return reply_error(reply, EINVAL, "the request names no version");
	if (d.v != WIRE_VERSION)
		return reply_version(reply, d.v);
	if (!has(rq, M_OP))
		return reply_error(reply, EINVAL, "the request names no operation");
	for (op = 0; op < OPS; op++)
		if (strcmp(d.op, ops[op].name) == 0)
			break;
	if (op == OPS || d.wrong & 1u << M_OP)
		return reply_error(reply, EPROTO, "this agent (%s) does not know that operation", CT_VERSION);
	rq->op = (enum request_op)op;
	rq->decision.explain = op == OP_EXPLAIN;
	if (ops[op].owner && peer->uid != geteuid() && peer->uid != 0)
		return reply_error(reply, EPERM, "%s is for the agent's own user (uid %u) and root", ops[op].name, geteuid());
	shape = shape_of(rq, &d, blob_len);
	return shape ? reply_error(reply, EINVAL, "%s", shape) : 0;
}

bool request_blob_is_secret(const struct request *rq)
{
	return ops[rq->op].secret;
}

/* --- open, explain --- */

static int open_failed(const struct request *rq, struct agent *a, struct peer *peer, struct reply *reply, const struct err *why)
{
	const struct input_file file = { &rq->info, &rq->header, rq->sha256 };

	a->opens.failed += rq->op == OP_OPEN;
	audit_decision(a->audit, ops[rq->op].name, peer, rq->opened ? &file : NULL, 0, err_name(why), why->text);
	agent_log(a, "%s: %s to pid %d uid %u: %s", ops[rq->op].name, err_name(why), peer->pid, peer->uid, why->text);
	return reply_err(reply, why);
}

static bool is_locked(const struct agent *a, struct err *err)
{
	if (a->lock.set)
		err_set(err, ERR_NOKEY, "the agent is locked: ct unlock");
	return a->lock.set;
}

/* Layout and signature. After it the raw bytes are no longer needed. */
static int open_take(struct request *rq, struct agent *a, struct peer *peer, const uint8_t *raw, size_t len, struct reply *reply)
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
	if (!audit_decision(a->audit, ops[rq->op].name, peer, &file, rq->key_set, wire_disposition_name(d->disposition), d->reason)) {
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

enum decision_state request_work(struct request *rq, struct agent *a, struct peer *peer, struct reply *reply)
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

/* --- what the owner asks --- */

static int do_add(struct request *rq, struct agent *a, const struct peer *peer, const struct secret *text, struct reply *reply)
{
	uint64_t lifetime = has(rq, M_LIFETIME) ? rq->lifetime : a->config->lifetime_s;
	struct keystore_added added;
	struct err why;

	if (keystore_add(a->keys, text, lifetime, clock_boot_ms(), &added, &why))
		return reply_err(reply, &why);
	audit_act(a->audit, peer, "add", added.set);
	agent_log(a, "add: set %llu, %zu keys, %llu s", (unsigned long long)added.set, added.keys, (unsigned long long)lifetime);
	reply_begin(reply);
	reply_number(reply, "set", added.set);
	reply_number(reply, "keys", added.keys);
	if (lifetime)
		reply_number(reply, "expires_in", lifetime);
	return reply_end(reply);
}

static int do_list(struct agent *a, struct reply *reply)
{
	struct buf text = BUF_INIT;

	keystore_list(a->keys, clock_boot_ms(), &text);
	if (!text.failed)
		reply->blob = secret_copy(text.data, text.len);
	buf_release(&text);
	if (!reply->blob)
		return reply_error(reply, ENOMEM, "no memory for the list");
	reply_begin(reply);
	reply_number(reply, "sets", keystore_count(a->keys));
	return reply_end(reply);
}

static int do_remove(struct request *rq, struct agent *a, const struct peer *peer, struct reply *reply)
{
	size_t n = rq->all ? keystore_remove_all(a->keys) : keystore_remove(a->keys, rq->set);

	if (!rq->all && n == 0)
		return reply_error(reply, ENOENT, "no key set %llu: ct list shows those that are there", (unsigned long long)rq->set);
	audit_act(a->audit, peer, "remove", rq->set);
	agent_log(a, "remove: %zu sets", n);
	reply_begin(reply);
	reply_number(reply, "removed", n);
	return reply_end(reply);
}

static int do_lock(struct agent *a, const struct peer *peer, const struct secret *text, struct reply *reply)
{
	if (a->lock.set)
		return reply_error(reply, EBUSY, "the agent is locked already");
	if (!passphrase_remember(&a->lock, text))
		return reply_error(reply, ENOMEM, "OpenSSL makes no digest of the passphrase");
	audit_act(a->audit, peer, "lock", 0);
	agent_log(a, "lock");
	reply_begin(reply);
	return reply_end(reply);
}

static int do_unlock(struct agent *a, const struct peer *peer, const struct secret *text, struct reply *reply)
{
	if (!a->lock.set)
		return reply_error(reply, ENOENT, "the agent is not locked");
	if (clock_boot_ms() < a->unlock_at_ms)
		return reply_error(reply, EAGAIN, "the last passphrase was wrong: try again in a second");
	if (!passphrase_is(&a->lock, text)) {
		a->unlock_at_ms = clock_boot_ms() + 1000;
		agent_log(a, "unlock: wrong passphrase");
		return reply_error(reply, EKEYREJECTED, "the passphrase is wrong");
	}
	passphrase_clear(&a->lock);
	audit_act(a->audit, peer, "unlock", 0);
	agent_log(a, "unlock");
	reply_begin(reply);
	return reply_end(reply);
}

static int do_status(struct agent *a, struct reply *reply)
{
	reply_begin(reply);
	reply_number(reply, "pid", (uint64_t)getpid());
	reply_string(reply, "version", CT_VERSION);
	reply_number(reply, "sets", keystore_count(a->keys));
	reply_bool(reply, "locked", a->lock.set);
	reply_number(reply, "rules", a->config->rules.count);
	reply_number(reply, "uptime_s", (uint64_t)(clock_boot_ms() - a->started_ms) / 1000);
	reply_object(reply, "opens");
	reply_number(reply, "served", a->opens.served);
	reply_number(reply, "ciphertext", a->opens.ciphertext);
	reply_number(reply, "refused", a->opens.refused);
	reply_number(reply, "failed", a->opens.failed);
	reply_object_end(reply);
	reply_object(reply, "hardening");
	reply_bool(reply, "no_dump", a->hardening.no_dump);
	reply_bool(reply, "no_core", a->hardening.no_core);
	reply_bool(reply, "no_new_privs", a->hardening.no_new_privs);
	reply_bool(reply, "memory_locked", keystore_in_locked_memory(a->keys));
	reply_object_end(reply);
	return reply_end(reply);
}

int request_take(struct request *rq, struct agent *a, struct peer *peer, const uint8_t *raw, size_t len,
                 const struct secret *secret, struct reply *reply)
{
	int r;

	keystore_expire(a->keys, clock_boot_ms());
	if (is_open(rq))
		return open_take(rq, a, peer, raw, len, reply);
	if (a->lock.set && (rq->op == OP_ADD || rq->op == OP_LIST || rq->op == OP_REMOVE))
		return reply_error(reply, EPERM, "the agent is locked: ct unlock");
	switch (rq->op) {
	case OP_ADD:
		r = do_add(rq, a, peer, secret, reply);
		break;
	case OP_LIST:
		r = do_list(a, reply);
		break;
	case OP_REMOVE:
		r = do_remove(rq, a, peer, reply);
		break;
	case OP_LOCK:
		r = do_lock(a, peer, secret, reply);
		break;
	case OP_UNLOCK:
		r = do_unlock(a, peer, secret, reply);
		break;
	case OP_STATUS:
		r = do_status(a, reply);
		break;
	default:
		reply_begin(reply);
		r = reply_end(reply);
		break;
	}
	return r ? r : 1;
}

void request_release(struct request *rq, struct agent *a)
{
	decision_release(&rq->decision, a);
	if (rq->opened) {
		crypto_info_release(&rq->info);
		header_release(&rq->header);
	}
	rq->opened = false;
}
