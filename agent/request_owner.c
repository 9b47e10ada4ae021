/* add, list, remove, lock, unlock: for the agent's own user and root. */
#include "request_inner.h"

#include <errno.h>

#include "clock.h"

/* It is done, also where it cannot be written down: a full disk keeps nobody from locking. */
static void record(struct agent *a, const struct peer *peer, const char *what, uint64_t set)
{
	if (!audit_act(a->audit, peer, what, set))
		agent_log(a, "%s by pid %d uid %u: its line of the audit is lost", what, peer->pid, peer->uid);
}

int request_locked(struct reply *reply)
{
	return reply_error(reply, EPERM, "the agent is locked: ct unlock");
}

/* Begins, or goes on. What is given up, because it was locked or nobody waits any more, is not added. */
static int add(struct request *rq, struct agent *a, const struct peer *peer, uint64_t lifetime, const struct licence *licence,
               struct keystore_added *added, struct err *err)
{
	int r;

	if (!rq->adding) {
		r = keystore_add(a->keys, peer->sock, rq->text_len, err);
		if (r < 0)
			return r == -1 ? 0 : -1;
		rq->adding = true;
		rq->place = r;
	}
	r = keystore_added(a->keys, rq->place, lifetime, clock_boot_ms(), licence ? licence->x : NULL, added, err);
	rq->adding = r == 0;
	return r;
}

/* As add(), with the licence that came along, which must be good before the keys are asked for and when they are there. */
static int add_licensed(struct request *rq, struct agent *a, const struct peer *peer, uint64_t lifetime, struct keystore_added *added, struct err *err)
{
	struct licence *licence = NULL;
	int r;

	if (rq->licence && !(licence = licences_take(a, rq->licence, rq->licence_len, err)))
		return -1;
	r = add(rq, a, peer, lifetime, licence, added, err);
	if (r > 0 && licences_put(a, added->set, licence, err) < 0) {
		keystore_remove(a->keys, added->set);
		r = -1;
	}
	if (r <= 0)
		licences_drop(licence);
	return r;
}

enum decision_state request_add(struct request *rq, struct agent *a, const struct peer *peer, struct reply *reply)
{
	uint64_t lifetime = rq->lifetime ? rq->lifetime : a->config->lifetime_s;
	struct keystore_added added;
	struct err why;
	bool bound = constraints_any(&rq->asked);
	int r;

	if (a->lock.set) { /* since it began */
		request_locked(reply);
		return DECISION_READY;
	}
	if (rq->asked.confirm && confirm_there(a->confirm)) {
		reply_error(reply, ENOENT, "%s", confirm_there(a->confirm));
		return DECISION_READY;
	}
	r = add_licensed(rq, a, peer, lifetime, &added, &why);
	if (r == 0)
		return DECISION_PENDING;
	if (r < 0) {
		reply_err(reply, &why);
		return DECISION_READY;
	}
	confirm_forget(a->confirm, added.set);
	constraints_put(&a->constraints, a->keys, added.set, &rq->asked);
	record(a, peer, "add", added.set);
	agent_log(a, "add: set %llu, %zu keys, %llu s%s%s", (unsigned long long)added.set, added.keys, (unsigned long long)lifetime,
	          rq->licence ? ", under a licence" : "", bound ? ", constrained" : "");
	reply_begin(reply);
	reply_number(reply, "set", added.set);
	reply_number(reply, "keys", added.keys);
	if (lifetime)
		reply_number(reply, "expires_in", lifetime);
	if (bound)
		reply_bool(reply, "constrained", true);
	if (rq->licence)
		reply_bool(reply, "licensed", true);
	reply_end(reply);
	return DECISION_READY;
}

static void list_constraints(void *table, uint64_t set, struct buf *out)
{
	constraints_list(table, set, out);
}

int request_list(struct agent *a, struct reply *reply)
{
	struct buf text = BUF_INIT;

	keystore_list(a->keys, clock_boot_ms(), list_constraints, &a->constraints, &text);
	if (!text.failed)
		reply->blob = secret_copy(text.data, text.len);
	buf_release(&text);
	if (!reply->blob)
		return reply_error(reply, ENOMEM, "no memory for the list");
	reply_begin(reply);
	reply_number(reply, "sets", keystore_count(a->keys));
	return reply_end(reply);
}

int request_remove(struct request *rq, struct agent *a, const struct peer *peer, struct reply *reply)
{
	size_t n = rq->all ? keystore_remove_all(a->keys) : keystore_remove(a->keys, rq->set);

	if (!rq->all && n == 0)
		return reply_error(reply, ENOENT, "no key set %llu: ct list shows those that are there", (unsigned long long)rq->set);
	record(a, peer, "remove", rq->set);
	agent_log(a, "remove: %zu sets", n);
	reply_begin(reply);
	reply_number(reply, "removed", n);
	return reply_end(reply);
}

int request_lock(struct agent *a, const struct peer *peer, const struct secret *text, struct reply *reply)
{
	if (a->lock.set)
		return reply_error(reply, EBUSY, "the agent is locked already");
	if (!passphrase_remember(&a->lock, text))
		return reply_error(reply, ENOMEM, "OpenSSL makes no digest of the passphrase");
	record(a, peer, "lock", 0);
	agent_log(a, "lock");
	reply_begin(reply);
	return reply_end(reply);
}

int request_unlock(struct agent *a, const struct peer *peer, const struct secret *text, struct reply *reply)
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
	record(a, peer, "unlock", 0);
	agent_log(a, "unlock");
	reply_begin(reply);
	return reply_end(reply);
}
