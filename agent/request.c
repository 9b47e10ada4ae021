#include "request_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "jwk.h"
#include "rego_json.h"
#include "wire.h"

enum member { M_V, M_OP, M_SIZE, M_LIFETIME, M_SET, M_ALL, M_CLAIMS, M_UIDS, M_EXES, M_OPENS, M_CONFIRM, M_PID, M_LICENCE, MEMBERS };

static const char *const member_names[MEMBERS] = { "v", "op", "size", "lifetime", "set", "all", "claims", "uids", "exes", "opens", "confirm", "pid", "licence" };

static const struct op {
	const char *name;
	bool owner; /* for the agent's uid and root alone */
	enum { OPEN, SECRET, KEYS } blob;
	uint32_t blob_min, blob_max;
} ops[OPS] = {
	[OP_OPEN] = { "open", false, OPEN, HEADER_PREFIX + 1, WIRE_BLOB_MAX },
	[OP_ADD] = { "add", true, KEYS, 1, JWK_FILE_MAX },
	[OP_LIST] = { "list", true, OPEN, 0, 0 },
	[OP_REMOVE] = { "remove", true, OPEN, 0, 0 },
	[OP_LOCK] = { "lock", true, SECRET, 1, PASSPHRASE_MAX },
	[OP_UNLOCK] = { "unlock", true, SECRET, 1, PASSPHRASE_MAX },
	[OP_STATUS] = { "status", false, OPEN, 0, 0 },
	[OP_PING] = { "ping", false, OPEN, 0, 0 },
	[OP_EXPLAIN] = { "explain", false, OPEN, HEADER_PREFIX + 1, WIRE_BLOB_MAX },
};

bool request_is_open(const struct request *rq)
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
	const char *why; /* a constraint is wrong */
};

static bool put_constraint(struct request *rq, struct draft *d, enum member m, const struct json *j, int tok)
{
	const char *why = "confirm is true or false";
	int r;

	if (m == M_UIDS)
		r = constraints_uids(&rq->asked, j, tok, &why);
	else if (m == M_EXES)
		r = constraints_exes(&rq->asked, j, tok, &why);
	else if (m == M_OPENS)
		r = constraints_opens(&rq->asked, j, tok, &why);
	else
		r = (rq->asked.confirm = json_type(j, tok) == JSON_TRUE) || json_type(j, tok) == JSON_FALSE ? 0 : -1;
	if (r && !d->why)
		d->why = why;
	return r == 0;
}

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
	case M_UIDS:
	case M_EXES:
	case M_OPENS:
	case M_CONFIRM:
		return put_constraint(rq, d, m, j, tok);
	case M_PID:
		return json_u64(j, tok, &rq->pid) && rq->pid >= 1 && rq->pid <= INT32_MAX;
	case M_LICENCE:
		json_raw(j, tok, &raw);
		if (type != JSON_STRING || raw > LICENCE_TEXT_MAX || !(rq->licence = malloc(raw + 1)))
			return false;
		rq->licence_len = json_unescape(j, tok, rq->licence);
		return true;
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

	if (request_is_open(rq) && (!has(rq, M_SIZE) || d->wrong & 1u << M_SIZE))
		return "open and explain take the file's size";
	if (request_is_open(rq) && d->wrong & 1u << M_CLAIMS)
		return "claims is an object of strings, numbers and booleans: at most 4096 bytes, no name twice, no control characters";
	if (rq->op == OP_EXPLAIN && d->wrong & 1u << M_PID)
		return "pid is the number of a process";
	if (rq->op == OP_ADD && d->wrong & 1u << M_LIFETIME)
		return "lifetime is a number of seconds, 1 to 4294967295";
	if (rq->op == OP_ADD && d->why)
		return d->why;
	if (rq->op == OP_ADD && d->wrong & 1u << M_LICENCE)
		return "licence is the text of one, at most 32768 bytes";
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
	if (rq->op == OP_EXPLAIN && has(rq, M_PID) && peer->uid != geteuid() && peer->uid != 0)
		return reply_error(reply, EPERM, "explain about another process is for the agent's own user (uid %u) and root", geteuid());
	shape = shape_of(rq, &d, blob_len);
	return shape ? reply_error(reply, EINVAL, "%s", shape) : 0;
}

const char *request_name(const struct request *rq)
{
	return ops[rq->op].name;
}

bool request_blob_is_secret(const struct request *rq)
{
	return ops[rq->op].blob == SECRET;
}

bool request_blob_stays(const struct request *rq)
{
	return ops[rq->op].blob == KEYS;
}

int request_take(struct request *rq, struct agent *a, struct peer *peer, const uint8_t *raw, size_t len,
                 const struct secret *secret, struct reply *reply)
{
	int r;

	keystore_expire(a->keys, clock_boot_ms());
	if (request_is_open(rq))
		return request_open(rq, a, peer, raw, len, reply);
	if (a->lock.set && (rq->op == OP_ADD || rq->op == OP_LIST || rq->op == OP_REMOVE))
		return request_locked(reply);
	switch (rq->op) {
	case OP_ADD:
		rq->text_len = len;
		return 0;
	case OP_LIST:
		r = request_list(a, reply);
		break;
	case OP_REMOVE:
		r = request_remove(rq, a, peer, reply);
		break;
	case OP_LOCK:
		r = request_lock(a, peer, secret, reply);
		break;
	case OP_UNLOCK:
		r = request_unlock(a, peer, secret, reply);
		break;
	case OP_STATUS:
		r = request_status(a, reply);
		break;
	default:
		reply_begin(reply);
		r = reply_end(reply);
		break;
	}
	return r ? r : 1;
}

enum decision_state request_work(struct request *rq, struct agent *a, struct peer *peer, struct reply *reply)
{
	return rq->op == OP_ADD ? request_add(rq, a, peer, reply) : request_decide(rq, a, peer, reply);
}

void request_release(struct request *rq, struct agent *a)
{
	if (rq->adding)
		keystore_give_up(a->keys, rq->place);
	rq->adding = false;
	decision_release(&rq->decision);
	constraints_release(&rq->asked);
	if (rq->about_other)
		peer_release(&rq->other);
	rq->about_other = false;
	free(rq->licence);
	rq->licence = NULL;
	if (rq->opened) {
		crypto_info_release(&rq->info);
		header_release(&rq->header);
	}
	rq->opened = false;
}
