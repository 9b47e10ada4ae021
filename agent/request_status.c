/* status: how the agent is doing. For everybody who may open. */
#include "request_inner.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

static void put_licences(struct agent *a, struct reply *reply)
{
	struct buf licences = BUF_INIT, state = BUF_INIT;

	licences_status(a, &licences);
	licences_state(a, &state);
	reply_json(reply, "licences", &licences);
	reply_json(reply, "licensing", &state);
	buf_release(&licences);
	buf_release(&state);
}

/* true, or the name of what it failed with */
static void put_measure(struct reply *reply, const char *name, int missing)
{
	const char *why = strerrorname_np(missing);

	if (missing)
		reply_string(reply, name, why ? why : "EUNKNOWN");
	else
		reply_bool(reply, name, true);
}

int request_status(struct agent *a, struct reply *reply)
{
	reply_begin(reply);
	reply_number(reply, "pid", (uint64_t)getpid());
	reply_number(reply, "keeper", (uint64_t)keystore_keeper(a->keys));
	reply_string(reply, "version", CT_VERSION);
	reply_number(reply, "sets", keystore_count(a->keys));
	reply_bool(reply, "locked", a->lock.set);
	reply_number(reply, "rules", a->config->rules.count);
	reply_number(reply, "uptime_s", (uint64_t)(clock_boot_ms() - a->started_ms) / 1000);
	if (licences_any(a))
		put_licences(a, reply);
	reply_object(reply, "opens");
	reply_number(reply, "served", a->opens.served);
	reply_number(reply, "ciphertext", a->opens.ciphertext);
	reply_number(reply, "refused", a->opens.refused);
	reply_number(reply, "failed", a->opens.failed);
	reply_object_end(reply);
	reply_string(reply, "policy_engine", engine_state(a->engine));
	reply_string(reply, "remote_engine", engine_state(a->remote));
	reply_number(reply, "audit_lost", a->audit->lost);
	reply_object(reply, "hardening");
	for (int i = 0; i < HARDEN_STEPS; i++)
		put_measure(reply, harden_name(i), a->hardening.missing[i]);
	put_measure(reply, "memory_locked", keystore_in_locked_memory(a->keys) ? 0 : ENOMEM);
	put_measure(reply, "memory_hidden", keystore_in_hidden_memory(a->keys) ? 0 : EOPNOTSUPP);
	reply_object_end(reply);
	return reply_end(reply);
}
