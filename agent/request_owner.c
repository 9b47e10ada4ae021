/* add, list, remove, lock, unlock: for the agent's own user and root. */
#include "request_inner.h"

#include <errno.h>

#include "clock.h"

int request_locked(struct reply *reply)
{
	return reply_error(reply, EPERM, "the agent is locked: ct unlock");
}

/* Begins, or goes on. What is given up, because it was locked or nobody waits any more, is not added. */
static int add(struct request *rq, struct agent *a, const struct peer *peer, uint64_t lifetime, struct keystore_added *added, struct err *err)
{
	int r;

	if (!rq->adding) {
		r = keystore_add(a->keys, peer->sock, rq->text_len, err);
		if (r < 0)
			return r == -1 ? 0 : -1;
		rq->adding = true;
		rq->place = r;
	}
	r = keystore_added(a->keys, rq->place, lifetime, clock_boot_ms(), added, err);
	rq->adding = r == 0;
	return r;
}

enum decision_state request_add(struct request *rq, struct agent *a, const struct peer *peer, struct reply *reply)
{
	uint64_t lifetime = rq->lifetime ? rq->lifetime : a->config->lifetime_s;
	struct keystore_added added;
	struct err why;
	int r;

	if (a->lock.set) { /* since it began */
		request_locked(reply);
		return DECISION_READY;
	}
	r = add(rq, a, peer, lifetime, &added, &why);
	if (r == 0)
		return DECISION_PENDING;
	if (r < 0) {
		reply_err(reply, &why);
		return DECISION_READY;
	}
	audit_act(a->audit, peer, "add", added.set);
	agent_log(a, "add: set %llu, %zu keys, %llu s", (unsigned long long)added.set, added.keys, (unsigned long long)lifetime);
	reply_begin(reply);
	reply_number(reply, "set", added.set);
	reply_number(reply, "keys", added.keys);
	if (lifetime)
		reply_number(reply, "expires_in", lifetime);
	reply_end(reply);
	return DECISION_READY;
}

int request_list(struct agent *a, struct reply *reply)
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

int request_remove(struct request *rq, struct agent *a, const struct peer *peer, struct reply *reply)
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

int request_lock(struct agent *a, const struct peer *peer, const struct secret *text, struct reply *reply)
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
	audit_act(a->audit, peer, "unlock", 0);
	agent_log(a, "unlock");
	reply_begin(reply);
	return reply_end(reply);
}
